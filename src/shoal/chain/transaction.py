"""A transaction: what it says, and the bytes that an Ethereum node takes.

Signed by whoever can sign a hash, so that no key comes near this file. The same
transaction signed twice is the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import rlp
from msgspec import Struct

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.money.keccak import keccak256

#: Signs 32 bytes: r, s and v (27 or 28), 65 bytes in all.
SignHash = Callable[[bytes], bytes]

_FEE_MARKET = b"\x02"


class Transaction(Struct, frozen=True, kw_only=True):
    """What is signed. With a `tip` fees follow EIP-1559, without one `max_fee_wei` is the gas price."""

    chain_id: int
    nonce: int
    to: NodeId | None
    value_wei: int = 0
    data: bytes = b""
    gas: int
    max_fee_wei: int
    tip_wei: int | None = None

    def sign(self, sign_hash: SignHash) -> Signed:
        """The bytes to send, and the hash by which they are found. Raises `Refused` for a negative amount."""
        if min(self.nonce, self.value_wei, self.gas, self.max_fee_wei, self.tip_wei or 0) < 0:
            raise Refused("a transaction has a number below zero")
        fields, prefix, suffix = self._fields()
        signature = sign_hash(keccak256(prefix + rlp.encode([*fields, *suffix])))
        r, s, v = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64]), signature[64]
        parity = v - 27
        mark = parity if prefix else 35 + 2 * self.chain_id + parity
        raw = prefix + rlp.encode([*fields, *map(_number, (mark, r, s))])
        return Signed(raw, "0x" + keccak256(raw).hex())

    def _fields(self) -> tuple[list[object], bytes, list[object]]:
        """The fields in their order, the type's byte, and what only the signed form has after them (EIP-155)."""
        to = bytes.fromhex(self.to[2:]) if self.to else b""
        tail: list[object] = [_number(self.gas), to, _number(self.value_wei), self.data]
        head = [_number(self.nonce), _number(self.max_fee_wei)]
        if self.tip_wei is None:
            return [*head, *tail], b"", [_number(self.chain_id), b"", b""]
        fees = [_number(self.tip_wei), _number(self.max_fee_wei)]
        return [_number(self.chain_id), _number(self.nonce), *fees, *tail, []], _FEE_MARKET, []


class Signed(Struct, frozen=True):
    """A transaction as it travels."""

    raw: bytes
    hash: str


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8)
