"""The roster: who works here, what each offers, and how quick each has been.

All of it is volatile: workers say it again whenever they connect.
"""

from __future__ import annotations

from collections.abc import Sequence

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


class Member(Struct):
    """A worker as its orchestrator knows it."""

    node: NodeId
    boot: str
    connected: bool = True
    offers: dict[Need, int] = {}
    run_ms: dict[Need, float] = {}


class Roster:
    """The workers that have been here since we started, but for those who left long ago."""

    def __init__(self) -> None:
        self._members: dict[NodeId, Member] = {}
        self._gone: dict[NodeId, None] = {}
        self._slots: dict[Need, int] | None = None

    def __contains__(self, worker: NodeId) -> bool:
        return worker in self._members

    def connect(self, worker: NodeId, boot: str) -> None:
        """A worker is here; it will say what it offers."""
        known = self._members.get(worker)
        self._members[worker] = Member(worker, boot, run_ms=known.run_ms if known else {})
        self._gone.pop(worker, None)
        self._slots = None

    def disconnect(self, worker: NodeId) -> bool:
        """A worker is gone; False if it never was one of ours."""
        if worker not in self._members:
            return False
        self._members[worker].connected = False
        self._gone[worker] = None
        if len(self._gone) > GONE_MAX:
            self._forget(next(iter(self._gone)))
        self._slots = None
        return True

    def _forget(self, worker: NodeId) -> None:
        del self._gone[worker], self._members[worker]

    def offer(self, worker: NodeId, offers: Sequence[Offer]) -> None:
        """Take what a worker offers in place of what it offered before."""
        self._members[worker].offers = {(o.pipeline, o.model): o.slots for o in offers}
        self._slots = None

    def members(self) -> list[Member]:
        """Everybody who has been here, to be looked at."""
        return list(self._members.values())

    def boot(self, worker: NodeId) -> str:
        """Which start of the worker's process is connected."""
        return self._members[worker].boot

    def learn(self, worker: NodeId, need: Need, run_ms: int) -> None:
        """A worker took so long for a job."""
        times = self._members[worker].run_ms
        mean = times.get(need, float(run_ms))
        times[need] = mean + RUN_MS_WEIGHT * (run_ms - mean)

    def slots(self) -> dict[Need, int]:
        """How many jobs of each (pipeline, model) the connected workers can run at once."""
        if self._slots is None:
            self._slots = {}
            for member in self._members.values():
                if member.connected:
                    for need, slots in member.offers.items():
                        self._slots[need] = self._slots.get(need, 0) + slots
        return self._slots

    def free(self, need: Need, leases: Leases, price: Price) -> list[Candidate]:
        """The workers with a slot for this that no lease holds."""
        candidates = []
        for node, member in self._members.items():
            slots = member.offers.get(need, 0) if member.connected else 0
            free = slots - leases.count(node, need)
            if free > 0:
                run_ms = member.run_ms.get(need, 0.0)
                candidates.append(Candidate(node=node, slots=slots, free=free, price=price, run_ms=run_ms))
        return candidates
