"""Where a job goes, and when: admission by what can be kept, late binding to free slots, second attempts.

A job is bound only when a slot that fits is free, and turned away at once if
its deadline cannot be kept. Who is chosen is up to the policy; what it saw is
kept by its version, so that the choice can be made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice

from shoal.errors import Busy, Expired
from shoal.gateway.config import Rules
from shoal.gateway.events import Notice, Submitted
from shoal.gateway.payments import Payments
from shoal.gateway.sellers import Sellers
from shoal.ids import JobId, NodeId
from shoal.machine import Send
from shoal.money.payer import Payer
from shoal.money.wei import Price
from shoal.policy.affinity import Homes
from shoal.policy.patience import Finish, waits
from shoal.policy.retries import RetryBudget
from shoal.policy.selection import POLICIES, Policy, choose, own_policies, policy
from shoal.policy.views import Candidate, Wish, size_class
from shoal.units import SECOND_MS, Instant, later
from shoal.wire import words
from shoal.work.lifecycle import (
    CANCELLED,
    DONE,
    Abandoned,
    Attempt,
    Hedged,
    Job,
    Placed,
)
from shoal.work.queue import Need

#: So many jobs at the front of a queue are looked at whenever a slot may be free, and so many of the others in turn.
FRONT = 64
PART = 512
#: Places of the queue that are looked at to tell whom we refuse when to come again.
LOOKED_MAX = 32
#: How often attempts that take too long are looked for; none that is younger than this does.
LOOK_MS = 1 * SECOND_MS
#: Those who wait on purpose are looked at so often, and whenever there is news for them.
STILL_MS = 20
#: So many answers of a node must be known before it can seem to hang.
ANSWERS_MIN = 3

HARDLY = "it would hardly be done in time now, and others wait; allow more time, or try again later"


class Placement(Payments):
    """The books, and whom the jobs in them go to."""

    __slots__ = ("_demands", "_look_at", "_parts", "_policies", "_still", "homes", "retries", "sellers")

    def __init__(self, rules: Rules, payer: Payer | None = None) -> None:
        super().__init__(rules, payer)
        self.sellers = Sellers(rules, self.held, self._placed_at)
        self.leases.heed = self.hedges.heed = self.sellers.touch
        self.homes = Homes(homes_max=rules.homes_max, keep_ms=rules.home_keep_ms)
        self.retries = RetryBudget(share_ppm=rules.retry_share_ppm, burst=rules.retry_burst)
        #: What waits here, as orchestrators have been told, and when they are told again.
        self._demands: dict[Need, Instant] = {}
        #: Until when nobody is looked at who waits for a quicker node, unless a slot or a job comes.
        self._still: dict[Need, Instant] = {}
        #: When attempts that take too long are looked for again.
        self._look_at = Instant(0)
        #: Which part of a long queue is looked at next.
        self._parts: dict[Need, int] = {}
        self._policies = {**POLICIES, **own_policies(rules.policies)}
        self._policies[""] = policy(rules.policy, self._policies)

    def held(self, node: NodeId, need: Need) -> int:
        """How many of a node's slots our leases hold."""
        return self.leases.count(node, need) + self.hedges.count(node, need)

    def _placed_at(self, node: NodeId, need: Need) -> Iterator[Instant]:
        """When our jobs there were placed, the first one first."""
        for lease in self.leases.held_for(node, need):
            yield self.jobs[JobId(lease.task)].attempt(lease.epoch).placed_at

    # What the doors may ask

    def position(self, job: JobId) -> int:
        """How many waiting jobs go before this one; 0 if it does not wait."""
        return self.queue.position(job) if job in self.queue else 0

    def start_ms(self, job: JobId) -> int:
        """An estimate of when a waiting job starts: the jobs before it, at the pace of late."""
        if job not in self.queue:
            return 0
        return int(self.sellers.wait_ms(self.jobs[job].need, self.queue.position(job)))

    # Admission

    def policy_of(self, name: str) -> Policy:
        """The policy of this name, the gateway's own for "". Raises `Refused` with those that there are."""
        return self._policies.get(name) or policy(name, {recipe.name: recipe for recipe in self.policies})

    @property
    def policies(self) -> list[Policy]:
        """All that a request may ask for."""
        return [recipe for name, recipe in self._policies.items() if name]

    def require_time(self, event: Submitted) -> None:
        """Raise `Busy` if a job would have to wait, and its deadline could not be kept then."""
        need = (event.spec.pipeline, event.spec.model)
        if not self.queue.waits_for(need) and self.sellers.any_free(need):
            return
        ahead, promise_ms = self._promise(event, served=0)
        if promise_ms > event.deadline_ms:
            raise Busy(
                f"{ahead} jobs wait before this one, and it would be done in about {promise_ms / 1000:.1f} s, "
                f"not within {event.deadline_ms / 1000:.1f} s; allow more time, or try again later",
                retry_after_ms=self.sellers.leave_ms(need, self._leaving(event)),
            )

    def _promise(self, event: Submitted, *, served: int) -> tuple[int, float]:
        """How many would wait before a job, and in which time it would be done, once the first few are served."""
        need, wants = (event.spec.pipeline, event.spec.model), event.preference
        ahead = self.queue.ahead(
            need,
            event.client,
            cost=max(1, event.spec.units_max),
            weight=wants.weight,
            priority=wants.priority,
            served=served,
        )
        return ahead, self.sellers.promise_ms(need, size_class(event.spec.units_max), ahead)

    def _leaving(self, event: Submitted) -> int:
        """After how many of those that wait a job could be promised in time, whoever of them is served by then.

        If none is enough, then a slot must be free when all of them are served. Of a long queue only some places
        are looked at: so the answer costs little, and is a little late.
        """
        waiting = self.queue.count((event.spec.pipeline, event.spec.model))
        enough = waiting + 1
        for served in range(waiting, 0, -max(1, -(-waiting // LOOKED_MAX))):
            if self._promise(event, served=served)[1] > event.deadline_ms:
                break
            enough = served
        return enough

    # Late binding

    def place(self, now: Instant) -> None:
        """Bind waiting jobs to free slots, until there is no job or no slot that fits."""
        if not self.queue and not self._demands:
            return
        self.look_for_credit(now)
        for need in self.sellers.stirred:
            self._still.pop(need, None)
        self.sellers.stirred.clear()
        for need in self.queue.needs():
            while self.queue.waits_for(need) and (step := self._next_step(need, now)) is not None:
                self.decide(step, now)
                if isinstance(step, Placed):
                    self.note_placed(step, now)
                    self.emit(Notice(step.job))
        self._say_demands(now)

    def first_slot(self, job: Job, now: Instant) -> Placed | None:
        """A job that is about to be accepted, bound to a free slot; None if it waits, as others may for the same."""
        if self.queue.waits_for(job.need) or self._demands:
            return None
        verdict = self._verdict(job, size_class(job.spec.units_max), now, {})
        return verdict if isinstance(verdict, Placed) else None

    def _say_demands(self, now: Instant) -> None:
        """Let those who sell it know what waits here, when that begins or ends, and now and then between."""
        for need in dict.fromkeys((*self.queue.needs(), *self._demands)):
            jobs = self.queue.count(need)
            due = self._demands.get(need, now)
            if jobs and due > now:
                continue
            for node in self.sellers.selling(need):
                self.emit(Send(node, words.Demand(*need, jobs)))
            if jobs:
                self._demands[need] = later(now, self.rules.demand_ms)
            else:
                del self._demands[need]

    def _next_step(self, need: Need, now: Instant) -> Placed | Abandoned | None:
        """The first waiting job that a free slot fits, bound to it; or one that is too late for any.

        Of a long queue the front is looked at each time, and a part of the rest: the parts take turns.
        """
        if not self.sellers.any_free(need) or self._still.get(need, now) > now:
            return None
        part = self._parts.pop(need, FRONT)
        urgent = self.queue.urgent(need, self.sellers.urgent_by(need, now))
        looked_at = chain(
            () if urgent is None else (urgent,),
            islice(self.queue.waiting(need), FRONT),
            islice(self.queue.waiting(need, part), PART),
        )
        for _, verdict in self._verdicts(need, looked_at, now):
            if isinstance(verdict, (Placed, Abandoned)):
                return verdict
            if verdict is not None:
                self._still[need] = later(now, STILL_MS)
        if part + PART < self.queue.count(need):
            self._parts[need] = part + PART
        return None

    def _verdicts(
        self, need: Need, waiting: Iterable[JobId], now: Instant
    ) -> Iterator[tuple[JobId, Placed | Abandoned | Finish | None]]:
        """What becomes of each job: a step; or where it ends sooner, so that it waits for that; or no slot fits it."""
        #: For whom no slot fits, as one job of its kind has shown: up to which limit.
        barren: dict[tuple[object, ...], Price] = {}
        #: When those would end, by size, who wait for a node that is quicker than the free ones.
        sooner: dict[int, Iterator[Finish]] = {}
        for job_id in self._in_turn(waiting):
            job = self.jobs[job_id]
            size = size_class(job.spec.units_max)
            kind = (size, job.preference.policy, job.preference.region)
            if kind in barren and job.limit.within(barren[kind]):
                yield job_id, None
                continue
            if self._too_late(job, size, now):
                yield job_id, Abandoned(job_id, words.Fault(Expired.code, HARDLY))
                continue
            verdict = self._verdict(job, size, now, sooner)
            if (
                verdict is None and not job.attempts
            ):  # whoever may not go to some of them says nothing of the others
                barren[kind] = job.limit
            yield job_id, verdict

    def _verdict(
        self, job: Job, size: int, now: Instant, sooner: dict[int, Iterator[Finish]]
    ) -> Placed | Finish | None:
        """A job bound to a free slot; or where it ends sooner than on any of those; or None if no free slot fits it."""
        recipe = self.policy_of(job.preference.policy)
        chosen, home = self._choose(job, recipe, size, now)
        if chosen is None:
            return None
        if recipe.patience_ppm and self.sellers.is_slow(chosen, job.need, size):
            if size not in sooner:
                sooner[size] = self.sellers.sooner(chosen, job.need, size, now)
            best = next(sooner[size], None)
            if waits(chosen.run_ms, best, recipe.patience_ppm):
                return best  # this slot is for one of those after it
        view = self.sellers.views.version
        return Placed(job.id, job.next_epoch, chosen.node, chosen.price, recipe.name, view, home)

    def _in_turn(self, waiting: Iterable[JobId]) -> Iterator[JobId]:
        """The same jobs; but second attempts that the budget does not pay for only have what nobody else wants."""
        later = []
        paid = self.retries.retries > 0
        for job_id in waiting:
            if paid or not self.jobs[job_id].attempts:
                yield job_id
            else:
                later.append(job_id)
        yield from later

    def unpaid(self, job: Job) -> bool:
        """True if a job has been tried, and the budget does not pay for another attempt now."""
        return bool(job.attempts) and not self.retries.retries

    def awaits(self, job: Job, now: Instant) -> Finish | None:
        """Where a waiting job would end sooner than on any free slot, if it waits for that."""
        if self.sellers.any_free(job.need):
            for job_id, verdict in self._verdicts(job.need, self.queue.waiting(job.need), now):
                if job_id == job.id:
                    return verdict if isinstance(verdict, Finish) else None
        return None

    def _too_late(self, job: Job, size: int, now: Instant) -> bool:
        """True if it would hardly be done by its deadline, and others wait. One that is alone may try its luck.

        Else nobody would find out that what took long once is quick by now.
        """
        pace = self.sellers.pace(job.need, size)
        others = self.queue.position(job.id) + 1 < self.queue.count(job.need)
        return pace is not None and others and now + pace.mean_ms > job.deadline

    def _choose(self, job: Job, recipe: Policy, size: int, now: Instant) -> tuple[Candidate | None, NodeId]:
        """Who gets a job now, if anybody; and where its session is at home."""
        home = self.homes.home((job.spec.session,), now) if job.spec.session else NodeId("")
        while True:
            pool = self.sellers.pool(job.need, size)
            chosen = choose(recipe, pool, wish_of(job, job.next_epoch, home, now, pool))
            if chosen is None:
                return None, home
            cost = chosen.price.cost(job.spec.units_max)
            if self.affords(chosen.node, cost, job.spec.pipeline, now):
                return chosen, home
            self.strapped(chosen.node)

    def strapped(self, node: NodeId) -> None:
        """Our credit with an orchestrator is not enough: it is not chosen."""
        self.sellers.short(node, True)

    def relieved(self, node: NodeId) -> None:
        """There is credit again with an orchestrator: it can be chosen."""
        self.sellers.short(node, False)

    def note_placed(self, placed: Placed, now: Instant) -> None:
        """A job has been bound: remember to whom, and pay for it."""
        job = self.jobs[placed.job]
        self.sellers.chosen(placed.orchestrator, job.need)
        if placed.orchestrator in self.purse.prepaid:
            self.pay(placed.orchestrator, now)
        if placed.epoch == 1:
            self.retries.deposit()
        else:
            self.retries.withdraw()
        if job.spec.session:
            self.homes.settle((job.spec.session,), placed.orchestrator, now)

    # Second attempts

    def hedge(self, job: Job, now: Instant) -> None:
        """Ask a second node where the first hangs; or is slower than almost all, if its client has asked for that."""
        if job.hedge or job.spec.stream or not self.retries.retries:
            return
        first = job.attempt(job.epoch)
        if not self.overdue(job, first, now):
            pace = self.sellers.pace(job.need, size_class(job.spec.units_max))
            if pace is None or not job.preference.hedge or self.queue.waits_for(job.need):
                return
            due_ms = pace.mean_ms + self.rules.hedge_spreads * pace.spread_ms
            if now - first.placed_at < due_ms or now + pace.least_ms > job.deadline:
                return
        recipe = self.policy_of(job.preference.policy)
        chosen, home = self._choose(job, recipe, size_class(job.spec.units_max), now)
        if chosen is not None and chosen.node != first.orchestrator:
            version = self.sellers.views.version
            self.retries.withdraw()
            hedged = Hedged(job.id, job.next_epoch, chosen.node, chosen.price, recipe.name, version, home)
            self.decide(hedged, now)
            self.sellers.chosen(chosen.node, job.need)
            self.emit(Notice(job.id))

    def overdue(self, job: Job, attempt: Attempt, now: Instant) -> bool:
        """True if an attempt takes so long that its node seems to hang."""
        pace = self.sellers.pace_at(attempt.orchestrator, job.need, size_class(job.spec.units_max))
        if pace is None or pace.answers < ANSWERS_MIN:
            return False
        due_ms = pace.mean_ms * self.rules.overdue_times + pace.spread_ms * self.rules.overdue_spreads
        return now - attempt.placed_at > max(due_ms, LOOK_MS)

    def look_for_overdue(self, now: Instant) -> None:
        """Once a second, see which attempts take too long: the leases come in the order in which they began."""
        if now < self._look_at:
            return
        self._look_at = later(now, LOOK_MS)
        for lease in list(self.leases):
            job = self.jobs[JobId(lease.task)]
            if now - job.attempt(lease.epoch).placed_at < LOOK_MS:
                break
            self.guard(job.id, partial(self.hedge, job, now), now)

    def _push(self, job: Job) -> None:
        super()._push(job)
        self._still.pop(job.need, None)

    def _end(self, job: Job) -> None:
        super()._end(job)
        self._still.pop(job.need, None)
        if job.phase is not CANCELLED and job.queue_ms > self.rules.tick_ms:
            self.sellers.promised(job.need, kept=job.phase is DONE)


def wish_of(job: Job, epoch: int, home: NodeId, now: Instant, pool: Iterable[Candidate]) -> Wish:
    """What the policy is told of a job when it chooses for this attempt, after those before it.

    It avoids where an attempt has failed or still runs, unless nobody else sells what the job needs.
    """
    avoid: tuple[NodeId, ...] = ()
    if epoch > 1:
        avoid = tuple({attempt.orchestrator: None for attempt in job.attempts[: epoch - 1]})
        if not _others(pool, job, avoid):
            avoid = ()
    return Wish(
        job=job.id,
        attempt=epoch,
        now=now,
        units=job.spec.units_max,
        limit=job.limit,
        left_ms=job.deadline - now,
        home=home,
        avoid=avoid,
        region=job.preference.region,
    )


def _others(pool: Iterable[Candidate], job: Job, avoid: tuple[NodeId, ...]) -> bool:
    """True if anybody else sells what the job needs at its price, even if every slot is taken now."""
    return any(candidate.node not in avoid and candidate.price.within(job.limit) for candidate in pool)
