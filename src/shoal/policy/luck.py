"""Luck that can be had again: it comes from a job's id and the attempt, and from nothing else.

Whoever asks again why a node was chosen draws the same lots. A job's id holds
128 random bits of its gateway's, so nobody else can bend what follows from it.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import unpack

from shoal.ids import JobId

#: A lot is a number of so many bits; one hash gives eight of them.
LOT_BITS = 64


class Luck:
    """The lots that one attempt draws, one after the other."""

    __slots__ = ("_hashes", "_lots", "_source")

    def __init__(self, job: JobId, attempt: int) -> None:
        self._source = f"{job}/{attempt}/"
        self._hashes = 0
        self._lots: list[int] = []

    def lot(self) -> int:
        """The next lot: each number of `LOT_BITS` bits is as likely as the other."""
        if not self._lots:
            self._hashes += 1
            self._lots = list(unpack("<8Q", blake2b(f"{self._source}{self._hashes}".encode()).digest()))
        return self._lots.pop()

    def below(self, count: int) -> int:
        """One of the whole numbers from 0 to `count` - 1."""
        return self.lot() * count >> LOT_BITS

    def share(self) -> float:
        """A number from 0 to 1, 1 itself left out."""
        return (self.lot() >> LOT_BITS - 53) / 2**53
