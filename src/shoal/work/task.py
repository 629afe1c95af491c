"""The life of an attempt, as its seller sees it: leased, then earned or released.

Facts say what can happen, `MOVES` when. A released task may still be earned, and
one whose buyer fell silent may bring more: its word is always welcome, however late.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import IllegalMove
from shoal.errors import Quarantined as QuarantinedError
from shoal.ids import Digest, JobId, NodeId
from shoal.machine import Fact, Quarantined
from shoal.money.wei import Price, Wei
from shoal.units import Instant
from shoal.wire.words import Fault, JobSpec
from shoal.work.queue import Need


class Phase(StrEnum):
    """Where an attempt stands."""

    LEASED = "leased"
    EARNED = "earned"
    RELEASED = "released"


#: By their own names, because an enum is slow to ask for its members.
LEASED, EARNED, RELEASED = Phase


class Leased(Fact, frozen=True):
    """A worker has the job; its price is pended, and what the worker gets of it, and where, is fixed."""

    job: JobId
    epoch: int
    gateway: NodeId
    worker: NodeId
    boot: str
    spec: JobSpec
    price: Price
    share_ppm: int
    request: Digest
    deadline_ms: int
    payout: NodeId = NodeId("")


class Acknowledged(Fact, frozen=True):
    """The gateway has so many units of a stream, and owes them however the attempt ends, unless we fail."""

    job: JobId
    epoch: int
    units: int


class Earned(Fact, frozen=True):
    """The gateway pays: `wei` in all, `share` of them the worker's.

    With a `fault` it has not said so: time ran out, and it pays for what it had acknowledged.
    """

    job: JobId
    epoch: int
    gateway: NodeId
    units: int
    wei: Wei
    share: Wei
    fault: Fault | None = None


class Released(Fact, frozen=True):
    """The attempt ended without an answer; nothing is earned."""

    job: JobId
    epoch: int
    gateway: NodeId
    fault: Fault


#: What may happen when. A pair that is not here is a bug, and raises.
MOVES: dict[tuple[Phase, type[Fact]], Phase] = {
    (LEASED, Acknowledged): LEASED,
    (LEASED, Earned): EARNED,
    (LEASED, Released): RELEASED,
    (LEASED, Quarantined): RELEASED,
    (RELEASED, Earned): EARNED,
    (EARNED, Earned): EARNED,
}


class Task(Struct, frozen=True, array_like=True, gc=False):
    """One attempt: whose, by whom, at what price, and how it ended."""

    lease: Leased
    leased_at: Instant
    deadline: Instant
    phase: Phase = LEASED
    ended_at: Instant = Instant(0)
    units: int = 0
    wei: Wei = Wei(0)
    share: Wei = Wei(0)
    #: Why there was no answer; with something earned: the gateway has yet to say a word.
    fault: Fault | None = None
    #: What the gateway owes whatever it says.
    acknowledged: int = 0

    @property
    def owed(self) -> int:
        """The units to be paid if the gateway wants no answer: those beyond the most are free."""
        return min(self.acknowledged, self.lease.spec.units_max)

    @property
    def id(self) -> str:
        """The attempt's name."""
        return task_id(self.lease.job, self.lease.epoch)

    @property
    def need(self) -> Need:
        """What it takes to run this attempt."""
        return (self.lease.spec.pipeline, self.lease.spec.model)

    def move(self, fact: Fact, now: Instant) -> Task:
        """The task after this fact. Raises `IllegalMove` for what `MOVES` does not allow."""
        phase = MOVES.get((self.phase, type(fact)))
        if phase is None:
            raise IllegalMove(f"{type(fact).__name__} while task {self.id} is {self.phase.value}")
        match fact:
            case Acknowledged():
                return replace(self, acknowledged=max(self.acknowledged, fact.units))
            case Earned():
                return self._earned(fact, phase, now)
            case Released():
                return replace(self, phase=phase, ended_at=now, fault=fact.fault)
            case Quarantined():
                fault = Fault(QuarantinedError.code, fact.cause)
                return replace(self, phase=phase, ended_at=now, fault=fault)
        raise IllegalMove(f"{type(fact).__name__} is no fact of a task's life")

    def _earned(self, fact: Earned, phase: Phase, now: Instant) -> Task:
        if self.phase is EARNED and (self.fault is None or fact.wei <= self.wei):
            raise IllegalMove(f"task {self.id} has earned {self.wei} wei, and now {fact.wei}")
        return replace(
            self,
            phase=phase,
            ended_at=now,
            units=fact.units,
            wei=fact.wei,
            share=fact.share,
            fault=fact.fault,
        )


def task_id(job: JobId, epoch: int) -> str:
    """The name of an attempt: job ids are random, and a gateway never uses an epoch twice."""
    return f"{job}/{epoch}"
