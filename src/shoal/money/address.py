"""Addresses as people are shown them, and as Livepeer's nodes sign them: capitals carry a checksum."""

from __future__ import annotations

import re

from shoal.errors import Refused
from shoal.ids import NODE_ID_PATTERN, NodeId
from shoal.money.keccak import keccak256

#: A letter is a capital where the hash of the address has at least this much.
_CAPITAL = 8


def address_of(text: str) -> NodeId:
    """The address that somebody typed or pasted, as nodes write it: small letters only.

    Raises `Refused` if it is none, or if it has capitals and they are not its checksum: then a digit is wrong.
    """
    node = NodeId(text.strip().lower())
    if re.match(NODE_ID_PATTERN, node) is None:
        raise Refused(f"{text[:60]!r} is no address, it takes 0x and 40 hex digits")
    if text.strip()[2:] not in (node[2:], node[2:].upper(), checksummed(node)[2:]):
        raise Refused(f"{text[:60]!r} has a wrong checksum, so a digit of it is wrong: copy it again")
    return node


def checksummed(node: NodeId) -> str:
    """An address with its checksum, as EIP-55 writes it."""
    digits = node[2:]
    hashed = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(mark, 16) >= _CAPITAL else digit
        for digit, mark in zip(digits, hashed, strict=False)
    )
