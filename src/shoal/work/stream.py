"""A streamed answer as its buyer sees it: what has come, and what was acknowledged.

If an attempt is lost, the next one starts over; what it repeats is not shown
again, and an answer that goes another way than what was shown stops the stream.
"""

from __future__ import annotations

from shoal.wire.words import Progress


class Stream:
    """One job's stream, over all its attempts. Text is counted in characters."""

    def __init__(self) -> None:
        self.text = ""
        self.units = 0
        self.acknowledged = 0
        self.diverged = False
        self._epoch = 0
        self._cursor = 0

    def hear(self, word: Progress) -> str:
        """Take a piece of the running attempt; what of it is new. A piece after a gap is not taken."""
        if word.epoch != self._epoch:
            self._epoch, self._cursor, self.units, self.acknowledged = word.epoch, 0, 0, 0
        if word.offset != self._cursor or self.diverged:
            return ""
        shown = self.text[word.offset : word.offset + len(word.text)]
        if not word.text.startswith(shown):
            self.diverged = True
            return ""
        self._cursor += len(word.text)
        self.units = max(self.units, word.units)
        if self._cursor <= len(self.text):
            self.acknowledged = self.units
        self.text += word.text[len(shown) :]
        return word.text[len(shown) :]

    def acknowledge(self, units: int) -> int:
        """The client has received so many units; never more than have come."""
        self.acknowledged = max(self.acknowledged, min(units, self.units))
        return self.acknowledged
