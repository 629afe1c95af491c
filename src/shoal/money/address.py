"""Addresses as people are shown them, and as Livepeer's nodes sign them: capitals carry a checksum."""

from __future__ import annotations

from shoal.ids import NodeId
from shoal.money.keccak import keccak256

#: A letter is a capital where the hash of the address has at least this much.
_CAPITAL = 8


def checksummed(node: NodeId) -> str:
    """An address with its checksum, as EIP-55 writes it."""
    digits = node[2:]
    hashed = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(mark, 16) >= _CAPITAL else digit
        for digit, mark in zip(digits, hashed, strict=False)
    )
