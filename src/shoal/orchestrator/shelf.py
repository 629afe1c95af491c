"""A shelf: everybody connected who offers one (pipeline, model), as a policy sees them for each size of job.

A change is only noted; what has changed is seen anew when somebody is chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from shoal.ids import NodeId
from shoal.policy.pool import Pool
from shoal.policy.views import Candidate
from shoal.wire.words import Offer

#: How a worker stands now, for a job of this size.
See = Callable[[NodeId, Offer, int], Candidate]
#: How many jobs it may have at once now: fewer than it offers while it is left alone or on trial.
Room = Callable[[NodeId, Offer], int]


class Shelf:
    """The offers of one thing."""

    def __init__(self, see: See, room: Room) -> None:
        self._see = see
        self._room = room
        self.offers: dict[NodeId, Offer] = {}
        #: The room that there is, and with whom.
        self.slots = 0
        self._rooms: dict[NodeId, int] = {}
        #: How many offer it with which (cold_ms, batch).
        self.terms: Counter[tuple[int, int]] = Counter()
        self._pools: dict[int, Pool] = {}
        self._changed: dict[int, set[NodeId]] = {}

    def put(self, node: NodeId, offer: Offer) -> None:
        """Take an offer in place of the one before."""
        self._take_off(node)
        self.offers[node] = offer
        self.terms[offer.cold_ms, offer.batch] += 1
        self.fit(node)
        self.touch(node)

    def drop(self, node: NodeId) -> None:
        """Forget an offer, if there is one."""
        self._take_off(node)
        self.touch(node)

    def touch(self, node: NodeId) -> None:
        """Something about a worker has changed."""
        for changed in self._changed.values():
            changed.add(node)

    def fit(self, node: NodeId) -> bool:
        """Look again how much room a worker has; True if that is more than before, or less."""
        offer = self.offers.get(node)
        if offer is None:
            return False
        room = self._room(node, offer)
        more = room - self._rooms.get(node, 0)
        self._rooms[node] = room
        self.slots += more
        return more != 0

    def pool(self, size: int) -> Pool:
        """Everybody, as they stand now for a job of this size."""
        pool = self._pools.get(size)
        if pool is None:
            pool = self._pools[size] = Pool(
                self._see(node, offer, size) for node, offer in self.offers.items()
            )
            self._changed[size] = set()
            return pool
        changed = self._changed[size]
        for node in changed:
            offer = self.offers.get(node)
            if offer is None:
                pool.drop(node)
            else:
                pool.put(self._see(node, offer, size))
        changed.clear()
        return pool

    def any_size(self) -> int:
        """A size that jobs have had; 0 if none came yet."""
        return next(iter(self._pools), 0)

    def _take_off(self, node: NodeId) -> None:
        offer = self.offers.pop(node, None)
        if offer is None:
            return
        self.slots -= self._rooms.pop(node, 0)
        terms = (offer.cold_ms, offer.batch)
        self.terms[terms] -= 1
        if not self.terms[terms]:
            del self.terms[terms]
