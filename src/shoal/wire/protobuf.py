"""Protocol buffers, as far as other people's nodes speak them: values to bytes and back.

A message is a frozen Struct whose fields say their number and type (`wire/net.py`). Reading follows proto3: what
is unknown is skipped, what is absent is the default, what comes twice counts the last time. What cannot be read,
or outgrows a limit, is the sender's fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from functools import cache
from operator import attrgetter
from typing import Generic, TypeVar, get_args, get_type_hints

from msgspec import Struct

from shoal.errors import Untrusted

DEPTH_MAX = 32
ITEMS_MAX = 10_000
BYTES_MAX = 4 * 1024 * 1024

_VARINT, _FIXED64, _LENGTH, _GROUP, _GROUP_END, _FIXED32 = range(6)
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_NUMBER_MAX = 2**29 - 1
_MASK64 = 2**64 - 1
_VARINT_BYTES_MAX = 10


class Kind(Enum):
    """A scalar type, or a message."""

    INT32 = auto()
    INT64 = auto()
    UINT32 = auto()
    UINT64 = auto()
    BOOL = auto()
    ENUM = auto()
    STRING = auto()
    BYTES = auto()
    MESSAGE = auto()


_UNSIGNED_BITS = {Kind.UINT32: 32, Kind.UINT64: 64}
_DEFAULTS: dict[Kind, object] = {Kind.STRING: "", Kind.BYTES: b"", Kind.BOOL: False}
_LENGTHY = {Kind.STRING, Kind.BYTES, Kind.MESSAGE}


class Field(Struct, frozen=True):
    """What stands beside a field's type: its number and type on the wire, and its name there if it has another."""

    number: int
    kind: Kind
    name: str = ""
    repeated: bool = False
    #: Of a map: its keys. It is repeated entries of a key (1) and a value (2).
    key: Kind | None = None
    #: Of an alternative (`oneof`): it is said even if it is the default, and None means that it is not.
    optional: bool = False


class Message(Struct, frozen=True):
    """Anything that travels as a protocol buffer."""


M = TypeVar("M", bound=Message)


class _Plan(Struct, frozen=True):
    """A field, ready to be read and written."""

    attribute: str
    field: Field
    message: type[Message] | None
    get: Callable[[Message], object]
    #: The other alternatives, if it is one.
    rivals: tuple[str, ...]


@cache
def plans(message: type[Message]) -> Mapping[int, _Plan]:
    """The fields of a message by their numbers, in the order of these."""
    fields = {
        attribute: (next(extra for extra in hint.__metadata__ if isinstance(extra, Field)), hint.__origin__)
        for attribute, hint in get_type_hints(message, include_extras=True).items()
    }
    optional = [attribute for attribute, (field, _) in fields.items() if field.optional]
    found = {}
    for attribute, (field, hint) in fields.items():
        inner = next((each for each in _leaves(hint) if issubclass(each, Message)), None)
        rivals = tuple(each for each in optional if field.optional and each != attribute)
        found[field.number] = _Plan(attribute, field, inner, attrgetter(attribute), rivals)
    return dict(sorted(found.items()))


def _leaves(hint: object) -> Iterator[type]:
    arguments = get_args(hint)
    if not arguments and isinstance(hint, type):
        yield hint
    for argument in arguments:
        yield from _leaves(argument)


# Writing.


def encode(message: Message) -> bytes:
    """A message as bytes: fields by their numbers, entries of maps by their keys."""
    return b"".join(
        part for plan in plans(type(message)).values() for part in _parts(plan.field, plan.get(message))
    )


def _parts(field: Field, value: object) -> Iterator[bytes]:
    """What is said of one field; nothing if it is the default."""
    if isinstance(value, dict):
        for key in sorted(value):
            entry = _said(1, key) + _said(2, value[key])
            yield _tag(field.number, _LENGTH) + _counted(entry)
    elif isinstance(value, tuple) and field.kind in _LENGTHY:
        for each in value:
            yield _said(field.number, each)
    elif isinstance(value, tuple):
        if value:
            packed = b"".join(_varint(each & _MASK64) for each in value)
            yield _tag(field.number, _LENGTH) + _counted(packed)
    elif value is not None and (value or field.optional or field.kind is Kind.MESSAGE):
        yield _said(field.number, value)


def _said(number: int, value: object) -> bytes:
    if isinstance(value, Message):
        return _tag(number, _LENGTH) + _counted(encode(value))
    if isinstance(value, str):
        return _tag(number, _LENGTH) + _counted(value.encode())
    if isinstance(value, bytes):
        return _tag(number, _LENGTH) + _counted(value)
    if isinstance(value, int):
        return _tag(number, _VARINT) + _varint(value & _MASK64)
    raise TypeError(f"field {number} holds {type(value).__name__}")


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _counted(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


# Reading.


def decode(message: type[M], data: bytes, *, bytes_max: int = BYTES_MAX) -> M:
    """The message in `data`. Raises `Untrusted` if there is none, or more than the limits allow."""
    if len(data) > bytes_max:
        raise Untrusted(f"a message has {len(data)} bytes, at most {bytes_max}")
    return _message(message, data, DEPTH_MAX)


def _message(message: type[M], data: bytes, depth: int) -> M:
    found = _Found(message)
    found.read(data, depth)
    return found.made()


class _Found(Generic[M]):
    """What has been read of a message, which may come in parts."""

    __slots__ = ("_lists", "_maps", "_message", "_nested", "_values")

    def __init__(self, message: type[M]) -> None:
        self._message = message
        self._values: dict[str, object] = {}
        self._nested: dict[str, _Found[Message]] = {}
        self._lists: dict[str, list[object]] = {}
        self._maps: dict[str, dict[object, object]] = {}

    def read(self, data: bytes, depth: int) -> None:
        """Read one part; it is a message by itself."""
        if depth <= 0:
            raise Untrusted(f"a message is nested deeper than {DEPTH_MAX}")
        known = plans(self._message)
        for number, wire, raw in _fields(data, depth):
            if number in known:
                self._take(known[number], wire, raw, depth)

    def _take(self, plan: _Plan, wire: int, raw: int | bytes, depth: int) -> None:
        """One occurrence of a field. What is of another type than the field is skipped."""
        field, name = plan.field, plan.attribute
        if field.key is not None:
            if wire == _LENGTH and isinstance(raw, bytes):
                key, value = _entry(plan, raw, depth - 1)
                entries = self._maps.setdefault(name, {})
                _limit(len(entries))
                entries[key] = value
        elif field.repeated:
            items = self._lists.setdefault(name, [])
            for each in _items(plan, wire, raw, depth):
                _limit(len(items))
                items.append(each)
        elif plan.message is not None:
            if wire == _LENGTH and isinstance(raw, bytes):
                self._choose(plan)
                self._nested.setdefault(name, _Found(plan.message)).read(raw, depth - 1)
        elif (value := _scalar(field.kind, wire, raw)) is not None:
            self._choose(plan)
            self._values[name] = value

    def _choose(self, plan: _Plan) -> None:
        """Of alternatives the last one counts."""
        for rival in plan.rivals:
            self._values.pop(rival, None)
            self._nested.pop(rival, None)

    def made(self) -> M:
        """The message."""
        nested = {name: found.made() for name, found in self._nested.items()}
        lists = {name: tuple(items) for name, items in self._lists.items()}
        return self._message(**self._values, **nested, **lists, **self._maps)


def _limit(items: int) -> None:
    if items >= ITEMS_MAX:
        raise Untrusted(f"a field has more than {ITEMS_MAX} items")


def _items(plan: _Plan, wire: int, raw: int | bytes, depth: int) -> Iterator[object]:
    """What one occurrence of a repeated field brings: one item, or many numbers packed."""
    if plan.message is not None:
        if wire == _LENGTH and isinstance(raw, bytes):
            yield _message(plan.message, raw, depth - 1)
    elif wire == _LENGTH and plan.field.kind not in _LENGTHY and isinstance(raw, bytes):
        at = 0
        while at < len(raw):
            number, at = _read_varint(raw, at)
            yield _scalar(plan.field.kind, _VARINT, number)
    elif (value := _scalar(plan.field.kind, wire, raw)) is not None:
        yield value


def _entry(plan: _Plan, data: bytes, depth: int) -> tuple[object, object]:
    """One entry of a map; a part that it lacks is the default."""
    key_kind = plan.field.key or Kind.STRING
    key: object = _DEFAULTS.get(key_kind, 0)
    value: object = _DEFAULTS.get(plan.field.kind, 0)
    nested = _Found(plan.message or Message)
    for number, wire, raw in _fields(data, depth):
        if number == 1 and (said := _scalar(key_kind, wire, raw)) is not None:
            key = said
        elif number == 2 and plan.message is not None and wire == _LENGTH and isinstance(raw, bytes):
            nested.read(raw, depth - 1)
        elif number == 2 and (said := _scalar(plan.field.kind, wire, raw)) is not None:
            value = said
    return key, nested.made() if plan.message is not None else value


def _scalar(kind: Kind, wire: int, raw: int | bytes) -> int | str | bytes | None:
    """A value of this type; None if what is there is of another."""
    if isinstance(raw, bytes):
        return _text(kind, raw) if wire == _LENGTH and kind in _LENGTHY else None
    if kind in _LENGTHY:
        return None
    if kind is Kind.BOOL:
        return raw != 0
    if kind in _UNSIGNED_BITS:
        return raw & (1 << _UNSIGNED_BITS[kind]) - 1
    bits = 64 if kind is Kind.INT64 else 32
    raw &= (1 << bits) - 1
    return raw - (1 << bits) if raw >> bits - 1 else raw


def _text(kind: Kind, raw: bytes) -> str | bytes:
    if kind is Kind.BYTES:
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Untrusted(f"a message holds text that is no UTF-8: {error}") from error


def _fields(data: bytes, depth: int) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and content of each field; numbers of fixed width are nobody's, and come as bytes."""
    at = 0
    while at < len(data):
        number, wire, at = _read_tag(data, at)
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            yield number, wire, value
        elif wire == _GROUP:
            at = _skip_group(data, at, number, depth - 1)
        else:
            start, at = _span(data, at, wire)
            yield number, wire, data[start:at]


def _read_tag(data: bytes, at: int) -> tuple[int, int, int]:
    tag, at = _read_varint(data, at)
    number, wire = tag >> 3, tag & 7
    if not 0 < number <= _NUMBER_MAX:
        raise Untrusted(f"a message has a field of number {number}")
    return number, wire, at


def _span(data: bytes, at: int, wire: int) -> tuple[int, int]:
    """Where a field's bytes begin and end."""
    if wire == _LENGTH:
        length, at = _read_varint(data, at)
    elif wire in _FIXED_BYTES:
        length = _FIXED_BYTES[wire]
    else:
        raise Untrusted(f"a message has a field of type {wire}, which there is not")
    if length > len(data) - at:
        raise Untrusted("a message ends within a field")
    return at, at + length


def _skip_group(data: bytes, at: int, group: int, depth: int) -> int:
    """Where what follows a group begins."""
    if depth <= 0:
        raise Untrusted(f"a message is nested deeper than {DEPTH_MAX}")
    while at < len(data):
        number, wire, at = _read_tag(data, at)
        if wire == _GROUP_END:
            if number != group:
                break
            return at
        if wire == _GROUP:
            at = _skip_group(data, at, number, depth - 1)
        elif wire == _VARINT:
            _, at = _read_varint(data, at)
        else:
            _, at = _span(data, at, wire)
    raise Untrusted("a group in a message does not end")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(data[at : at + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number & _MASK64, at + place + 1
    raise Untrusted("a number in a message does not end")
