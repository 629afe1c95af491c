"""A set of whole numbers that mostly follow one another: kept as ranges, so that a run costs no more than one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

#: First and last, both in it.
Range = tuple[int, int]


class Nonces:
    """Which nonces have been seen."""

    __slots__ = ("_firsts", "_lasts", "count")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.count = 0
        for first, last in sorted(ranges):
            self._firsts.append(first)
            self._lasts.append(last)
            self.count += last - first + 1

    def __contains__(self, nonce: int) -> bool:
        place = bisect_right(self._firsts, nonce) - 1
        return place >= 0 and nonce <= self._lasts[place]

    def add(self, nonce: int) -> None:
        """See a nonce that was not seen before."""
        place = bisect_right(self._firsts, nonce)
        follows = place > 0 and self._lasts[place - 1] == nonce - 1
        leads = place < len(self._firsts) and self._firsts[place] == nonce + 1
        if follows and leads:
            self._lasts[place - 1] = self._lasts.pop(place)
            del self._firsts[place]
        elif follows:
            self._lasts[place - 1] = nonce
        elif leads:
            self._firsts[place] = nonce
        else:
            self._firsts.insert(place, nonce)
            self._lasts.insert(place, nonce)
        self.count += 1

    def ranges(self) -> tuple[Range, ...]:
        """Everything that was seen, in order."""
        return tuple(zip(self._firsts, self._lasts, strict=True))


def ranges_of(nonces: Iterable[int]) -> tuple[Range, ...]:
    """Different nonces in any order, as ranges."""
    seen = Nonces()
    for nonce in nonces:
        seen.add(nonce)
    return seen.ranges()
