"""The gateway's books: its jobs and its money, as the facts tell them.

A fact depends on earlier facts alone, so that a replay arrives where the live
machine was. Nothing is decided here; every handler raises before it changes
anything, or not at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Broken, NotFound
from shoal.gateway.accounts import ACCOUNT_FACTS, AccountFact, Accounts
from shoal.gateway.accounts import State as AccountsState
from shoal.gateway.config import Rules
from shoal.gateway.events import Notice
from shoal.gateway.purse import Booked, Estranged, Forgiven, Purse, PurseState, Tendered
from shoal.gateway.settlement import SPILT, account, credits, order_key, seller, settlement, settlement_key
from shoal.ids import ClientId, JobId, NodeId
from shoal.machine import Deliver, Event, Machine, Quarantined, Retire
from shoal.money.ledger import Book, Ledger
from shoal.money.payer import Payer, PayerBook
from shoal.money.wei import Wei
from shoal.units import Instant, later
from shoal.wire import words
from shoal.work.idempotency import IdempotencyKeys, Use
from shoal.work.lease import Lease, Leases
from shoal.work.lifecycle import (
    ENDED,
    LEASED,
    QUEUED,
    Abandoned,
    Accepted,
    Acknowledged,
    Answered,
    Bound,
    Fallen,
    Hedged,
    Job,
    Placed,
    Returned,
    Withdrawn,
    begun,
    renewed,
)
from shoal.work.queue import FairQueue
from shoal.work.stream import Stream

JobFact = Placed | Hedged | Fallen | Acknowledged | Returned | Answered | Withdrawn | Abandoned | Quarantined


class State(Struct, frozen=True):
    """What a snapshot holds."""

    jobs: tuple[Job, ...] = ()
    ended: tuple[JobId, ...] = ()
    keys: tuple[tuple[ClientId, str, Use], ...] = ()
    book: Book = Book()
    purse: PurseState = PurseState()
    payer: PayerBook = PayerBook()
    #: None in a snapshot of before accounts were kept.
    accounts: AccountsState | None = None


class Books(Machine[State]):
    """All jobs with their leases and holds."""

    __slots__ = (
        "_ended",
        "_payer_book",
        "accounts",
        "hedges",
        "jobs",
        "keys",
        "leases",
        "ledger",
        "payer",
        "purse",
        "queue",
        "rules",
        "streams",
        "workers",
    )

    facts = (
        *(Accepted, Placed, Hedged, Fallen, Returned, Answered, Abandoned, Withdrawn, Quarantined),
        *(Tendered, Booked, Estranged, Forgiven),
        *ACCOUNT_FACTS,
        Acknowledged,
    )
    state = State

    def __init__(self, rules: Rules, payer: Payer | None = None) -> None:
        super().__init__(rules.tick_ms)
        self.rules = rules
        self.jobs: dict[JobId, Job] = {}
        self.ledger = Ledger(default_floor=Wei(-rules.client_credit_wei))
        #: What is paid ahead; and who makes the tickets, if there is a chain to pay on.
        self.purse = Purse(rules, self.ledger)
        self.payer = payer
        #: What it knew: kept while there is no chain, for when there is one again.
        self._payer_book = PayerBook()
        self.accounts = Accounts(rules)
        self.queue = FairQueue(
            jobs_max=rules.queue_jobs_max, jobs_per_client_max=rules.queue_jobs_per_client_max
        )
        self.leases = Leases()
        #: The leases of second attempts that run beside the first.
        self.hedges = Leases()
        #: What has come of running streams: volatile, and forgotten with its job.
        self.streams: dict[JobId, Stream] = {}
        #: Who runs the live attempts, where an orchestrator has said so: volatile too.
        self.workers: dict[JobId, NodeId] = {}
        self.keys = IdempotencyKeys(keys_max=rules.keys_max)
        self._ended: deque[JobId] = deque()

    def _accepted(self, fact: Accepted, now: Instant) -> None:
        if fact.job in self.jobs:
            raise Broken(f"job {fact.job} is accepted twice")
        self.ledger.pend(fact.job, account(fact.client), fact.hold)
        job = self.jobs[fact.job] = begun(fact, now)
        self.accounts.opened(fact.client, fact.api_key, fact.hold, now)
        if fact.key:
            until = later(now, self.rules.key_window_ms)
            self.keys.remember(fact.client, fact.key, Use(fact.key_request, fact.job, until))
        if fact.placed is None:
            self._push(job)
        else:
            self._line_up(self.queue.pass_by, job)
            self._order(job, fact.placed, self.leases, now)
        self._forget(now)

    def _placed(self, fact: Placed, now: Instant) -> None:
        job = self.jobs[fact.job] = self._moved(fact, now)
        self.queue.remove(job.id)
        self._order(job, fact, self.leases, now)

    def _hedged(self, fact: Hedged, now: Instant) -> None:
        job = self.jobs[fact.job] = self._moved(fact, now)
        self._order(job, fact, self.hedges, now)

    def _order(self, job: Job, fact: Bound, leases: Leases, now: Instant) -> None:
        """Lease the job to an orchestrator, and tell it so until it is heard."""
        node, epoch = fact.orchestrator, fact.epoch
        leases.grant(Lease(job.id, epoch, node, job.need, later(now, self.rules.lease_ms)))
        self.purse.commit(node, fact.price.cost(job.spec.units_max))
        order = words.Job(job.id, epoch, job.spec, fact.price, max(0, job.deadline - now), job.request)
        self.emit(Deliver(order_key(node, job.id, epoch), node, order))

    def _fallen(self, fact: Fallen, now: Instant) -> None:
        job = self.jobs[fact.job] = self._moved(fact, now)
        hedge = self.hedges[job.id]
        self.hedges.end(job.id)
        if hedge.epoch == job.epoch:  # it was the first attempt that fell: the second stands in its place
            self.leases.end(job.id)
            self.leases.grant(hedge)
            self.workers.pop(job.id, None)
        self._settle(job, fact.epoch)
        self.emit(Notice(job.id))

    def _acknowledged(self, fact: Acknowledged, now: Instant) -> None:
        self.jobs[fact.job] = self._moved(fact, now)

    def _returned(self, fact: Returned, now: Instant) -> None:
        job = self.jobs[fact.job] = self._moved(fact, now)
        if fact.wei:
            self.ledger.transfer(SPILT, {seller(job.orchestrator): fact.wei})
        self._close_leases(job)
        self._push(job)
        self.emit(Notice(job.id))

    def _answered(self, fact: Answered, now: Instant) -> None:
        job = self._moved(fact, now)
        self.ledger.post(job.id, credits(job.orchestrator, fact.wei, fact.fee))
        self.accounts.ended(job, now)
        self.jobs[job.id] = job
        self._close_leases(job)
        self._end(job)

    def _withdrawn(self, fact: Withdrawn, now: Instant) -> None:
        job = self._moved(fact, now)
        self.ledger.post(job.id, credits(job.orchestrator, fact.wei, fact.fee))
        self.accounts.ended(job, now)
        self._leave(job)

    def _abandoned(self, fact: Abandoned | Quarantined, now: Instant) -> None:
        job = self._moved(fact, now)
        self.ledger.post(job.id, credits(job.orchestrator, job.wei, job.fee))
        self.accounts.ended(job, now)
        self._leave(job)

    def _leave(self, job: Job) -> None:
        """End a job without an answer, wherever it stands."""
        self.jobs[job.id] = job
        self._close_leases(job)
        self._end(job)

    def _quarantined(self, fact: Quarantined, now: Instant) -> None:
        job = self.jobs.get(fact.job)
        if job is not None and job.phase not in ENDED:
            self._abandoned(fact, now)

    def _accounted(self, fact: AccountFact, now: Instant) -> None:
        self.accounts.learn(fact, now)

    def _push(self, job: Job) -> None:
        """Let a job wait: behind its client's others, or where it stood before its attempt failed."""
        self._line_up(self.queue.push, job)

    def _line_up(self, where: Callable[..., None], job: Job) -> None:
        wants = job.preference
        where(
            job.id,
            job.need,
            job.client,
            cost=max(1, job.spec.units_max),
            weight=wants.weight,
            priority=wants.priority,
            deadline=job.deadline,
        )

    def _moved(self, fact: JobFact, now: Instant) -> Job:
        job = self.jobs.get(fact.job)
        if job is None:
            raise NotFound(f"no job {fact.job} for {type(fact).__name__}")
        return job.move(fact, now)

    def _close_leases(self, job: Job) -> None:
        """Nobody works for this job any more: say so to those who did."""
        for leases in (self.leases, self.hedges):
            if (lease := leases.end(job.id)) is not None:
                self._settle(job, lease.epoch)
        self.workers.pop(job.id, None)

    def _settle(self, job: Job, epoch: int) -> None:
        """Tell the orchestrator of an attempt how it ended, until it is heard."""
        attempt = job.attempt(epoch)
        node = attempt.orchestrator
        self.purse.release(node, attempt.price.cost(job.spec.units_max))
        self.emit(
            Retire(order_key(node, job.id, epoch)),
            Deliver(settlement_key(node, job.id, epoch), node, settlement(job, epoch)),
        )

    def live(self, job: JobId, epoch: int, peer: NodeId) -> Leases | None:
        """Where the lease stands under which an orchestrator may answer for this attempt; None if it may not."""
        if self.leases.find(job, epoch, peer) is not None:
            return self.leases
        return self.hedges if self.hedges.find(job, epoch, peer) is not None else None

    def open_jobs(self) -> Iterable[JobId]:
        """The jobs that have not ended."""
        return map(JobId, self.ledger.holds)

    def leased_to(self, peer: NodeId) -> list[tuple[Leases, Lease]]:
        """An orchestrator's live leases, and where each stands."""
        return [(leases, lease) for leases in (self.leases, self.hedges) for lease in leases.of(peer)]

    def _end(self, job: Job) -> None:
        self.queue.leave(job.id)
        if not job.key:
            self._ended.append(job.id)
        self.emit(Notice(job.id, ended=True))

    def _forget(self, now: Instant) -> None:
        """Drop the oldest ended jobs over the limit, and those whose key's window is over."""
        for job_id in self.keys.forget(now):
            if self.jobs[job_id].phase in ENDED:
                self._drop(job_id)
            else:
                self.jobs[job_id] = replace(self.jobs[job_id], key="")
        while len(self._ended) > self.rules.ended_jobs_max:
            self._drop(self._ended.popleft())

    def _drop(self, job_id: JobId) -> None:
        del self.jobs[job_id]
        self.streams.pop(job_id, None)

    # The host

    def check(self) -> None:
        """Raise `Broken` unless jobs, queue, leases and holds tell one story."""
        self.ledger.check()
        self.accounts.check(self.ledger)
        waiting = {job.id for job in self.jobs.values() if job.phase is QUEUED}
        running = {job.id for job in self.jobs.values() if job.phase is LEASED}
        if waiting != set(self.queue):
            raise Broken("the queue and the waiting jobs differ")
        if running != {lease.task for lease in self.leases}:
            raise Broken("the leases and the running jobs differ")
        if {job.id: job.hedge for job in self.jobs.values() if job.hedge} != {
            hedge.task: hedge.epoch for hedge in self.hedges
        }:
            raise Broken("the leases and the second attempts differ")
        if waiting | running != set(self.ledger.holds):
            raise Broken("the holds and the open jobs differ")
        self._check_committed()

    def _check_committed(self) -> None:
        committed: dict[NodeId, int] = {}
        for lease in (*self.leases, *self.hedges):
            job = self.jobs[JobId(lease.task)]
            price = job.attempt(lease.epoch).price
            committed[lease.holder] = committed.get(lease.holder, 0) + price.cost(job.spec.units_max)
        if any(wei != committed.get(node, 0) for node, wei in self.purse.commitments()):
            raise Broken("the open attempts and what is committed to orchestrators differ")

    def dump(self) -> State:
        """Everything durable."""
        keys = tuple((client, key, use) for (client, key), use in self.keys.uses.items())
        payer = self._payer_book if self.payer is None else self.payer.dump()
        jobs, ended = tuple(self.jobs.values()), tuple(self._ended)
        return State(jobs, ended, keys, self.ledger.dump(), self.purse.dump(), payer, self.accounts.dump())

    def load(self, state: State) -> None:
        """Take a snapshot's state; queue and leases follow from the jobs."""
        self.jobs = {job.id: renewed(job) for job in state.jobs}
        self._ended = deque(state.ended)
        self.ledger.load(state.book)
        self.purse.load(state.purse)
        self._payer_book = state.payer
        if self.payer is not None:
            self.payer.load(state.payer)
        self.accounts.load(state.accounts, self.ledger, self.jobs)
        for client, key, use in state.keys:
            self.keys.remember(client, key, use)
        for job in self.jobs.values():
            if job.phase in ENDED:
                continue
            self._push(job)
            if job.phase is LEASED:
                self.queue.remove(job.id)
                self.leases.grant(Lease(job.id, job.epoch, job.orchestrator, job.need, job.deadline))
                self._commit(job, job.epoch)
            if job.hedge:
                node = job.attempt(job.hedge).orchestrator
                self.hedges.grant(Lease(job.id, job.hedge, node, job.need, job.deadline))
                self._commit(job, job.hedge)

    def _commit(self, job: Job, epoch: int) -> None:
        attempt = job.attempt(epoch)
        self.purse.commit(attempt.orchestrator, attempt.price.cost(job.spec.units_max))

    def busy(self) -> bool:
        """True while jobs are open."""
        return len(self.queue) > 0 or len(self.leases) > 0

    fact_handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        Accepted: _accepted,
        Placed: _placed,
        Hedged: _hedged,
        Fallen: _fallen,
        Acknowledged: _acknowledged,
        Returned: _returned,
        Answered: _answered,
        Withdrawn: _withdrawn,
        Abandoned: _abandoned,
        Quarantined: _quarantined,
        **dict.fromkeys(ACCOUNT_FACTS, _accounted),
    }
