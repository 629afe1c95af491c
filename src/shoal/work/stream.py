"""A streamed answer as its buyer sees it: what has come, and what was acknowledged.

If an attempt is lost, the next one starts over; what it repeats is not shown
again, and an answer that goes another way than what was shown stops the stream.
"""

from __future__ import annotations

from shoal.wire.words import Progress


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
        self._cursor = 0
        self._consumed = 0
        self._consumed_max = 0

    def hear(self, word: Progress) -> str:
        """Take a piece of the running attempt; what of it is new. A piece after a gap is not taken."""
        if word.epoch != self._epoch:
            self._epoch, self._cursor, self.units = word.epoch, 0, 0
        if word.offset != self._cursor or self.diverged:
            return ""
        shown = self.text[word.offset : word.offset + len(word.text)]
        if not word.text.startswith(shown):
            self.diverged = True
            return ""
        self._cursor += len(word.text)
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
