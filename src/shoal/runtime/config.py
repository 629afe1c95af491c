"""Settings of a role: a TOML file, the environment and flags, in one typed value.

A flag counts before the environment, the environment before the file, the file before the default. A key
that is not known or a value that does not fit is refused with the key's name and what would be accepted.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from platformdirs import user_data_path

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.money.address import address_of

T = TypeVar("T", bound=Struct)

_OF_NODES = (NodeId, tuple[NodeId, ...], dict[NodeId, int], dict[NodeId, float])

#: Parts per million: all of it.
WHOLE_PPM = 1_000_000
#: Where msgspec says that a value lies: `$.rules.lease_ms`, `$.runners[0].slots`.
_PLACE = re.compile(r" - at `\$\.?(?P<path>.*)`$")
_MISSING = re.compile(r"Object missing required field `(?P<name>\w+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>\w+)`")


class Key(Struct, frozen=True):
    """One setting, by its path from the top: `("rules", "lease_ms")`."""

    path: tuple[str, ...]
    type: Any
    default: Any

    @property
    def name(self) -> str:
        """As the file has it: `rules.lease_ms`."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """As the command line has it: `--rules-lease-ms`."""
        return "--" + "-".join(self.path).replace("_", "-")

    def variable(self, role: str) -> str:
        """As the environment has it: `SHOAL_GATEWAY_RULES_LEASE_MS`."""
        return "_".join(("shoal", role, *self.path)).upper()


def keys(settings: type[Struct], above: tuple[str, ...] = ()) -> tuple[Key, ...]:
    """Every key that a role's settings have, those of its tables too."""
    found: list[Key] = []
    for field in msgspec.structs.fields(settings):
        path = (*above, field.encode_name)
        if _is_table(field.type):
            found.extend(keys(field.type, path))
        else:
            found.append(Key(path, field.type, field.default))
    return tuple(found)


def home(environment: Mapping[str, str]) -> Path:
    """Where everything of ours is kept: `$SHOAL_HOME`, else the platform's folder for a user's data."""
    named = environment.get("SHOAL_HOME")
    return Path(named).expanduser() if named else user_data_path("shoal", appauthor=False)


def read_settings(
    settings: type[T],
    *,
    role: str,
    environment: Mapping[str, str],
    file: Path | None = None,
    flags: Mapping[str, str] | None = None,
    defaults: Mapping[str, object] | None = None,
) -> T:
    """A role's settings; `flags` are by the key's name. Raises `Refused` with the key and what it takes."""
    values: dict[str, Any] = dict(defaults or {})
    sources: dict[str, str] = {}
    if file is not None:
        _lay_over(values, _read(file, settings), str(file), sources)
    for key in keys(settings):
        if (text := environment.get(key.variable(role))) is not None:
            _put(values, key, text, key.variable(role), sources)
        if (text := (flags or {}).get(key.name)) is not None:
            _put(values, key, text, key.flag, sources)
        _spell_nodes(values, key, sources.get(key.name) or sources.get(key.path[0]) or role)
    try:
        found = msgspec.convert(values, settings)
    except msgspec.ValidationError as error:
        raise Refused(_explain(str(error), settings, role, sources, file)) from error
    _require_in_bounds(found, sources, role)
    return found


def _spell_nodes(values: dict[str, Any], key: Key, source: str) -> None:
    """Write the ids of nodes as nodes write them: wallets mix in capitals, and ids are compared letter by letter."""
    if key.type not in _OF_NODES:
        return
    table: Any = values
    for name in key.path[:-1]:
        table = table.get(name, {}) if isinstance(table, dict) else {}
    found = table.get(key.path[-1]) if isinstance(table, dict) else None

    def spelled(node: object) -> object:
        if not isinstance(node, str):
            return node  # `convert` will say what is wrong with it
        try:
            return address_of(node)
        except Refused as error:
            raise Refused(f"{source}: {key.name}: {error.message}") from None

    match found:
        case str() if found:
            table[key.path[-1]] = spelled(found)
        case list() | tuple():
            table[key.path[-1]] = [spelled(node) for node in found]
        case dict():
            table[key.path[-1]] = {spelled(node): value for node, value in found.items()}
        case _:
            pass


def _require_in_bounds(settings: Struct, sources: Mapping[str, str], role: str) -> None:
    """No number here has a sense below zero, and no share is more than the whole."""
    for key in keys(type(settings)):
        value: object = settings
        for name in key.path:
            value = getattr(value, name)
        most = WHOLE_PPM if key.name.endswith("_ppm") else None
        if isinstance(value, int) and (value < 0 or (most is not None and value > most)):
            source = sources.get(key.name) or sources.get(key.path[0]) or role
            bounds = "0 or more" if most is None else f"0 to {most}"
            raise Refused(f"{source}: {key.name}: {value} is out of bounds, it takes {bounds}")


def _is_table(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct) and not kind.__struct_config__.array_like


def _read(file: Path, settings: type[Struct]) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text())
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{file} is not valid TOML: {error}") from error
    _require_known(file, values, settings, "")
    return values


def _require_known(file: Path, values: dict[str, Any], table: type[Struct], above: str) -> None:
    """A misspelt key would be silently left out; it is refused instead."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(table)}
    for name, value in values.items():
        if name not in fields:
            raise Refused(f"{file}: there is no key {above + name}; there are {', '.join(fields)}")
        if _is_table(fields[name]) and isinstance(value, dict):
            _require_known(file, value, fields[name], f"{above}{name}.")


def _lay_over(values: dict[str, Any], upper: dict[str, Any], source: str, sources: dict[str, str]) -> None:
    values.update(upper)
    sources.update(dict.fromkeys(upper, source))


def _put(values: dict[str, Any], key: Key, text: str, source: str, sources: dict[str, str]) -> None:
    table = values
    for name in key.path[:-1]:
        table = table.setdefault(name, {})
    table[key.path[-1]] = _parse(key, text, source)
    sources[key.name] = source


def _parse(key: Key, text: str, source: str) -> Any:
    """What a text from outside a file means: itself, a list with commas, or JSON."""
    try:
        if key.type in (str, Path, NodeId):
            return text
        if key.type in (tuple[str, ...], tuple[NodeId, ...]) and not text.startswith("["):
            return [part.strip() for part in text.split(",") if part.strip()]
        if key.type in (int, float, bool):
            return msgspec.convert(text, key.type, strict=False)
        return msgspec.to_builtins(msgspec.json.decode(text, type=key.type))
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Refused(f"{source} is {text!r}: {_plain(str(error))}") from error


def _explain(
    error: str, settings: type[Struct], role: str, sources: Mapping[str, str], file: Path | None
) -> str:
    """One line about a value that does not fit: where it came from, its key, and what it takes."""
    place = _PLACE.search(error)
    path = place["path"] if place else ""
    said = _PLACE.sub("", error)
    if missing := _MISSING.match(said):
        name = ".".join(filter(None, (path, missing["name"])))
        known = {key.name: key for key in keys(settings)}
        if name not in known:
            return f"{file or role}: {name} is missing"
        key = known[name]
        return f"{name} is missing; set it in a file (--config), as {key.variable(role)} or with {key.flag}"
    if unknown := _UNKNOWN.match(said):
        return f"{file or role}: there is no key {'.'.join(filter(None, (path, unknown['name'])))}"
    top = re.split(r"[.\[]", path)[0]
    source = sources.get(path) or sources.get(top) or role
    return f"{source}: {path}: {_plain(said)}"


def _plain(error: str) -> str:
    """msgspec's words without its backticks, beginning small."""
    text = error.replace("`", "")
    return text[:1].lower() + text[1:]
