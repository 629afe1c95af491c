"""Every fact in every phase of a job and of an attempt: a move, or an illegal one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from shoal.errors import IllegalMove
from shoal.ids import ClientId, Digest, JobId, NodeId
from shoal.machine import Fact, Quarantined
from shoal.money.wei import Price, Wei
from shoal.units import Instant
from shoal.wire.words import Fault, JobSpec, Receipt
from shoal.work import lifecycle, task
from shoal.work.lifecycle import (
    Abandoned,
    Accepted,
    Acknowledged,
    Answered,
    Attempt,
    Fallen,
    Hedged,
    Job,
    Placed,
    Returned,
    Withdrawn,
    renewed,
)
from shoal.work.task import Earned, Leased, Released, Task

NOW = Instant(100)
JOB = JobId("job")
SPEC = JobSpec("echo", "echo", 10)
FAULT = Fault("failed", "it did not work")
SELLER, BUYER, WORKER = NodeId("o"), NodeId("g"), NodeId("w")
OTHER = NodeId("other")
RECEIPT = Receipt(JOB, 1, SELLER, WORKER, "echo", "echo", 4, Wei(4), Digest("q"), Digest("a"), 5)
LEASED = Leased(JOB, 1, BUYER, WORKER, "boot", SPEC, Price(1), 800_000, Digest("q"), 60_000)

#: Every fact of a job's life; those with an epoch speak of the one given.
JOB_FACTS: dict[type[Fact], Callable[[int], Fact]] = {
    Placed: lambda epoch: Placed(JOB, epoch, SELLER, Price(1)),
    Hedged: lambda epoch: Hedged(JOB, epoch, OTHER, Price(2)),
    Fallen: lambda epoch: Fallen(JOB, epoch, FAULT),
    Acknowledged: lambda epoch: Acknowledged(JOB, epoch, 3),
    Returned: lambda epoch: Returned(JOB, epoch, FAULT),
    Answered: lambda epoch: Answered(JOB, epoch, 4, Wei(4), Wei(1), Digest("a"), RECEIPT, 5),
    Withdrawn: lambda epoch: Withdrawn(JOB, epoch, 2, Wei(2)),
    Abandoned: lambda _: Abandoned(JOB, FAULT),
    Quarantined: lambda _: Quarantined(JOB, "a bug"),
    Accepted: lambda _: Accepted(JOB, ClientId("c"), SPEC, Digest("q"), Price(1), Wei(10), 60_000),
}

QUEUED, RUNNING, DONE, FAILED, CANCELLED = lifecycle.Phase
#: The whole of a job's life; what is not here is illegal.
JOB_MOVES = {
    (QUEUED, Placed): RUNNING,
    (QUEUED, Abandoned): FAILED,
    (QUEUED, Quarantined): FAILED,
    (QUEUED, Withdrawn): CANCELLED,
    (RUNNING, Hedged): RUNNING,
    (RUNNING, Fallen): RUNNING,
    (RUNNING, Acknowledged): RUNNING,
    (RUNNING, Returned): QUEUED,
    (RUNNING, Answered): DONE,
    (RUNNING, Abandoned): FAILED,
    (RUNNING, Quarantined): FAILED,
    (RUNNING, Withdrawn): CANCELLED,
}


def job_in(phase: lifecycle.Phase) -> Job:
    """A job in this phase, its first attempt behind it unless it waits."""
    job = Job(JOB, ClientId("c"), SPEC, Digest("q"), Price(1), Wei(10), NOW, Instant(60_100))
    if phase is QUEUED:
        return job
    job = job.move(Placed(JOB, 1, SELLER, Price(1)), NOW)
    ends = {DONE: Answered, FAILED: Abandoned, CANCELLED: Withdrawn}
    return job if phase is RUNNING else job.move(JOB_FACTS[ends[phase]](1), NOW)


@pytest.mark.parametrize("kind", JOB_FACTS)
@pytest.mark.parametrize("phase", lifecycle.Phase)
def test_every_fact_in_every_phase_of_a_job(phase: lifecycle.Phase, kind: type[Fact]) -> None:
    job = job_in(phase)
    if kind is Fallen and phase is RUNNING:
        job = job.move(JOB_FACTS[Hedged](2), NOW)
    due = job.next_epoch if kind in (Placed, Hedged) else job.epoch
    expected = JOB_MOVES.get((phase, kind))
    if expected is None:
        with pytest.raises(IllegalMove):
            job.move(JOB_FACTS[kind](due), NOW)
    else:
        assert job.move(JOB_FACTS[kind](due), NOW).phase is expected


@pytest.mark.parametrize("kind", [Placed, Hedged, Fallen, Acknowledged, Returned, Answered, Withdrawn])
@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_fact_of_another_epoch_is_illegal(kind: type[Fact], wrong: int) -> None:
    job = job_in(QUEUED if kind is Placed else RUNNING)
    due = job.next_epoch if kind in (Placed, Hedged) else job.epoch
    with pytest.raises(IllegalMove):
        job.move(JOB_FACTS[kind](due + wrong), NOW)


def test_the_tables_are_these() -> None:
    assert lifecycle.MOVES == JOB_MOVES
    assert {phase for phase, _ in JOB_MOVES}.isdisjoint(lifecycle.ENDED)
    assert task.MOVES == TASK_MOVES


def test_attempts_are_counted_unless_they_never_began() -> None:
    job = job_in(RUNNING).move(Returned(JOB, 1, FAULT), NOW)
    job = job.move(Placed(JOB, 2, SELLER, Price(1)), NOW).move(Returned(JOB, 2, FAULT, counts=False), NOW)
    assert (len(job.attempts), job.failures, job.epoch) == (2, 1, 2)


def test_of_two_attempts_either_may_answer_and_the_job_stands_by_it() -> None:
    hedged = job_in(RUNNING).move(Hedged(JOB, 2, OTHER, Price(2)), NOW)
    assert (hedged.epoch, hedged.hedge, hedged.orchestrator) == (1, 2, SELLER)
    second = hedged.move(JOB_FACTS[Answered](2), NOW)
    assert (second.epoch, second.hedge, second.orchestrator, second.price) == (2, 0, OTHER, Price(2))
    first = hedged.move(JOB_FACTS[Answered](1), NOW)
    assert (first.epoch, first.hedge, first.orchestrator, first.price) == (1, 0, SELLER, Price(1))


@pytest.mark.parametrize(("fallen", "stands"), [(1, 2), (2, 1)])
def test_when_one_of_two_attempts_falls_the_job_stands_by_the_other(fallen: int, stands: int) -> None:
    job = job_in(RUNNING).move(Hedged(JOB, 2, OTHER, Price(2)), NOW).move(Fallen(JOB, fallen, FAULT), NOW)
    assert (job.phase, job.epoch, job.hedge, job.failures, job.next_epoch) == (RUNNING, stands, 0, 1, 3)
    assert job.attempt(fallen).fault == FAULT
    with pytest.raises(IllegalMove):
        job.move(JOB_FACTS[Answered](fallen), NOW)


def test_with_two_attempts_running_a_job_neither_waits_nor_gets_a_third() -> None:
    hedged = job_in(RUNNING).move(Hedged(JOB, 2, OTHER, Price(2)), NOW)
    for fact in (Returned(JOB, 1, FAULT), Hedged(JOB, 3, OTHER, Price(2))):
        with pytest.raises(IllegalMove):
            hedged.move(fact, NOW)


def test_a_job_from_an_older_snapshot_is_read_as_it_was_meant() -> None:
    job = job_in(RUNNING)
    fields = msgspec.to_builtins(job, builtin_types=(bytes,))
    old = fields[: Job.__struct_fields__.index("preference")]
    attempts = Job.__struct_fields__.index("attempts")
    old[attempts] = [attempt[: Attempt.__struct_fields__.index("policy")] for attempt in old[attempts]]
    read = renewed(msgspec.convert(old, Job))
    assert (read.epoch, read.next_epoch, read.orchestrator) == (1, 2, SELLER)
    assert read.attempt(1).price == read.price == job.price
    assert renewed(job) is job


LIVE, EARNED, RELEASED = task.Phase
TASK_FACTS: dict[type[Fact], Fact] = {
    task.Acknowledged: task.Acknowledged(JOB, 1, 3),
    Earned: Earned(JOB, 1, BUYER, 4, Wei(4), Wei(3)),
    Released: Released(JOB, 1, BUYER, FAULT),
    Quarantined: Quarantined(JOB, "a bug"),
    Leased: LEASED,
}
TASK_MOVES = {
    (LIVE, task.Acknowledged): LIVE,
    (LIVE, Earned): EARNED,
    (LIVE, Released): RELEASED,
    (LIVE, Quarantined): RELEASED,
    (RELEASED, Earned): EARNED,
    (EARNED, Earned): EARNED,
}


@pytest.mark.parametrize("kind", TASK_FACTS)
@pytest.mark.parametrize("phase", task.Phase)
def test_every_fact_in_every_phase_of_an_attempt(phase: task.Phase, kind: type[Fact]) -> None:
    attempt = replace(Task(LEASED, NOW, Instant(60_100)), phase=phase, fault=FAULT)
    expected = TASK_MOVES.get((phase, kind))
    if expected is None:
        with pytest.raises(IllegalMove):
            attempt.move(TASK_FACTS[kind], NOW)
    else:
        assert attempt.move(TASK_FACTS[kind], NOW).phase is expected


def test_only_a_gateway_that_has_yet_to_speak_brings_more_and_never_less() -> None:
    leased = Task(LEASED, NOW, Instant(60_100)).move(task.Acknowledged(JOB, 1, 2), NOW)
    by_itself = leased.move(Earned(JOB, 1, BUYER, 2, Wei(2), Wei(1), FAULT), NOW)
    assert (by_itself.phase, by_itself.owed, by_itself.fault) == (EARNED, 2, FAULT)
    more = by_itself.move(TASK_FACTS[Earned], NOW)
    assert (more.units, more.wei, more.share, more.fault) == (4, 4, 3, None)
    for told, units in ((more, 5), (by_itself, 2)):
        with pytest.raises(IllegalMove):
            told.move(Earned(JOB, 1, BUYER, units, Wei(units), Wei(1)), NOW)


@pytest.mark.parametrize("end", [Abandoned, Withdrawn, Returned, Quarantined])
def test_what_was_acknowledged_stays_with_its_attempt(end: type[Fact]) -> None:
    facts: dict[type[Fact], Fact] = {
        Abandoned: Abandoned(JOB, FAULT, 3, Wei(3)),
        Withdrawn: Withdrawn(JOB, 1, 3, Wei(3)),
        Returned: Returned(JOB, 1, FAULT, True, 3, Wei(3)),
        Quarantined: Quarantined(JOB, "a bug"),
    }
    job = job_in(RUNNING).move(JOB_FACTS[Acknowledged](1), NOW)
    assert job.owed == 3
    ended = job.move(facts[end], NOW)
    assert (ended.attempt(1).units, ended.attempt(1).wei) == (3, 3)
    assert (ended.units, ended.wei) == ((0, 0) if end is Returned else (3, 3))


def test_another_attempt_begins_with_nothing_owed() -> None:
    job = job_in(RUNNING).move(JOB_FACTS[Acknowledged](1), NOW).move(Returned(JOB, 1, FAULT), NOW)
    assert job.owed == 0
    assert job.move(Placed(JOB, 2, OTHER, Price(1)), NOW).owed == 0
