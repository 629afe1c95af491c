"""A streamed answer as its buyer sees it: what has come, and what was acknowledged.

If an attempt is lost, the next one starts over; what it repeats is not shown
again, and an answer that goes another way than what was shown stops the stream.
"""

from __future__ import annotations

from shoal.wire.count import Extent, overclaim, worth
from shoal.wire.words import JobSpec, Progress


def stride(window_units: int) -> int:
    """What is acknowledged at once: half a window, so that the other half may be on its way meanwhile."""
    return max(1, window_units // 2)


class Stream:
    """One job's stream, over all its attempts. Text is counted in characters."""

    def __init__(self) -> None:
        self.text = ""
        self.units = 0
        self.diverged = False
        self._epoch = 0
        self._extent = Extent()
        self._consumed = 0
        self._consumed_max = 0

    def overclaim(self, spec: JobSpec, word: Progress) -> str:
        """What is said of a piece that claims more units than its attempt's text is worth with it, "" of others."""
        if not spec.pieces_max:
            return ""
        extent = self._extent if word.epoch == self._epoch else Extent()
        return overclaim(spec, word.units, worth(spec, extent.bytes_with(word.offset, word.text)))

    def hear(self, word: Progress) -> str:
        """Take a piece of the running attempt; what of it is new. A piece after a gap is not taken."""
        if word.epoch != self._epoch:
            self._epoch, self._extent, self.units = word.epoch, Extent(), 0
        if word.offset != self._extent.characters or self.diverged:
            return ""
        shown = self.text[word.offset : word.offset + len(word.text)]
        if not word.text.startswith(shown):
            self.diverged = True
            return ""
        self._extent.take(word.offset, word.text)
        self.units = max(self.units, word.units)
        self._consumed_max = max(self._consumed_max, self.units)
        self.text += word.text[len(shown) :]
        return word.text[len(shown) :]

    def consume(self, units: int) -> None:
        """The client has received so many units, of whichever attempt; never more than have come."""
        self._consumed = max(self._consumed, min(units, self._consumed_max))

    def acknowledged(self, epoch: int) -> int:
        """The units of this attempt that the client has: what another attempt sent is not this one's."""
        return min(self._consumed, self.units) if epoch == self._epoch else 0
