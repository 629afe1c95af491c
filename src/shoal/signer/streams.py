"""Which tickets were signed before: who asks for them again gets the same signatures, and is not charged again.

The oldest sets of parameters are forgotten when there are too many; their tickets would then be charged again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from shoal.money.nonces import Nonces, Range, ranges_of
from shoal.money.ticket import Hash


class Stream(Struct, frozen=True, array_like=True, gc=False):
    """A snapshot of one set of parameters: the hash of its ticket of nonce 0, and which were signed."""

    name: Hash
    ranges: tuple[Range, ...]


class Streams:
    """The tickets that were signed, by what they have in common."""

    def __init__(self, streams_max: int) -> None:
        self._max = streams_max
        self._signed: dict[Hash, Nonces] = {}

    def unsigned(self, name: Hash, nonces: Sequence[int]) -> tuple[int, ...]:
        """Those of these that were not signed before, each once."""
        signed = self._signed.get(name)
        return tuple(sorted({nonce for nonce in nonces if signed is None or nonce not in signed}))

    def take(self, name: Hash, nonces: Iterable[int]) -> None:
        """These were not signed before, and are now."""
        if name not in self._signed and len(self._signed) >= self._max:
            del self._signed[next(iter(self._signed))]
        signed = self._signed.setdefault(name, Nonces())
        for first, last in ranges_of(nonces):
            signed.add(first, last)

    def dump(self) -> tuple[Stream, ...]:
        """For a snapshot."""
        return tuple(Stream(name, signed.ranges()) for name, signed in self._signed.items())

    def load(self, streams: Iterable[Stream]) -> None:
        """Take what a snapshot says."""
        self._signed = {stream.name: Nonces(stream.ranges) for stream in streams}
