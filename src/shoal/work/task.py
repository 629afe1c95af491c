"""The life of an attempt, as its seller sees it: leased, then earned or released.

Facts say what can happen, `MOVES` when. A released task may still be earned:
the buyer's word that it accepted the answer is always welcome, however late.
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


class Earned(Fact, frozen=True):
    """The gateway pays: `wei` in all, `share` of them the worker's."""

    job: JobId
    epoch: int
    gateway: NodeId
    units: int
    wei: Wei
    share: Wei


class Released(Fact, frozen=True):
    """The attempt ended without an answer; nothing is earned."""

    job: JobId
    epoch: int
    gateway: NodeId
    fault: Fault


#: What may happen when. A pair that is not here is a bug, and raises.
MOVES: dict[tuple[Phase, type[Fact]], Phase] = {
    (LEASED, Earned): EARNED,
    (LEASED, Released): RELEASED,
    (LEASED, Quarantined): RELEASED,
    (RELEASED, Earned): EARNED,
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
    fault: Fault | None = None

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
            case Earned():
                return replace(
                    self, phase=phase, ended_at=now, units=fact.units, wei=fact.wei, share=fact.share
                )
            case Released():
                return replace(self, phase=phase, ended_at=now, fault=fact.fault)
            case Quarantined():
                fault = Fault(QuarantinedError.code, fact.cause)
                return replace(self, phase=phase, ended_at=now, fault=fault)
        raise IllegalMove(f"{type(fact).__name__} is no fact of a task's life")


def task_id(job: JobId, epoch: int) -> str:
    """The name of an attempt: job ids are random, and a gateway never uses an epoch twice."""
    return f"{job}/{epoch}"
