"""One signature for many receipts: each goes out with its path to the root that was signed.

A signature costs more than everything else that is done for a small job. So the
receipts of one moment are the leaves of a hash tree (the hashes are those of RFC
6962, section 2.1: leaves and nodes cannot be taken for each other), its root is
signed, and every receipt alone still proves itself to anybody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from shoal.wire.codec import receipt_bytes
from shoal.wire.words import Receipt

#: What precedes the root under a signature.
PREFIX = b"shoal receipts 1\n"

#: On which side of the way up a step's hash stands.
LEFT, RIGHT = b"\0", b"\1"


def seal(receipts: Sequence[Receipt], sign: Callable[[bytes], bytes]) -> list[Receipt]:
    """These receipts with their paths and the one signature over them all."""
    if not receipts:
        return []
    levels = [[leaf(receipt) for receipt in receipts]]
    while len(levels[-1]) > 1:
        levels.append(_above(levels[-1]))
    signature = sign(PREFIX + levels[-1][0])
    return [
        replace(receipt, path=path, signature=signature)
        for receipt, path in zip(receipts, _paths(levels), strict=True)
    ]


def _above(level: Sequence[bytes]) -> list[bytes]:
    """The hashes over two and two of these; an odd one goes up as it is."""
    nodes = [node(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
    return nodes if len(level) % 2 == 0 else [*nodes, level[-1]]


def _paths(levels: Sequence[Sequence[bytes]]) -> list[tuple[bytes, ...]]:
    """The steps from each leaf to the root: one to the node above, if there is one beside, and then that one's."""
    paths: list[tuple[bytes, ...]] = [()]
    for level in levels[-2::-1]:
        paths = [_step(level, index) + paths[index // 2] for index in range(len(level))]
    return paths


def _step(level: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The hash beside this one, and on which side it stands; nothing beside an odd one, which goes up as it is."""
    beside = index ^ 1
    if beside == len(level):
        return ()
    return ((LEFT if index & 1 else RIGHT) + level[beside],)


def signed_bytes(receipt: Receipt) -> bytes:
    """What a sealed receipt's signature covers: the root to which its path leads."""
    root = leaf(receipt)
    for step in receipt.path:
        root = node(step[1:], root) if step[:1] == LEFT else node(root, step[1:])
    return PREFIX + root


def leaf(receipt: Receipt) -> bytes:
    """The hash of a receipt's own words."""
    return hashlib.sha256(b"\0" + receipt_bytes(receipt)).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash over two hashes."""
    return hashlib.sha256(b"\1" + left + right).digest()
