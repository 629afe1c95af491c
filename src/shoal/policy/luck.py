"""Luck that can be had again: it comes from a job's id and the attempt, and from nothing else.

Whoever asks again why a node was chosen draws the same lots. A job's id holds
128 random bits of its gateway's, so nobody else can bend what follows from it.
"""

from __future__ import annotations

from hashlib import blake2b

from shoal.ids import JobId

BITS = 64


class Luck:
    """The lots that one attempt draws, one after the other."""

    __slots__ = ("_drawn", "_from")

    def __init__(self, job: JobId, attempt: int) -> None:
        self._from = f"{job}/{attempt}/"
        self._drawn = 0

    def bits(self) -> int:
        """The next lot: any number of `BITS` bits, each as likely as the other."""
        self._drawn += 1
        lot = blake2b(f"{self._from}{self._drawn}".encode(), digest_size=BITS // 8)
        return int.from_bytes(lot.digest())

    def below(self, count: int) -> int:
        """One of the whole numbers from 0 to `count` - 1."""
        return self.bits() * count >> BITS

    def share(self) -> float:
        """A number from 0 to 1, 1 itself left out."""
        return (self.bits() >> BITS - 53) / 2**53
