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
    level = [leaf(receipt) for receipt in receipts]
    paths: list[list[bytes]] = [[] for _ in receipts]
    below = [[index] for index in range(len(receipts))]
    while len(level) > 1:
        nodes, beneath = [], []
        for at in range(0, len(level) - 1, 2):
            left, right = level[at], level[at + 1]
            for index in below[at]:
                paths[index].append(RIGHT + right)
            for index in below[at + 1]:
                paths[index].append(LEFT + left)
            nodes.append(node(left, right))
            beneath.append(below[at] + below[at + 1])
        odd = len(level) - len(level) % 2
        level, below = nodes + level[odd:], beneath + below[odd:]
    signature = sign(PREFIX + level[0])
    return [
        replace(receipt, path=tuple(path), signature=signature)
        for receipt, path in zip(receipts, paths, strict=True)
    ]


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
