"""Where a job goes, and when: admission by what can be kept, late binding to free slots, second attempts.

A job is bound only when a slot that fits is free, and turned away at once if
its deadline cannot be kept. Who is chosen is up to the policy; what it saw is
kept by its version, so that the choice can be made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shoal.errors import Busy
from shoal.gateway.books import Books
from shoal.gateway.config import Rules
from shoal.gateway.events import Submitted
from shoal.gateway.sellers import Sellers
from shoal.ids import JobId, NodeId
from shoal.policy.affinity import Homes
from shoal.policy.patience import Finish, waits
from shoal.policy.retries import RetryBudget
from shoal.policy.selection import POLICIES, Policy, choose, own_policies, policy
from shoal.policy.views import Candidate, Wish, size_class
from shoal.units import Instant
from shoal.work.lifecycle import Abandoned, Hedged, Job, Placed, expired
from shoal.work.queue import Need


class Placement(Books):
    """The books, and whom the jobs in them go to."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self.sellers = Sellers(rules, self.held, self._placed_at)
        self.leases.heed = self.hedges.heed = self.sellers.touch
        self.homes = Homes(homes_max=rules.homes_max, keep_ms=rules.home_keep_ms)
        self.retries = RetryBudget(share_ppm=rules.retry_share_ppm, burst=rules.retry_burst)
        self._policies = {**POLICIES, **own_policies(rules.policies)}
        self._policies[""] = policy(rules.policy, self._policies)

    def held(self, node: NodeId, need: Need) -> int:
        """How many of a node's slots our leases hold."""
        return self.leases.count(node, need) + self.hedges.count(node, need)

    def _placed_at(self, node: NodeId, need: Need) -> list[Instant]:
        """When each of our jobs there was placed."""
        return [
            self.jobs[JobId(lease.task)].attempt(lease.epoch).placed_at
            for leases in (self.leases, self.hedges)
            for lease in leases.held_for(node, need)
        ]

    # What the doors may ask

    def position(self, job: JobId) -> int:
        """How many waiting jobs go before this one; 0 if it does not wait."""
        return self.queue.position(job) if job in self.queue else 0

    def start_ms(self, job: JobId) -> int:
        """An estimate of when a waiting job starts: the jobs before it, at the pace of late."""
        if job not in self.queue:
            return 0
        return int(self.sellers.wait_ms(self.jobs[job].need, self.queue.position(job)))

    def next_start_ms(self, need: Need) -> int:
        """About when the next slot for this comes free."""
        return max(self.rules.tick_ms, int(self.sellers.wait_ms(need, 0)))

    # Admission

    def policy_of(self, name: str) -> Policy:
        """The policy of this name, the gateway's own for "". Raises `Refused` with those that there are."""
        return self._policies.get(name) or policy(name, self._policies)

    def require_time(self, event: Submitted) -> None:
        """Raise `Busy` if a job would have to wait, and its deadline could not be kept then."""
        need = (event.spec.pipeline, event.spec.model)
        if not self.queue.waits_for(need) and self.sellers.any_free(need):
            return
        size = size_class(event.spec.units_max)
        wants = event.preference
        ahead = self.queue.ahead(
            need,
            event.client,
            cost=max(1, event.spec.units_max),
            weight=wants.weight,
            priority=wants.priority,
        )
        promise_ms = self.sellers.promise_ms(need, size, ahead)
        if promise_ms > event.deadline_ms:
            late_ms = int(promise_ms - event.deadline_ms)
            raise Busy(
                f"{ahead} jobs wait before this one, and it would be done in about {promise_ms / 1000:.1f} s, "
                f"not within {event.deadline_ms / 1000:.1f} s; allow more time, or try again later",
                retry_after_ms=max(late_ms, self.rules.tick_ms),
            )

    # Late binding

    def place(self, now: Instant) -> None:
        """Bind waiting jobs to free slots, until there is no job or no slot that fits."""
        if not self.queue:
            return
        self.sellers.wake(now)
        for need in self.queue.needs():
            while self.queue.waits_for(need) and (step := self._next_step(need, now)) is not None:
                self.decide(step, now)
                if isinstance(step, Placed):
                    self._note_placed(step, now)

    def _next_step(self, need: Need, now: Instant) -> Placed | Abandoned | None:
        """The first waiting job that a free slot fits, bound to it; or one that is too late for any."""
        #: What no free slot fits, as one job of its kind has shown.
        barren: set[tuple[object, ...]] = set()
        #: When those would end, by size, who wait for a node that is quicker than the free ones.
        sooner: dict[int, Iterator[Finish]] = {}
        for job_id in self.queue.waiting(need) if self.sellers.any_free(need) else ():
            job = self.jobs[job_id]
            size = size_class(job.spec.units_max)
            kind = (size, job.limit, job.preference, job.attempts)
            if kind in barren or (job.attempts and not self.retries.retries):
                continue
            if self._too_late(job, size, now):
                return Abandoned(job.id, expired(job))
            chosen, wish = self._choose(job, size, now)
            if chosen is None:
                barren.add(kind)
                continue
            recipe = self.policy_of(job.preference.policy)
            if recipe.patience_ppm:
                if size not in sooner:
                    sooner[size] = self.sellers.sooner(chosen, need, size, now)
                if waits(chosen.run_ms, next(sooner[size], None), recipe.patience_ppm):
                    continue  # it ends sooner on a quicker node; this slot is for one of those after it
            version = self.sellers.views.version
            return Placed(job.id, job.next_epoch, chosen.node, chosen.price, recipe.name, version, wish.home)
        return None

    def _too_late(self, job: Job, size: int, now: Instant) -> bool:
        """True if it would hardly be done by its deadline while others wait, or not even if it were the quickest."""
        pace = self.sellers.pace(job.need, size)
        if pace is None:
            return False
        others = self.queue.position(job.id) + 1 < len(self.queue)
        return now + (pace.mean_ms if others else pace.least_ms) > job.deadline

    def _choose(self, job: Job, size: int, now: Instant) -> tuple[Candidate | None, Wish]:
        pool = self.sellers.pool(job.need, size)
        home = self.homes.home((job.spec.session,), now) if job.spec.session else NodeId("")
        wish = wish_of(job, job.next_epoch, home, now, pool)
        return choose(self.policy_of(job.preference.policy), pool, wish), wish

    def _note_placed(self, placed: Placed, now: Instant) -> None:
        job = self.jobs[placed.job]
        self.sellers.chosen(placed.orchestrator, job.need)
        if placed.epoch == 1:
            self.retries.deposit()
        else:
            self.retries.withdraw()
        if job.spec.session:
            self.homes.settle((job.spec.session,), placed.orchestrator, now)

    # Second attempts

    def hedge(self, job: Job, now: Instant) -> None:
        """Ask a second node, if the first takes longer than almost all do, and nobody waits for the slot."""
        size = size_class(job.spec.units_max)
        pace = self.sellers.pace(job.need, size)
        if pace is None or job.hedge or job.spec.stream or self.queue.waits_for(job.need):
            return
        due_ms = pace.mean_ms + self.rules.hedge_spreads * pace.spread_ms
        first = job.attempt(job.epoch)
        if now - first.placed_at < due_ms or now + pace.least_ms > job.deadline:
            return
        if not self.retries.retries:
            return
        chosen, wish = self._choose(job, size, now)
        if chosen is not None and chosen.node != first.orchestrator:
            name = self.policy_of(job.preference.policy).name
            version = self.sellers.views.version
            self.retries.withdraw()
            self.decide(
                Hedged(job.id, job.next_epoch, chosen.node, chosen.price, name, version, wish.home), now
            )
            self.sellers.chosen(chosen.node, job.need)


def wish_of(job: Job, epoch: int, home: NodeId, now: Instant, pool: Iterable[Candidate]) -> Wish:
    """What the policy is told of a job when it chooses for this attempt, after those before it.

    It avoids where an attempt has failed or still runs, unless nobody else sells what the job needs.
    """
    before = job.attempts[: epoch - 1]
    avoid = tuple({attempt.orchestrator: None for attempt in before})
    if avoid and not _others(pool, job, avoid):
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
