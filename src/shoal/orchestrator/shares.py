"""Shares: how many slots each gateway may count on while more is wanted than there is.

Gateways say how many of their jobs wait. Slots are then dealt out max-min
fairly: nobody gets more than it wants, and whoever gets less gets as much as
anybody. What is left over when they cannot be dealt evenly goes round. Each
gateway is told of its share alone, so that no two run for the same slot.
"""

from __future__ import annotations

from collections.abc import Mapping

from shoal.ids import NodeId
from shoal.units import Instant
from shoal.work.queue import Need


class Shares:
    """Which gateways have jobs that wait, and what that gives them."""

    def __init__(self) -> None:
        #: So many wait, and that holds until then; whoever got a slot longest ago comes first.
        self._waiting: dict[Need, dict[NodeId, tuple[int, Instant]]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def contended(self, need: Need) -> bool:
        """True if somebody waits for this."""
        return need in self._waiting

    def say(self, gateway: NodeId, need: Need, jobs: int, until: Instant) -> bool:
        """So many of a gateway's jobs wait; True if that is new."""
        waiting = self._waiting.setdefault(need, {})
        before, _ = waiting.get(gateway, (0, until))
        if jobs > 0:
            waiting[gateway] = (jobs, until)
        else:
            self._drop(need, gateway)
        return before != jobs

    def served(self, gateway: NodeId, need: Need) -> None:
        """A gateway got a slot: it comes last now, and one job less of it waits."""
        waiting = self._waiting.get(need)
        if waiting is None or gateway not in waiting:
            return
        jobs, until = waiting.pop(gateway)
        waiting[gateway] = (max(1, jobs - 1), until)  # only the gateway knows when none is left

    def leave(self, gateway: NodeId) -> None:
        """A gateway is gone."""
        for need in [need for need, waiting in self._waiting.items() if gateway in waiting]:
            self._drop(need, gateway)

    def forget(self, now: Instant) -> bool:
        """Drop what was not said again in time; True if there was any."""
        old = [
            (n, g)
            for n, waiting in self._waiting.items()
            for g, (_, until) in waiting.items()
            if until <= now
        ]
        for need, gateway in old:
            self._drop(need, gateway)
        return bool(old)

    def _drop(self, need: Need, gateway: NodeId) -> None:
        waiting = self._waiting[need]
        waiting.pop(gateway, None)
        if not waiting:
            del self._waiting[need]

    def most(self, gateway: NodeId, need: Need, slots: int, held: Mapping[NodeId, int]) -> int:
        """How many slots a gateway may hold, as they are held now."""
        waiting = self._waiting.get(need)
        if waiting is None:
            return slots
        wants = {node: held.get(node, 0) + jobs for node, (jobs, _) in waiting.items()}
        wants |= {node: count for node, count in held.items() if node not in wants}
        shares = deal(slots, wants)
        return shares.get(gateway, 0) + slots - sum(shares.values())


def deal(slots: int, wants: Mapping[NodeId, int]) -> dict[NodeId, int]:
    """Max-min fair shares in whole slots; of what cannot be dealt evenly those who come first get one each."""
    shares: dict[NodeId, int] = {}
    left = slots
    by_want = sorted(wants, key=lambda node: wants[node])
    for place, node in enumerate(by_want):
        even = left // (len(by_want) - place)
        if wants[node] > even:
            level, odd = even, left - even * (len(by_want) - place)
            rest = set(by_want[place:])
            for other in (other for other in wants if other in rest):
                more = odd > 0 and wants[other] > level
                shares[other] = level + more
                odd -= more
            return shares
        shares[node] = wants[node]
        left -= wants[node]
    return shares
