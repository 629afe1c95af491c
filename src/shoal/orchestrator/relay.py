"""One running job's news on its way to the gateway, never too far ahead of what was acknowledged.

What a gateway could take without paying is bounded by the window: pieces
beyond it wait here until earlier ones are acknowledged, for good.
"""

from __future__ import annotations

from collections import deque

from shoal.wire.count import Extent, overclaim, worth
from shoal.wire.words import JobSpec, Progress
from shoal.work.stream import stride


class Relay:
    """The pieces of one stream that wait, and how far the gateway has acknowledged."""

    def __init__(self, window_units_max: int, acknowledged: int = 0) -> None:
        """With what was `acknowledged` before a restart: of what was sent by then nothing is known."""
        self._window_units_max = window_units_max
        self._acknowledged = acknowledged
        #: How far the pieces that went on have come; 0 while none has.
        self.passed = 0
        self._waiting: deque[Progress] = deque()
        self._extent = Extent()

    def overclaim(self, spec: JobSpec, piece: Progress) -> str:
        """Note a piece; what is said of one that claims more than the text is worth with it, "" of others."""
        if not spec.pieces_max:
            return ""
        self._extent.take(piece.offset, piece.text)
        return overclaim(spec, piece.units, worth(spec, self._extent.bytes))

    def hear(self, piece: Progress) -> Progress | None:
        """Take a piece; give it back if it may go on at once."""
        if self._waiting or not self._may_go(piece):
            self._waiting.append(piece)
            return None
        self.passed = piece.units
        return piece

    def acknowledge(self, units: int) -> list[Progress]:
        """The gateway has so many units; the pieces that may now go on."""
        self._acknowledged = max(self._acknowledged, units)
        freed = []
        while self._waiting and self._may_go(self._waiting[0]):
            freed.append(self._waiting.popleft())
            self.passed = freed[-1].units
        return freed

    def _may_go(self, piece: Progress) -> bool:
        """Within the window; or beyond it where less is under way than is acknowledged at once.

        The first piece of all always may: that of a chat counts its whole question.
        """
        if piece.units - self._acknowledged <= self._window_units_max or not piece.offset:
            return True
        return 0 < self.passed < self._acknowledged + stride(self._window_units_max)
