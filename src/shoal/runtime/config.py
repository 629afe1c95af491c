"""Settings: one TOML file, then the environment, then flags, made into one frozen Struct.

A later source outweighs an earlier one. What does not fit, or is unknown, is
refused with the name under which it came.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from platformdirs import user_data_path

from shoal.errors import Refused

S = TypeVar("S", bound=Struct)

Tree = dict[str, Any]


def read_settings(
    kind: type[S],
    *,
    role: str,
    environment: Mapping[str, str],
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
) -> S:
    """The settings of a role. A key `lease_ms` of `[rules]` is `SHOAL_<ROLE>_RULES_LEASE_MS` in the environment."""
    tree = _from_file(file) if file is not None else {}
    _lay_over(tree, _from_environment(kind, f"SHOAL_{role.upper()}_", environment))
    _lay_over(tree, {name: value for name, value in (flags or {}).items() if value is not None})
    try:
        return msgspec.convert(tree, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise Refused(f"the settings of the {role} are wrong: {error}") from error


def home(environment: Mapping[str, str]) -> Path:
    """Where everything of ours is kept: `$SHOAL_HOME`, else the platform's folder for a user's data."""
    named = environment.get("SHOAL_HOME")
    return Path(named).expanduser() if named else user_data_path("shoal", appauthor=False)


def _from_file(file: Path) -> Tree:
    try:
        with file.open("rb") as opened:
            return tomllib.load(opened)
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}; name another file") from error
    except ValueError as error:
        raise Refused(f"{file} is no TOML: {error}") from error


def _from_environment(kind: type[Struct], prefix: str, environment: Mapping[str, str]) -> Tree:
    tree: Tree = {}
    for field in msgspec.structs.fields(kind):
        name = prefix + field.name.upper()
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            if inner := _from_environment(field.type, name + "_", environment):
                tree[field.name] = inner
        elif name in environment:
            value = environment[name]
            is_list = str(field.type).startswith("tuple")
            tree[field.name] = (
                [part.strip() for part in value.split(",") if part.strip()] if is_list else value
            )
    return tree


def _lay_over(tree: Tree, other: Tree) -> None:
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(name), dict):
            _lay_over(tree[name], value)
        else:
            tree[name] = value
