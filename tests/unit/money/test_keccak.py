"""Keccak-256: known digests, and both ways of computing it."""

from __future__ import annotations

import pytest

from shoal.money.keccak import keccak256, keccak256_by_hand

KNOWN = {
    b"": "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
    b"abc": "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
}


@pytest.mark.parametrize("data", KNOWN)
def test_known_digests(data: bytes) -> None:
    assert keccak256(data).hex() == keccak256_by_hand(data).hex() == KNOWN[data]


@pytest.mark.parametrize("size", [1, 31, 32, 64, 104, 134, 135, 136, 137, 271, 272, 273, 1_000])
def test_both_ways_agree_on_every_side_of_a_block(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    assert keccak256(data) == keccak256_by_hand(data)
