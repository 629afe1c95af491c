"""A contract's words: calls into calldata, results and logs back into values.

Everything is written as Solidity writes it: `getSenderInfo(address)`. What a
contract answers against its own ABI raises `NodeRefused`, never another error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError
from msgspec import Struct

from shoal.chain.rpc import NodeRefused
from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.money.keccak import keccak256


class Method(Struct, frozen=True, dict=True):
    """One function of a contract: its name, the types it takes and those it gives."""

    name: str
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()

    @cached_property
    def selector(self) -> bytes:
        """The four bytes that a call begins with."""
        return keccak256(f"{self.name}({','.join(self.takes)})".encode())[:4]

    def call(self, *values: object) -> bytes:
        """The data of a call. Raises `Refused` if a value does not fit its type."""
        try:
            return self.selector + encode(self.takes, values)
        except EncodingError as error:
            raise Refused(f"{self.name} does not take that: {error}") from error

    def values(self, data: bytes) -> tuple[Any, ...]:
        """What a call gave."""
        try:
            return decode(self.gives, data)
        except (DecodingError, OverflowError, UnicodeDecodeError) as error:
            raise NodeRefused(
                f"{self.name} answered {len(data)} bytes that are not {self.gives}: is the address right?"
            ) from error


class Field(Struct, frozen=True):
    """One value of an event; an indexed one stands among the topics."""

    name: str
    type: str
    indexed: bool = False


class EventKind(Struct, frozen=True, dict=True):
    """One event of a contract."""

    name: str
    fields: tuple[Field, ...]

    @cached_property
    def topic(self) -> str:
        """The first topic of its logs."""
        types = ",".join(field.type for field in self.fields)
        return "0x" + keccak256(f"{self.name}({types})".encode()).hex()

    def values(self, topics: Sequence[str], data: bytes) -> dict[str, Any]:
        """A log's values by their names."""
        found: dict[str, Any] = {}
        try:
            rest = iter(decode([field.type for field in self.fields if not field.indexed], data))
            places = iter(topics[1:])
            for field in self.fields:
                if field.indexed:
                    (found[field.name],) = decode([field.type], bytes.fromhex(next(places)[2:]))
                else:
                    found[field.name] = next(rest)
        except (DecodingError, OverflowError, ValueError, StopIteration) as error:
            raise NodeRefused(f"a log is no {self.name}: {error}") from error
        return found


class Log(Struct, frozen=True):
    """One log as a node gives it, decoded."""

    address: NodeId
    kind: str
    values: dict[str, Any]
    block: int
    block_hash: str
    transaction: str
    index: int


def method(signature: str, gives: str = "") -> Method:
    """A method from `name(types)`, and the types it gives with commas between."""
    name, _, rest = signature.partition("(")
    return Method(name, _split(rest[:-1]), _split(gives))


def event(signature: str) -> EventKind:
    """An event from `Name(address indexed who, uint256 amount)`."""
    name, _, rest = signature.partition("(")
    fields = []
    for part in _split(rest[:-1]):
        kind, *middle, label = part.split()
        fields.append(Field(label, kind, "indexed" in middle))
    return EventKind(name, tuple(fields))


def read_log(log: Mapping[str, Any], kinds: Mapping[str, EventKind]) -> Log | None:
    """A node's log if it is one of these kinds (by topic), else None."""
    topics = log["topics"]
    kind = kinds.get(topics[0]) if topics else None
    if kind is None:
        return None
    return Log(
        NodeId(str(log["address"]).lower()),
        kind.name,
        kind.values(topics, bytes.fromhex(log["data"][2:])),
        int(log["blockNumber"], 16),
        log["blockHash"],
        log["transactionHash"],
        int(log["logIndex"], 16),
    )


def _split(types: str) -> tuple[str, ...]:
    """Types with commas between, those of a tuple kept together."""
    parts, depth, part = [], 0, ""
    for sign in types:
        if sign == "," and depth == 0:
            parts.append(part.strip())
            part = ""
            continue
        depth += (sign == "(") - (sign == ")")
        part += sign
    if part.strip():
        parts.append(part.strip())
    return tuple(parts)
