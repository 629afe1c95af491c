"""News of capacity: which gateways have to hear of the latest change, and when.

Many changes in one moment are one piece of news. When there are more gateways
and more moments than words may be said, a gateway hears less often, and then
how things stand by that time; nobody is forgotten.
"""

from __future__ import annotations

from collections.abc import Collection

from shoal.ids import NodeId
from shoal.units import SECOND_MS, Instant, later

#: So much of a second's words may be said in one burst.
BURST_MS = 200


class News:
    """Who has heard what."""

    def __init__(self, words_per_s_max: int) -> None:
        self._words_per_s_max = words_per_s_max
        #: When all that was said will have been said at an even pace.
        self._paced_until = Instant(0)
        self._change = 0
        #: True if somebody may not have heard the latest.
        self.waits = False
        #: The latest change that each gateway has heard of.
        self._heard: dict[NodeId, int] = {}

    def meet(self, gateway: NodeId) -> None:
        """A gateway is told everything as it comes."""
        self._heard[gateway] = self._change

    def leave(self, gateway: NodeId) -> None:
        """A gateway is gone."""
        self._heard.pop(gateway, None)

    def change(self, but: NodeId | None = None) -> bool:
        """Something is new, to everybody `but` the one who brought it about; True if there is anybody to tell."""
        self._change += 1
        knows = False
        if but is not None and self._heard.get(but) == self._change - 1:
            self._heard[but] = self._change
            knows = True
        others = len(self._heard) > knows
        self.waits = self.waits or others
        return others

    def due(self, now: Instant) -> Collection[NodeId]:
        """Whom to tell now. They count as told."""
        if later(now, BURST_MS) <= self._paced_until:
            return ()
        self.waits = False
        stale = sorted(gateway for gateway, heard in self._heard.items() if heard != self._change)
        for gateway in stale:
            self._heard[gateway] = self._change
        begin = max(now, self._paced_until)
        self._paced_until = later(begin, len(stale) * SECOND_MS // self._words_per_s_max)
        return stale
