"""Our messages and the protobuf library's: one schema, the same bytes, the same reading of any bytes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Judge

from shoal.errors import Untrusted
from shoal.wire import net
from shoal.wire.protobuf import DEPTH_MAX, ITEMS_MAX, Field, Kind, Message, decode, encode, plans

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "src/shoal/wire/proto/net.proto"
#: What `protoc` makes of it.
COMPILED = ROOT / "tests/contract/net.binpb"

POOL = descriptor_pool.DescriptorPool()
for each in descriptor_pb2.FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
    POOL.Add(each)


def descriptors() -> dict[str, Descriptor]:
    """Every message of the schema by its own name, those within others too."""
    found: dict[str, Descriptor] = {}
    waiting = list(POOL.FindFileByName("net.proto").message_types_by_name.values())
    while waiting:
        one = waiting.pop()
        if not one.GetOptions().map_entry:
            found[one.name] = one
            waiting += one.nested_types
    return found


DESCRIPTORS = descriptors()
OURS: dict[str, type[Message]] = {
    name: kind for name, kind in vars(net).items() if isinstance(kind, type) and issubclass(kind, Message)
}
OURS.pop("Message")
KINDS = {
    FieldDescriptor.TYPE_INT32: Kind.INT32,
    FieldDescriptor.TYPE_INT64: Kind.INT64,
    FieldDescriptor.TYPE_UINT32: Kind.UINT32,
    FieldDescriptor.TYPE_UINT64: Kind.UINT64,
    FieldDescriptor.TYPE_BOOL: Kind.BOOL,
    FieldDescriptor.TYPE_ENUM: Kind.ENUM,
    FieldDescriptor.TYPE_STRING: Kind.STRING,
    FieldDescriptor.TYPE_BYTES: Kind.BYTES,
    FieldDescriptor.TYPE_MESSAGE: Kind.MESSAGE,
}


def test_the_schema_is_compiled_as_it_stands() -> None:
    compiler = ROOT / ".venvs/proto/bin/python"
    made = subprocess.run(
        [compiler, "-m", "grpc_tools.protoc", f"-I{PROTO.parent}", "--descriptor_set_out=/dev/stdout", PROTO],
        capture_output=True,
        check=True,
    )
    assert made.stdout == COMPILED.read_bytes(), "run `make proto`"


def test_we_have_every_message_and_no_other() -> None:
    assert set(OURS) == set(DESCRIPTORS)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_field_is_the_schemas(name: str) -> None:
    theirs = {}
    for field in DESCRIPTORS[name].fields:
        entry = (
            field.message_type if field.message_type and field.message_type.GetOptions().map_entry else None
        )
        value = entry.fields_by_name["value"] if entry else field
        theirs[field.number] = (
            field.name,
            KINDS[value.type],
            value.message_type.name if value.message_type else None,
            field.is_repeated and not entry,
            KINDS[entry.fields_by_name["key"].type] if entry else None,
            field.containing_oneof is not None,
        )
    ours = {}
    for number, plan in plans(OURS[name]).items():
        field = plan.field
        inner = plan.message.__name__ if plan.message else None
        said = field.name or plan.attribute
        ours[number] = (said, field.kind, inner, field.repeated, field.key, field.optional)
    assert ours == theirs


SCALARS: dict[Kind, Callable[[Random], Any]] = {
    Kind.INT32: lambda chance: chance.choice((0, 1, -1, 2**31 - 1, -(2**31), chance.getrandbits(31))),
    Kind.INT64: lambda chance: chance.choice((0, 1, -1, 2**63 - 1, -(2**63), chance.getrandbits(63))),
    Kind.UINT32: lambda chance: chance.choice((0, 1, 127, 128, 2**32 - 1, chance.getrandbits(32))),
    Kind.UINT64: lambda chance: chance.choice((0, 1, 127, 128, 2**64 - 1, chance.getrandbits(64))),
    Kind.BOOL: lambda chance: chance.random() < 0.5,
    Kind.ENUM: lambda chance: chance.randrange(9),
    Kind.STRING: lambda chance: "".join(chance.choices("aé語\0", k=chance.randrange(4))),
    Kind.BYTES: lambda chance: chance.randbytes(chance.randrange(5)),
}


def some(kind: type[Message], chance: Random, depth: int = 4) -> Message:
    """A value of a message, any that there is."""
    values: dict[str, Any] = {}
    alternatives = [plan for plan in plans(kind).values() if plan.field.optional]
    said = chance.choice([None, *alternatives])
    for plan in plans(kind).values():
        field = plan.field
        if depth == 0 or chance.random() < 0.3 or (field.optional and plan is not said):
            continue
        if field.key is not None:
            keys = [SCALARS[field.key](chance) for _ in range(chance.randrange(3))]
            values[plan.attribute] = {key: one(plan, chance, depth) for key in keys}
        elif field.repeated:
            values[plan.attribute] = tuple(one(plan, chance, depth) for _ in range(chance.randrange(3)))
        else:
            values[plan.attribute] = one(plan, chance, depth)
    return kind(**values)


def one(plan: Any, chance: Random, depth: int) -> Any:
    """One value of a field's type."""
    if plan.message is not None:
        return some(plan.message, chance, depth - 1)
    return SCALARS[plan.field.kind](chance)


def judge(name: str, data: bytes) -> Judge:
    """What the library reads in it. Raises `DecodeError`."""
    made: Judge = message_factory.GetMessageClass(DESCRIPTORS[name])()
    made.ParseFromString(data)
    return made


def same(one: Any, other: Any, *, spoiled: bool = False) -> bool:
    """Whether two values say the same.

    The library leaves out an entry of a map with an unknown field inside; we skip that field, as Go does. So where
    bytes were `spoiled` it may have fewer entries.
    """
    if isinstance(one, dict):
        if spoiled:
            return set(other) <= set(one)
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(
            same(*pair, spoiled=spoiled) for pair in zip(one, other, strict=True)
        )
    if not isinstance(one, Message):
        return bool(one == other)
    for plan in plans(type(one)).values():
        name, value = plan.field.name or plan.attribute, plan.get(one)
        if (plan.message is not None or plan.field.optional) and not isinstance(value, dict | tuple):
            if other.HasField(name) != (value is not None):
                return False
            if value is None:
                continue
        if not same(value, getattr(other, name), spoiled=spoiled):
            return False
    return True


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_we_write_the_library_reads_and_would_write(name: str) -> None:
    chance = Random(name)
    for _ in range(60):
        value = some(OURS[name], chance)
        written = encode(value)
        theirs = judge(name, written)
        assert same(value, theirs)
        assert sorted(theirs.SerializeToString()) == sorted(written)  # entries of a map have no order
        assert decode(OURS[name], written) == value


def both_read(name: str, data: bytes) -> None:
    """The same bytes mean the same to both, or nothing to either."""
    try:
        theirs = judge(name, data)
    except DecodeError:
        with pytest.raises(Untrusted):
            decode(OURS[name], data)
        return
    assert same(decode(OURS[name], data), theirs, spoiled=True)


@pytest.mark.parametrize("name", sorted(OURS))
def test_any_bytes_mean_the_same_to_both(name: str) -> None:
    """Noise, and messages cut, spliced into others, said twice, with bytes changed."""
    chance = Random(name)
    for number in range(400):
        if number % 4 == 0:
            data = bytearray(chance.randbytes(chance.randrange(20)))
        else:
            first = encode(some(OURS[name], chance))
            second = encode(some(OURS[chance.choice((name, *OURS))], chance))
            cut = chance.randint(0, len(first))
            data = bytearray(first[:cut] + second + first[chance.choice((0, cut)) :])
        for _ in range(chance.randrange(3) if data else 0):
            data[chance.randrange(len(data))] = chance.randrange(256)
        both_read(name, bytes(data))


def test_limits() -> None:
    with pytest.raises(Untrusted, match="at most 3"):
        decode(net.PingPong, b"\x0a\x02ab", bytes_max=3)
    groups = b"\x7b" * (DEPTH_MAX + 1) + b"\x7c" * (DEPTH_MAX + 1)
    with pytest.raises(Untrusted, match="nested deeper"):
        decode(net.PingPong, groups)
    assert decode(net.PingPong, b"\x7b\x7b\x7c\x7c\x0a\x01a").value == b"a"
    with pytest.raises(Untrusted, match="more than"):
        decode(net.Capabilities, encode(net.Capabilities(bitstring=(1,) * (ITEMS_MAX + 1))))


def test_a_field_says_what_it_is() -> None:
    plan = plans(net.PriceInfo)[1]
    assert plan.field == Field(1, Kind.INT64, "pricePerUnit")
