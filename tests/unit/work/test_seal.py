"""Receipts under one signature: each proves itself alone, and none proves anything else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shoal.ids import Digest, JobId, NodeId
from shoal.money.wei import Wei
from shoal.runtime.keys import NodeKey, verify
from shoal.wire.codec import receipt_bytes
from shoal.wire.words import Receipt
from shoal.work.seal import PREFIX, node, seal, signed_bytes

KEY = NodeKey(b"\x07" * 32)


def receipts(count: int) -> list[Receipt]:
    return [
        Receipt(
            JobId(f"job{n}"), 1, KEY.id, NodeId("w"), "echo", "echo", n, Wei(n), Digest("q"), Digest("a"), 5
        )
        for n in range(count)
    ]


def holds(receipt: Receipt) -> bool:
    return verify(receipt.orchestrator, signed_bytes(receipt), receipt.signature)


def test_nothing_is_sealed_without_a_signature_being_asked_for() -> None:
    assert seal([], lambda data: pytest.fail("signed")) == []


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 13, 64, 65])
def test_every_receipt_holds_alone(count: int) -> None:
    asked: list[bytes] = []

    def sign(data: bytes) -> bytes:
        asked.append(data)
        return KEY.sign(data)

    sealed = seal(receipts(count), sign)
    assert len(asked) == 1
    assert [replace(receipt, path=(), signature=b"") for receipt in sealed] == receipts(count)
    assert all(map(holds, sealed))
    assert max(len(receipt.path) for receipt in sealed) == (count - 1).bit_length()


@given(st.integers(2, 40), st.data())
def test_a_receipt_with_another_word_or_another_path_does_not_hold(count: int, data: st.DataObject) -> None:
    sealed = seal(receipts(count), KEY.sign)
    receipt = data.draw(st.sampled_from(sealed))
    other = data.draw(st.sampled_from([one for one in sealed if one is not receipt]))
    assert not holds(replace(receipt, units=receipt.units + 1))
    assert not holds(replace(other, path=receipt.path)) or other.path == receipt.path
    assert not holds(replace(receipt, path=()))
    assert not holds(replace(receipt, path=(*receipt.path, b"\0" + bytes(32))))
    flipped = bytes([1 - receipt.path[0][0]]) + receipt.path[0][1:]
    assert not holds(replace(receipt, path=(flipped, *receipt.path[1:])))


def test_a_receipt_can_be_checked_with_a_hash_function_alone() -> None:
    receipt = seal(receipts(5), KEY.sign)[2]
    root = hashlib.sha256(b"\0" + receipt_bytes(receipt)).digest()
    for step in receipt.path:
        pair = step[1:] + root if step[0] == 0 else root + step[1:]
        root = hashlib.sha256(b"\1" + pair).digest()
    assert signed_bytes(receipt) == PREFIX + root


def test_a_node_is_never_taken_for_a_leaf() -> None:
    left, right = (signed_bytes(receipt)[len(PREFIX) :] for receipt in receipts(2))
    assert node(left, right) != hashlib.sha256(b"\0" + left + right).digest()
