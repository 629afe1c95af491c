"""The roster: who works here, what each offers, and how quick and how reliable each has been.

All of it is volatile: workers say what they offer whenever they connect.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from shoal.ids import JobId, NodeId
from shoal.money.wei import Price
from shoal.orchestrator.shelf import Shelf
from shoal.policy.breaker import OPEN, Breaker, Limits
from shoal.policy.record import Record
from shoal.policy.selection import Policy, choose
from shoal.policy.views import Candidate, Wish
from shoal.units import Instant
from shoal.wire.words import Offer
from shoal.work.lease import Leases
from shoal.work.queue import Need

#: A mean that has changed by less than this part of it is no news: nothing is put in order anew for it.
RUN_MS_NEWS = 0.05
#: Whom a shelf is asked for that nobody has ordered from yet.
ANY_JOB = JobId("")
#: So many of those who are gone are remembered, the last to go: anybody may come with ever new keys.
GONE_MAX = 1_000


class Standing(Record, kw_only=True):
    """How a worker has done with one thing that it offers, and what is shown of its run times to policies."""

    run_ms: dict[int, float] = field(default_factory=dict)

    def answered(self, size: int, run_ms: int, now: Instant) -> None:
        """It answered a job of this size, and took so long."""
        self.did(size, run_ms, now)
        mean_ms = self.paces[size].mean_ms
        if abs(mean_ms - self.run_ms.get(size, 0.0)) > RUN_MS_NEWS * mean_ms:
            self.run_ms[size] = mean_ms


class Member(Struct):
    """A worker as its orchestrator knows it."""

    node: NodeId
    boot: str
    connected: bool = True
    offers: dict[Need, Offer] = {}
    standings: dict[Need, Standing] = {}


class Roster:
    """The workers that have been here since we started, but for those who left long ago."""

    def __init__(
        self, policy: Policy, leases: Leases, price: Callable[[Need], Price], limits: Limits
    ) -> None:
        self._policy = policy
        self._leases = leases
        self._price = price
        self._limits = limits
        self._members: dict[NodeId, Member] = {}
        self._gone: dict[NodeId, None] = {}
        self._shelves: dict[Need, Shelf] = {}
        #: Whoever failed lately, until it has shown that it works.
        self._on_trial: dict[tuple[NodeId, Need], None] = {}
        self._turn = 0

    def __contains__(self, worker: NodeId) -> bool:
        return worker in self._members

    # Who is here

    def connect(self, worker: NodeId, boot: str) -> None:
        """A worker is here; it will say what it offers."""
        known = self._members.get(worker)
        if known is not None:
            self._withdraw(known)
        self._members[worker] = Member(worker, boot, standings=known.standings if known else {})
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
        for need in self._members[worker].standings:
            self._on_trial.pop((worker, need), None)
        del self._gone[worker], self._members[worker]

    def offer(self, worker: NodeId, offers: Sequence[Offer], now: Instant) -> None:
        """Take what a worker offers in place of what it offered before."""
        member = self._members[worker]
        said = {(offer.pipeline, offer.model): offer for offer in offers}
        self._withdraw(member, but=said)
        for need, offer in said.items():
            self._standing(worker, need).heard(now)
            if member.offers.get(need) != offer:
                self._shelf(need).put(worker, offer)
        member.offers = said

    def _shelf(self, need: Need) -> Shelf:
        shelf = self._shelves.get(need)
        if shelf is None:
            see = partial(self._see, need, self._price(need))
            shelf = self._shelves[need] = Shelf(see, partial(self._room, need))
        return shelf

    def _withdraw(self, member: Member, but: Container[Need] = ()) -> None:
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

    # What is here

    def sells(self, need: Need) -> bool:
        """True if a connected worker offers this."""
        return need in self._shelves

    def slots(self) -> Iterator[tuple[Need, int]]:
        """How many jobs of each (pipeline, model) may run at once now."""
        for need, shelf in self._shelves.items():
            yield need, shelf.slots

    def terms(self, need: Need) -> tuple[int, int]:
        """The (cold_ms, batch) of whoever would get the next job of this."""
        shelf = self._shelves[need]
        if len(shelf.terms) == 1:
            return next(iter(shelf.terms))
        price = self._price(need)
        chosen = choose(self._policy, shelf.pool(shelf.any_size()), Wish(job=ANY_JOB, limit=price))
        return min(shelf.terms) if chosen is None else (chosen.cold_ms, chosen.batch)

    def choose(self, need: Need, size: int, wish: Wish) -> NodeId | None:
        """The worker that gets this job; None if every slot is taken."""
        pool = self._shelves[need].pool(size)
        chosen = choose(self._policy, pool, wish)
        if chosen is None and wish.avoid:
            chosen = choose(self._policy, pool, replace(wish, avoid=()))
        return chosen.node if chosen is not None else None

    def _see(self, need: Need, price: Price, node: NodeId, offer: Offer, size: int) -> Candidate:
        standing = self._members[node].standings[need]
        return Candidate(
            node=node,
            slots=offer.slots,
            free=offer.slots - self._leases.count(node, need),
            price=price,
            run_ms=standing.run_ms.get(size, 0.0),
            success=standing.outcomes.least,
            cold_ms=offer.cold_ms,
            batch=offer.batch,
            on_trial=standing.breaker.on_trial,
            barred=standing.breaker.barred,
            turn=standing.turn,
            heard_at=standing.heard_at,
            uses=standing.uses,
        )

    def _room(self, need: Need, worker: NodeId, offer: Offer) -> int:
        """A worker that is left alone has room for what it has already; one on trial for one job more."""
        breaker = self._members[worker].standings[need].breaker
        if not breaker.on_trial:
            return offer.slots
        return min(offer.slots, self._leases.count(worker, need) + (not breaker.barred))

    # How they do

    # Each says whether there is more or less room now than before.

    def tried(self, worker: NodeId, need: Need) -> bool:
        """A worker was given a job."""
        standing = self._members[worker].standings[need]
        self._turn += 1
        standing.chosen(self._turn)
        return self._judge(worker, need, standing, standing.breaker.tried())

    def answered(self, worker: NodeId, need: Need, size: int, run_ms: int, now: Instant) -> bool:
        """A worker took so long for a job of this size."""
        standing = self._standing(worker, need)
        standing.answered(size, run_ms, now)
        return self._judge(worker, need, standing, standing.breaker.succeeded())

    def failed(self, worker: NodeId, need: Need, now: Instant) -> bool:
        """A worker's attempt came to nothing, and that was its fault."""
        if worker not in self._members:
            return False
        standing = self._standing(worker, need)
        standing.fell(now)
        return self._judge(worker, need, standing, standing.breaker.failed(now, self._limits))

    def ended(self, worker: NodeId, need: Need) -> bool:
        """A worker's attempt is over, and its slot free; of the worker that says nothing."""
        if (worker, need) in self._on_trial:
            standing = self._members[worker].standings[need]
            return self._judge(worker, need, standing, standing.breaker.spared())
        if (shelf := self._shelves.get(need)) is not None:
            shelf.touch(worker)
        return False

    def rest(self, now: Instant) -> bool:
        """Let those be tried that were left alone for long enough."""
        if not self._on_trial:
            return False
        news = False
        for worker, need in list(self._on_trial):
            standing = self._members[worker].standings[need]
            news |= self._judge(worker, need, standing, standing.breaker.at(now))
        return news

    @property
    def resting(self) -> bool:
        """True while somebody is left alone until some time."""
        return any(self._members[node].standings[need].breaker.phase is OPEN for node, need in self._on_trial)

    def _standing(self, worker: NodeId, need: Need) -> Standing:
        standings = self._members[worker].standings
        if need not in standings:
            standings[need] = Standing()
        return standings[need]

    def _judge(self, worker: NodeId, need: Need, standing: Standing, breaker: Breaker) -> bool:
        shelf = self._shelves.get(need)
        if shelf is not None:
            shelf.touch(worker)
        if breaker is standing.breaker and (worker, need) not in self._on_trial:
            return False
        standing.breaker = breaker
        if breaker.on_trial:
            self._on_trial[worker, need] = None
        else:
            self._on_trial.pop((worker, need), None)
        return shelf is not None and shelf.fit(worker)
