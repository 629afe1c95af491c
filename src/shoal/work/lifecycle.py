"""The life of a job, as its buyer sees it, from accepted to its one end.

Facts are what can happen to a job; `MOVES` says which may happen when. A job
is a value: a move makes a new one and raises before anything has changed.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Expired, IllegalMove
from shoal.errors import Quarantined as QuarantinedError
from shoal.ids import ClientId, Digest, JobId, KeyId, NodeId
from shoal.machine import Fact, Quarantined
from shoal.money.wei import Price, Wei
from shoal.units import Instant, later
from shoal.wire.words import Fault, JobSpec, Receipt
from shoal.work.queue import Need


class Phase(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    LEASED = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: By their own names, because an enum is slow to ask for its members.
QUEUED, LEASED, DONE, FAILED, CANCELLED = Phase


#: Phases that nothing leaves.
ENDED = frozenset({DONE, FAILED, CANCELLED})


class Preference(Struct, frozen=True, array_like=True, gc=False):
    """How a client wants its job served, within what its gateway grants it."""

    #: The selection policy, by its name; "" for the gateway's own choice.
    policy: str = ""
    #: A class of `work.queue.PRIORITIES`.
    priority: str = "normal"
    #: The tenant's share of a busy network, as its gateway grants it.
    weight: int = 1
    #: The only region that the job may run in, "" for anywhere.
    region: str = ""
    #: Ask a second node when the first one takes long, and take the answer that comes first.
    hedge: bool = False


class Bound(Fact, frozen=True):
    """Attempt `epoch` is bound to an orchestrator with a free slot, at its price.

    It was chosen by `policy` over the version `view` of what the gateway knew, for a session at `home` there.
    """

    job: JobId
    epoch: int
    orchestrator: NodeId
    price: Price
    policy: str = ""
    view: int = 0
    home: NodeId = NodeId("")


class Placed(Bound, frozen=True):
    """The job waits no longer: this is the attempt that it stands by."""


class Accepted(Fact, frozen=True):
    """A client's job was taken on: it will reach an end, and its hold is pended."""

    job: JobId
    client: ClientId
    spec: JobSpec
    request: Digest
    limit: Price
    hold: Wei
    deadline_ms: int
    key: str = ""
    #: The digest that a later use of the key must have.
    key_request: Digest = Digest("")
    preference: Preference = Preference()
    #: The name of the API key by which it came, "" if none was needed.
    api_key: KeyId = KeyId("")
    #: Where it went at once, if a slot was free for it: then it has not waited, and no `Placed` of its own follows.
    placed: Placed | None = None


class Hedged(Bound, frozen=True):
    """The attempt takes long: a second one runs beside it, and the first answer of the two counts."""


class Fallen(Fact, frozen=True):
    """One of two attempts ended without an answer; the other one goes on."""

    job: JobId
    epoch: int
    fault: Fault
    counts: bool = True


class Acknowledged(Fact, frozen=True):
    """So many units of the running stream have reached the client, and are owed whatever comes."""

    job: JobId
    epoch: int
    units: int


class Returned(Fact, frozen=True):
    """The only attempt ended without an answer, and the job waits again. `counts` against the attempts it has.

    Its orchestrator gets `wei` for the acknowledged `units`, unless it said itself that it failed. The client is not
    charged for them: it is given them once more.
    """

    job: JobId
    epoch: int
    fault: Fault
    counts: bool = True
    units: int = 0
    wei: Wei = Wei(0)


class Answered(Fact, frozen=True):
    """The answer was accepted and is paid for: `wei` to the orchestrator, `fee` to the gateway."""

    job: JobId
    epoch: int
    units: int
    wei: Wei
    fee: Wei
    answer: Digest
    receipt: Receipt
    run_ms: int


class Abandoned(Fact, frozen=True):
    """The job has failed for good; if its deadline passed over a running stream, its acknowledged units are paid."""

    job: JobId
    fault: Fault
    units: int = 0
    wei: Wei = Wei(0)
    fee: Wei = Wei(0)


class Withdrawn(Fact, frozen=True):
    """The client cancelled; the acknowledged units of a running stream are paid."""

    job: JobId
    epoch: int
    units: int = 0
    wei: Wei = Wei(0)
    fee: Wei = Wei(0)


#: What may happen when. A pair that is not here is a bug, and raises.
MOVES: dict[tuple[Phase, type[Fact]], Phase] = {
    (QUEUED, Placed): LEASED,
    (QUEUED, Abandoned): FAILED,
    (QUEUED, Withdrawn): CANCELLED,
    (QUEUED, Quarantined): FAILED,
    (LEASED, Hedged): LEASED,
    (LEASED, Fallen): LEASED,
    (LEASED, Acknowledged): LEASED,
    (LEASED, Returned): QUEUED,
    (LEASED, Answered): DONE,
    (LEASED, Abandoned): FAILED,
    (LEASED, Withdrawn): CANCELLED,
    (LEASED, Quarantined): FAILED,
}


class Attempt(Struct, frozen=True, array_like=True, gc=False):
    """One try at one orchestrator, and why it ended if it gave no answer."""

    epoch: int
    orchestrator: NodeId
    placed_at: Instant
    fault: Fault | None = None
    counts: bool = True
    #: How it was chosen: the policy, the version of the view, and where the session was at home.
    policy: str = ""
    view: int = 0
    home: NodeId = NodeId("")
    price: Price = Price(0)
    #: What was paid for, though it gave no answer.
    units: int = 0

    @property
    def wei(self) -> Wei:
        """What its orchestrator gets for those."""
        return self.price.cost(self.units)


class Job(Struct, frozen=True, array_like=True, gc=False):
    """One job with all that is known of it. Money and times are 0 until they are known."""

    id: JobId
    client: ClientId
    spec: JobSpec
    request: Digest
    limit: Price
    hold: Wei
    accepted_at: Instant
    deadline: Instant
    key: str = ""
    phase: Phase = QUEUED
    attempts: tuple[Attempt, ...] = ()
    #: What a work unit costs at the attempt that the job stands by.
    price: Price = Price(0)
    ended_at: Instant = Instant(0)
    units: int = 0
    wei: Wei = Wei(0)
    fee: Wei = Wei(0)
    answer: Digest = Digest("")
    receipt: Receipt | None = None
    run_ms: int = 0
    fault: Fault | None = None
    preference: Preference = Preference()
    #: The epoch of the attempt that the job stands by, or ended with; 0 before the first.
    epoch: int = 0
    #: The epoch of a second attempt that runs beside it, 0 if there is none.
    hedge: int = 0
    #: The name of the API key by which it came, "" if none was needed.
    api_key: KeyId = KeyId("")
    #: The units of the running attempt that are owed whatever comes.
    acknowledged: int = 0

    @property
    def need(self) -> Need:
        """What it takes to run this job."""
        return (self.spec.pipeline, self.spec.model)

    @property
    def orchestrator(self) -> NodeId:
        """Who has, or had, the attempt that the job stands by."""
        return self.attempt(self.epoch).orchestrator if self.epoch else NodeId("")

    @property
    def next_epoch(self) -> int:
        """The epoch that the next attempt will have: none is used twice."""
        return len(self.attempts) + 1

    def attempt(self, epoch: int) -> Attempt:
        """The attempt of an epoch that there has been."""
        return self.attempts[epoch - 1]

    @property
    def owed(self) -> int:
        """The units to be paid if the running attempt ends now, whoever wants that: those beyond the most are free."""
        return min(self.acknowledged, self.spec.units_max)

    @property
    def failures(self) -> int:
        """Attempts that ended without an answer, those left out that never began."""
        return sum(attempt.fault is not None and attempt.counts for attempt in self.attempts)

    @property
    def queue_ms(self) -> int:
        """Time from acceptance to the start of the attempt that counts (or to the end, if none began)."""
        until = self.attempt(self.epoch).placed_at if self.epoch else self.ended_at
        return max(0, until - self.accepted_at)

    def move(self, fact: Fact, now: Instant) -> Job:
        """The job after this fact. Raises `IllegalMove` for what `MOVES` does not allow."""
        phase = MOVES.get((self.phase, type(fact)))
        if phase is None:
            raise IllegalMove(f"{type(fact).__name__} while job {self.id} is {self.phase.value}")
        match fact:
            case Placed():
                self._expect(fact.epoch, self.next_epoch)
                attempts = self._begun(fact, now)
                return replace(self, phase=phase, attempts=attempts, epoch=fact.epoch, price=fact.price)
            case Answered():
                self._expect_live(fact.epoch)
                return self._answered(fact, phase, now)
            case Hedged():
                self._expect(fact.epoch, self.next_epoch)
                self._expect(self.hedge, 0)
                return replace(self, phase=phase, attempts=self._begun(fact, now), hedge=fact.epoch)
            case Fallen():
                other = self.epoch if fact.epoch == self.hedge else self.hedge
                self._expect_live(fact.epoch)
                self._expect_live(other)
                attempts = self._failed(fact.epoch, fact.fault, fact.counts)
                price = self.attempt(other).price
                return replace(self, phase=phase, attempts=attempts, epoch=other, hedge=0, price=price)
            case Returned():
                self._expect(fact.epoch, self.epoch)
                self._expect(self.hedge, 0)
                attempts = self._failed(fact.epoch, fact.fault, fact.counts, fact.units)
                return replace(self, phase=phase, attempts=attempts, acknowledged=0)
            case Acknowledged():
                self._expect(fact.epoch, self.epoch)
                return replace(self, acknowledged=max(self.acknowledged, fact.units))
            case Withdrawn():
                self._expect(fact.epoch, self.epoch)
                return self._withdrawn(fact, phase, now)
            case Abandoned() | Quarantined():
                return self._abandoned(self._verdict(fact), phase, now)
        raise IllegalMove(f"{type(fact).__name__} is no fact of a job's life")

    def _expect(self, epoch: int, expected: int) -> None:
        if epoch != expected:
            raise IllegalMove(f"job {self.id} is told of epoch {epoch}, and {expected} is due")

    def _expect_live(self, epoch: int) -> None:
        if epoch not in (self.epoch, self.hedge) or not epoch:
            raise IllegalMove(f"job {self.id} is told of epoch {epoch}, and that one does not run")

    def _begun(self, fact: Bound, now: Instant) -> tuple[Attempt, ...]:
        attempt = Attempt(
            fact.epoch,
            fact.orchestrator,
            now,
            policy=fact.policy,
            view=fact.view,
            home=fact.home,
            price=fact.price,
        )
        return (*self.attempts, attempt)

    def _answered(self, fact: Answered, phase: Phase, now: Instant) -> Job:
        return replace(
            self,
            phase=phase,
            ended_at=now,
            epoch=fact.epoch,
            hedge=0,
            price=self.attempt(fact.epoch).price,
            units=fact.units,
            wei=fact.wei,
            fee=fact.fee,
            answer=fact.answer,
            receipt=fact.receipt,
            run_ms=fact.run_ms,
        )

    def _withdrawn(self, fact: Withdrawn, phase: Phase, now: Instant) -> Job:
        attempts = self.attempts
        if self.phase is LEASED:
            attempts = self._ended(fact.epoch, replace(self.attempt(fact.epoch), units=fact.units))
        return self._given_up(fact, phase, now, attempts)

    def _verdict(self, fact: Abandoned | Quarantined) -> Abandoned:
        """Who is set aside has what was acknowledged, too."""
        if isinstance(fact, Abandoned):
            return fact
        fault = Fault(QuarantinedError.code, fact.cause)
        return Abandoned(self.id, fault, self.owed, self.price.cost(self.owed))

    def _abandoned(self, fact: Abandoned, phase: Phase, now: Instant) -> Job:
        attempts = self.attempts
        if self.phase is LEASED:
            attempts = self._failed(self.epoch, fact.fault, counts=True, units=fact.units)
        return replace(self._given_up(fact, phase, now, attempts), fault=fact.fault)

    def _given_up(
        self, fact: Withdrawn | Abandoned, phase: Phase, now: Instant, attempts: tuple[Attempt, ...]
    ) -> Job:
        return replace(
            self,
            phase=phase,
            ended_at=now,
            hedge=0,
            units=fact.units,
            wei=fact.wei,
            fee=fact.fee,
            attempts=attempts,
        )

    def _failed(self, epoch: int, fault: Fault, counts: bool, units: int = 0) -> tuple[Attempt, ...]:
        return self._ended(epoch, replace(self.attempt(epoch), fault=fault, counts=counts, units=units))

    def _ended(self, epoch: int, attempt: Attempt) -> tuple[Attempt, ...]:
        return (*self.attempts[: epoch - 1], attempt, *self.attempts[epoch:])


def begun(fact: Accepted, now: Instant) -> Job:
    """A job as it begins: it waits, or has a slot at once."""
    job = Job(
        fact.job,
        fact.client,
        fact.spec,
        fact.request,
        fact.limit,
        fact.hold,
        accepted_at=now,
        deadline=later(now, fact.deadline_ms),
        key=fact.key,
        preference=fact.preference,
        api_key=fact.api_key,
    )
    return job if fact.placed is None else job.move(fact.placed, now)


def renewed(job: Job) -> Job:
    """A job from a snapshot of before jobs named the attempt that they stand by: then it was the latest."""
    if job.epoch or not job.attempts:
        return job
    *before, latest = job.attempts
    return replace(job, epoch=latest.epoch, attempts=(*before, replace(latest, price=job.price)))


def expired(job: Job) -> Fault:
    """What a client is told whose deadline has passed."""
    waited = "no slot was free in time" if job.phase is QUEUED else "the answer did not come in time"
    return Fault(Expired.code, f"{waited}; allow more time, or try again later")
