"""The roster: who works here, what each offers, and how quick each has been.

All of it is volatile: workers say it again whenever they connect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from shoal.ids import NodeId
from shoal.money.wei import Price
from shoal.policy.views import Candidate
from shoal.wire.words import Offer
from shoal.work.lease import Leases
from shoal.work.queue import Need

#: The weight of the newest answer in a worker's mean run time.
RUN_MS_WEIGHT = 0.2
#: So many of those who are gone are remembered, the last to go: anybody may come with ever new keys.
GONE_MAX = 1_000

#: A need, and the size class of a job.
Class = tuple[Need, int]


class Member(Struct):
    """A worker as its orchestrator knows it."""

    node: NodeId
    boot: str
    connected: bool = True
    offers: dict[Need, Offer] = {}
    run_ms: dict[Class, float] = {}


class Shelf:
    """Who offers one thing, of those who are connected."""

    def __init__(self) -> None:
        self.offers: dict[NodeId, Offer] = {}
        self.slots = 0
        #: How many offer it with which (cold_ms, batch).
        self.terms: Counter[tuple[int, int]] = Counter()

    def put(self, node: NodeId, offer: Offer) -> None:
        """Take an offer in place of the one before."""
        self.drop(node)
        self.offers[node] = offer
        self.slots += offer.slots
        self.terms[offer.cold_ms, offer.batch] += 1

    def drop(self, node: NodeId) -> None:
        """Forget an offer, if there is one."""
        offer = self.offers.pop(node, None)
        if offer is not None:
            self.slots -= offer.slots
            self.terms -= Counter([(offer.cold_ms, offer.batch)])


class Roster:
    """The workers that have been here since we started, but for those who left long ago."""

    def __init__(self) -> None:
        self._members: dict[NodeId, Member] = {}
        self._gone: dict[NodeId, None] = {}
        self._shelves: dict[Need, Shelf] = {}

    def __contains__(self, worker: NodeId) -> bool:
        return worker in self._members

    def connect(self, worker: NodeId, boot: str) -> None:
        """A worker is here; it will say what it offers."""
        known = self._members.get(worker)
        if known is not None:
            self._withdraw(known)
        self._members[worker] = Member(worker, boot, run_ms=known.run_ms if known else {})
        self._gone.pop(worker, None)

    def disconnect(self, worker: NodeId) -> bool:
        """A worker is gone; False if it never was one of ours."""
        member = self._members.get(worker)
        if member is None:
            return False
        self._withdraw(member)
        member.connected = False
        self._gone[worker] = None
        if len(self._gone) > GONE_MAX:
            self._forget(next(iter(self._gone)))
        return True

    def _forget(self, worker: NodeId) -> None:
        del self._gone[worker], self._members[worker]

    def offer(self, worker: NodeId, offers: Sequence[Offer]) -> None:
        """Take what a worker offers in place of what it offered before."""
        member = self._members[worker]
        said = {(offer.pipeline, offer.model): offer for offer in offers}
        self._withdraw(member, but=said)
        for need, offer in said.items():
            if member.offers.get(need) != offer:
                self._shelves.setdefault(need, Shelf()).put(worker, offer)
        member.offers = said

    def _withdraw(self, member: Member, but: Mapping[Need, Offer] = {}) -> None:
        """Take what a member offers from the shelves."""
        for need in member.offers:
            if need not in but and (shelf := self._shelves.get(need)) is not None:
                shelf.drop(member.node)
                if not shelf.offers:
                    del self._shelves[need]

    def members(self) -> list[Member]:
        """Everybody who has been here, to be looked at."""
        return list(self._members.values())

    def boot(self, worker: NodeId) -> str:
        """Which start of the worker's process is connected."""
        return self._members[worker].boot

    def learn(self, worker: NodeId, need: Need, size: int, run_ms: int) -> None:
        """A worker took so long for a job of this size."""
        times = self._members[worker].run_ms
        mean = times.get((need, size), float(run_ms))
        times[need, size] = mean + RUN_MS_WEIGHT * (run_ms - mean)

    def slots(self) -> dict[Need, int]:
        """How many jobs of each (pipeline, model) the connected workers can run at once."""
        return {need: shelf.slots for need, shelf in self._shelves.items()}

    def sells(self, need: Need) -> bool:
        """True if a connected worker offers this."""
        return need in self._shelves

    def free(self, need: Need, size: int, leases: Leases, price: Price) -> list[Candidate]:
        """The workers with a slot for this that no lease holds."""
        candidates = []
        for node, offer in self._shelves[need].offers.items():
            free = offer.slots - leases.count(node, need)
            if free > 0:
                candidates.append(
                    Candidate(
                        node=node,
                        slots=offer.slots,
                        free=free,
                        price=price,
                        run_ms=self._members[node].run_ms.get((need, size), 0.0),
                        cold_ms=offer.cold_ms,
                        batch=offer.batch,
                    )
                )
        return candidates

    def terms(self, need: Need) -> tuple[int, int]:
        """The (cold_ms, batch) of whoever would get the next job of this."""
        return min(self._shelves[need].terms)
