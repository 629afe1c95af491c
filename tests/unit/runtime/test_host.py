"""The host journals, commits, then acts; after a crash it replays facts and says only its outbox again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import ClassVar

import pytest
from msgspec import Struct

from shoal.errors import Untrusted
from shoal.ids import Digest, JobId, NodeId
from shoal.machine import (
    Absent,
    Connected,
    Deliver,
    Effect,
    Event,
    Fact,
    Keep,
    Machine,
    Quarantined,
    Restarted,
    Retire,
    Send,
    SendAtOnce,
    Tick,
    Wake,
)
from shoal.runtime.host import Host, Rules
from shoal.units import Instant
from shoal.wire.words import Acknowledge, Heartbeat, Word

PEER = NodeId("0xpeer")


class Asked(Event, frozen=True):
    """Somebody wants a job counted."""

    job: JobId


class Answered(Event, frozen=True):
    """The peer has the word about a job."""

    job: JobId


class Hurried(Event, frozen=True):
    """Something has to be said at once."""


class Lied(Event, frozen=True):
    """A peer broke the rules."""


class Counted(Fact, frozen=True):
    """A job was counted."""

    job: JobId


class Said(Effect, frozen=True):
    """Say a job's name."""

    job: JobId


class State(Struct, frozen=True):
    jobs: tuple[JobId, ...] = ()


class Counter(Machine[State]):
    """Counts jobs; the job `bad` breaks it."""

    facts = (Counted, Quarantined)
    state = State

    def __init__(self) -> None:
        super().__init__(tick_ms=100)
        self.jobs: list[JobId] = []
        self.set_aside: list[JobId] = []
        self.heard: list[Event] = []

    def _on_asked(self, event: Asked, now: Instant) -> None:
        self.emit(Keep(Digest("d" * 64), b"body", 1_000))
        self.decide(Counted(event.job), now)
        self.emit(Said(event.job))

    def _on_answered(self, event: Answered, now: Instant) -> None:
        self.emit(Retire(event.job))

    def _on_hurried(self, event: Hurried, now: Instant) -> None:
        self.emit(SendAtOnce(PEER, Heartbeat()))

    def _on_lied(self, event: Lied, now: Instant) -> None:
        raise Untrusted("a lie")

    def _counted(self, fact: Counted, now: Instant) -> None:
        if fact.job == "bad":
            raise ZeroDivisionError("a bug")
        self.jobs.append(fact.job)
        self.emit(Deliver(fact.job, PEER, Acknowledge(fact.job, 1, len(self.jobs))))

    def _quarantined(self, fact: Quarantined, now: Instant) -> None:
        self.set_aside.append(fact.job)

    def _note(self, event: Event, now: Instant) -> None:
        self.heard.append(event)

    def busy(self) -> bool:
        return False

    def check(self) -> None:
        """Jobs and those set aside are never the same."""
        assert not set(self.jobs) & set(self.set_aside)

    def dump(self) -> State:
        return State(tuple(self.jobs))

    def load(self, state: State) -> None:
        self.jobs = list(state.jobs)

    handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        Asked: _on_asked,
        Answered: _on_answered,
        Hurried: _on_hurried,
        Lied: _on_lied,
        Counted: _counted,
        Quarantined: _quarantined,
        Restarted: _note,
        Connected: _note,
        Tick: _note,
        Absent: _note,
    }


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.instant = 1_000
        self.calls: list[tuple[int, Callable[[], None]]] = []

    def now(self) -> Instant:
        return Instant(self.instant)

    def call_at(self, instant: Instant, call: Callable[[], None]) -> None:
        self.calls.append((instant, call))

    def go_to(self, instant: int) -> None:
        self.instant = instant
        due = [call for at, call in self.calls if at <= instant]
        self.calls = [(at, call) for at, call in self.calls if at > instant]
        for call in due:
            call()


class Disk:
    """A journal whose commits happen when a test says so."""

    def __init__(self) -> None:
        self.durable = 0
        self.on_durable: Callable[[int], None] = lambda number: None
        self.on_failure: Callable[[BaseException], None] = lambda failure: None
        self.queued: list[tuple[Instant, bytes]] = []
        self.rows: list[tuple[Instant, bytes]] = []
        self.state: bytes | None = None
        self.bodies: dict[Digest, bytes] = {}

    def append(self, at: Instant, fact: bytes) -> int:
        self.queued.append((at, fact))
        return self.durable + len(self.queued)

    def keep(self, name: Digest, body: bytes, expires: Instant) -> None:
        self.bodies[name] = body

    def replay(self) -> tuple[bytes | None, Iterator[tuple[Instant, bytes]]]:
        return self.state, iter(list(self.rows))

    def snapshot(self, state: bytes) -> None:
        self.commit()
        self.state, self.rows = state, []

    def body(self, name: Digest) -> bytes | None:
        return self.bodies.get(name)

    def commit(self) -> None:
        self.rows += self.queued
        self.durable += len(self.queued)
        self.queued = []
        self.on_durable(self.durable)

    def crash(self) -> Disk:
        """What a new process finds."""
        left = Disk()
        left.rows, left.durable, left.state = list(self.rows), self.durable, self.state
        return left


class Wire:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[Word] = []

    def send(self, peer: NodeId, word: Word) -> bool:
        self.sent.append(word)
        return True


class World:
    """A host with everything that it stands on."""

    def __init__(self, disk: Disk | None = None, **rules: int) -> None:
        self.machine, self.clock, self.disk, self.wire = Counter(), Clock(), disk or Disk(), Wire()
        self.performed: list[Effect] = []
        self.alarms: list[str] = []
        self.host = Host(
            self.machine,
            clock=self.clock,
            journal=self.disk,
            transport=self.wire,
            perform=self.performed.append,
            alarm=self.alarms.append,
            rules=Rules(**rules),
        )
        self.host.start()


A, B, BAD = JobId("a"), JobId("b"), JobId("bad")


def test_nothing_is_done_before_its_fact_is_on_disk() -> None:
    world = World()
    world.host.post(Asked(A))
    assert world.machine.jobs == [A]
    assert not world.performed
    assert not world.wire.sent
    world.disk.commit()
    assert world.performed == [Said(A)]
    assert world.wire.sent == [Acknowledge(A, 1, 1)]


def test_an_effect_of_a_volatile_event_waits_behind_earlier_facts() -> None:
    world = World()
    world.host.post(Asked(A))
    told: list[str] = []
    world.host.when_durable(lambda: told.append("durable"))
    assert not told
    world.disk.commit()
    assert told == ["durable"]
    world.host.when_durable(lambda: told.append("again"))
    assert told == ["durable", "again"]


def test_a_word_that_binds_nobody_does_not_wait_for_the_disk() -> None:
    world = World()
    world.host.post(Asked(A))
    world.host.post(Hurried())
    assert world.wire.sent == [Heartbeat()]
    world.disk.commit()
    assert world.wire.sent == [Heartbeat(), Acknowledge(A, 1, 1)]


def test_a_crash_before_the_commit_undoes_everything() -> None:
    world = World()
    world.host.post(Asked(A))
    after = World(world.disk.crash())
    assert after.machine.jobs == []
    assert not after.host.outbox


def test_a_replay_says_only_the_outbox_again() -> None:
    world = World()
    world.host.post(Asked(A))
    world.disk.commit()
    after = World(world.disk.crash())
    assert after.machine.jobs == [A]
    assert after.machine.heard == [Restarted()]
    assert not after.performed
    after.host.post(Connected(PEER, "orchestrator", "boot"))
    assert after.wire.sent == [Acknowledge(A, 1, 1)]


def test_a_word_is_repeated_ever_less_often_until_it_is_retired() -> None:
    world = World(repeat_ms=100, repeat_max_ms=200)
    world.host.post(Asked(A))
    world.disk.commit()
    times = []
    for instant in range(1_000, 2_000, 50):
        before = len(world.wire.sent)
        world.clock.go_to(instant)
        times += [instant] * (len(world.wire.sent) - before)
    assert times[0] == 1_100
    assert all(later - earlier >= 200 for earlier, later in pairwise(times))
    world.host.post(Answered(A))
    before = len(world.wire.sent)
    world.clock.go_to(10_000)
    assert len(world.wire.sent) == before


def test_a_retired_word_stays_retired_once_enough_have_gathered_to_be_noted() -> None:
    world = World(retired_max=1)
    world.host.post(Asked(A))
    world.disk.commit()
    world.host.post(Answered(A))
    world.host.post(Asked(B))
    world.disk.commit()
    assert list(World(world.disk.crash()).host.outbox) == [B]


@pytest.mark.parametrize("committed", [True, False])
def test_a_snapshot_holds_the_state_and_the_outbox(committed: bool) -> None:
    world = World()
    world.host.post(Asked(A))
    if committed:
        world.disk.commit()
    world.host.snapshot()
    after = World(world.disk.crash())
    assert after.machine.jobs == [A]
    assert list(after.host.outbox) == [A]


def test_snapshots_come_by_themselves() -> None:
    world = World(snapshot_facts=2)
    for job in (A, B):
        world.host.post(Asked(job))
    assert world.disk.state is not None
    assert world.disk.rows == []


def test_an_event_that_breaks_the_machine_sets_its_job_aside_for_good() -> None:
    world = World()
    world.host.post(Asked(BAD))
    world.host.post(Asked(A))
    world.disk.commit()
    assert world.machine.jobs == [A]
    assert world.machine.set_aside == [BAD]
    assert "a bug" in world.alarms[0]
    after = World(world.disk.crash())
    assert after.machine.jobs == [A]
    assert after.machine.set_aside == [BAD]


def test_a_fact_that_no_longer_replays_sets_its_job_aside_too() -> None:
    world = World()
    world.host.post(Asked(A))
    world.disk.commit()
    disk = world.disk.crash()
    at, fact = disk.rows[0]
    disk.rows[0] = (at, fact.replace(b"\xa1a", b"\xa3bad"))
    after = World(disk)
    assert after.machine.set_aside == [BAD]
    assert after.alarms
    assert len(disk.queued) == 1, "and that is journaled"


def test_a_peer_that_lies_is_reported_and_nothing_else_happens() -> None:
    world = World()
    world.host.post(Lied())
    assert world.alarms == ["a lie"]
    assert not world.disk.queued


def test_a_process_that_stood_still_says_so_before_it_looks_at_time() -> None:
    world = World(absent_ms=500)
    world.host._wake(Wake(Instant(2_000)))
    world.clock.go_to(5_000)
    assert world.machine.heard[-2:] == [Absent(3_000), Tick()]


def test_a_stopped_host_acts_no_more() -> None:
    world = World()
    world.host.post(Asked(A))
    world.host.stop()
    world.disk.commit()
    assert not world.wire.sent
    world.host.post(Asked(B))
    assert world.machine.jobs == [A]


def test_a_send_is_forgotten_once_sent() -> None:
    world = World()
    world.host._act_when_durable(Send(PEER, Heartbeat()), Instant(0))
    assert world.wire.sent == [Heartbeat()]
    assert not world.host.outbox
