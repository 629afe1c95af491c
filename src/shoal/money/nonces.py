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

    def meets(self, first: int, last: int) -> bool:
        """Whether any of these was seen."""
        place = bisect_right(self._firsts, last) - 1
        return place >= 0 and first <= self._lasts[place]

    def add(self, first: int, last: int) -> None:
        """See a range of which nothing was seen before."""
        place = bisect_right(self._firsts, first)
        self.count += last - first + 1
        follows = place > 0 and self._lasts[place - 1] == first - 1
        leads = place < len(self._firsts) and self._firsts[place] == last + 1
        if follows and leads:
            self._lasts[place - 1] = self._lasts.pop(place)
            del self._firsts[place]
        elif follows:
            self._lasts[place - 1] = last
        elif leads:
            self._firsts[place] = first
        else:
            self._firsts.insert(place, first)
            self._lasts.insert(place, last)

    def ranges(self) -> tuple[Range, ...]:
        """Everything that was seen, in order."""
        return tuple(zip(self._firsts, self._lasts, strict=True))


def ranges_of(nonces: Iterable[int]) -> tuple[Range, ...]:
    """Different nonces in any order, as ranges."""
    ranges: list[Range] = []
    for nonce in sorted(nonces):
        if ranges and ranges[-1][1] == nonce - 1:
            ranges[-1] = (ranges[-1][0], nonce)
        else:
            ranges.append((nonce, nonce))
    return tuple(ranges)
