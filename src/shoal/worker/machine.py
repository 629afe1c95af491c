"""The worker decides: which jobs it takes, and how long it stands by an answer.

It takes a job if a runner has a free slot, runs it once, and says its answer
again until the orchestrator settles or cancels. It keeps no journal: a worker
that dies has lost its leases, and its orchestrators give the jobs to others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Broken, Busy, Expired, Lost, TooLarge, Untrusted
from shoal.ids import JobId, NodeId, digest
from shoal.machine import (
    Absent,
    Connected,
    Deliver,
    Disconnected,
    Effect,
    Event,
    Fact,
    Heard,
    Machine,
    Quarantined,
    Restarted,
    Retire,
    Send,
    Tick,
    Value,
)
from shoal.money.wei import Wei
from shoal.units import Instant, later
from shoal.wire import words
from shoal.work.queue import Need
from shoal.worker.config import Rules

#: The weight of the newest answer in the mean time of a runner's jobs.
RUN_MS_WEIGHT = 0.2


class RunnerReady(Event, frozen=True):
    """A runner takes so many jobs at once: now, or if it is cold, the first of them after `cold_ms`."""

    need: Need
    slots: int
    cold_ms: int = 0
    batch: int = 1


class RunnerGone(Event, frozen=True):
    """A runner has ended or is being restarted; it takes no jobs."""

    need: Need


class RunnerSpoke(Event, frozen=True):
    """A running job has come so far."""

    job: JobId
    epoch: int
    units: int
    offset: int
    text: str


class RunnerAnswered(Event, frozen=True):
    """A runner has given its answer."""

    job: JobId
    epoch: int
    units: int
    run_ms: int
    body: bytes


class RunnerFailed(Event, frozen=True):
    """A runner gave no answer."""

    job: JobId
    epoch: int
    fault: words.Fault


class Draining(Event, frozen=True):
    """This worker takes no new jobs: it is about to stop."""


class Run(Effect, frozen=True):
    """Hand a job to the runner of its pipeline and model."""

    order: words.Job


class Stop(Effect, frozen=True):
    """Nobody needs this job's answer any more."""

    job: JobId
    epoch: int


class Drained(Effect, frozen=True):
    """Nothing is left to do here: every answer has been settled or cancelled."""


class Phase(Enum):
    """Where a job stands here."""

    #: Its slot was given away twice, by two orchestrators; it has the next one that comes free.
    CROSSED = "crossed"
    RUNNING = "running"
    ANSWERED = "answered"


class Task(Struct, frozen=True):
    """One job of one orchestrator. The body is not kept: the runner has it."""

    job: JobId
    epoch: int
    orchestrator: NodeId
    need: Need
    deadline: Instant
    phase: Phase = Phase.RUNNING


class Nothing(Struct, frozen=True):
    """A worker's durable state: there is none."""


class WorkerMachine(Machine[Nothing]):
    """All of a worker's running jobs and what its orchestrators have credited."""

    facts = (Quarantined,)
    state = Nothing

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules.tick_ms)
        self.rules = rules
        self.runners: dict[Need, RunnerReady] = {}
        self.tasks: dict[tuple[JobId, int], Task] = {}
        #: The running ones, and for whom: what is left of a runner's slots is free.
        self._running: dict[Need, dict[tuple[JobId, int], NodeId]] = {}
        #: The orders that crossed with another orchestrator's, and until when they wait.
        self._crossed: dict[Need, dict[tuple[JobId, int], tuple[words.Job, Instant]]] = {}
        #: How long a runner's jobs take of late.
        self._run_ms: dict[Need, float] = {}
        self.earned: dict[NodeId, Wei] = {}
        self.answered = 0
        self._orchestrators: set[NodeId] = set()
        #: What was closed of late: an order that comes after its own end is not run.
        self._closed: dict[tuple[NodeId, JobId, int], None] = {}
        self._draining = False
        self._heartbeat_due = Instant(0)

    # Orchestrators

    def _on_connected(self, event: Connected, now: Instant) -> None:
        self._orchestrators.add(event.peer)
        self.emit(Send(event.peer, self._offers(event.peer)))
        self._heartbeat_due = Instant(0)

    def _on_disconnected(self, event: Disconnected, now: Instant) -> None:
        self._orchestrators.discard(event.peer)

    def _on_heard(self, event: Heard, now: Instant) -> None:
        listen = self._HEARD.get(type(event.word))
        if listen is None:
            raise Untrusted(f"{event.peer} sent {type(event.word).__name__} to a worker")
        listen(self, event.peer, event.word, now)

    def _hear_job(self, peer: NodeId, word: words.Job, now: Instant) -> None:
        need = (word.spec.pipeline, word.spec.model)
        known = self.tasks.get((word.job, word.epoch))
        if known is not None:
            if known.orchestrator != peer:
                raise Untrusted(f"{peer} uses the id of another orchestrator's job: {word.job}")
            return
        if (peer, word.job, word.epoch) in self._closed:
            # Overtaken by its own end; or leased anew after a crash, by somebody who has to know.
            fault = words.Fault(Lost.code, "the worker has closed this job")
            self.emit(Send(peer, words.Failure(word.job, word.epoch, fault)))
            return
        if digest(word.body) != word.digest:
            raise Untrusted(f"{peer} sent job {word.job} with another body than it names")
        task = Task(word.job, word.epoch, peer, need, later(now, word.deadline_ms))
        if self._is_free(need):
            self._start(task, word)
        elif self._may_cross(need):
            self.tasks[word.job, word.epoch] = replace(task, phase=Phase.CROSSED)
            until = later(now, self.rules.crossed_ms)
            self._crossed.setdefault(need, {})[word.job, word.epoch] = word, until
        else:
            self._turn_away(peer, word.job, word.epoch)

    def _turn_away(self, peer: NodeId, job: JobId, epoch: int) -> None:
        fault = words.Fault(Busy.code, "the worker has no free slot for this")
        self.emit(Send(peer, words.Failure(job, epoch, fault)))

    def _is_free(self, need: Need) -> bool:
        runner = self.runners.get(need)
        return not self._draining and runner is not None and len(self._running.get(need, ())) < runner.slots

    def _may_cross(self, need: Need) -> bool:
        """True if a job that finds no slot may wait for one: two orchestrators gave it away, and it is soon free."""
        runner = self.runners.get(need)
        return (
            not self._draining
            and runner is not None
            and len(self._orchestrators) > 1
            and len(self._crossed.get(need, ())) < runner.slots
            and self._run_ms.get(need, self.rules.crossed_ms) < self.rules.crossed_ms
        )

    def _start(self, task: Task, word: words.Job) -> None:
        self.tasks[task.job, task.epoch] = replace(task, phase=Phase.RUNNING)
        self._running.setdefault(task.need, {})[task.job, task.epoch] = task.orchestrator
        self.emit(Run(word))
        self._announce(but=task.orchestrator)

    def _hear_cancel(self, peer: NodeId, word: words.Cancel, now: Instant) -> None:
        self._close(peer, word.job, word.epoch)

    def _hear_settled(self, peer: NodeId, word: words.Settled, now: Instant) -> None:
        if self._close(peer, word.job, word.epoch):
            self.earned[peer] = Wei(self.earned.get(peer, 0) + word.wei)

    def _close(self, peer: NodeId, job: JobId, epoch: int) -> bool:
        self._closed[peer, job, epoch] = None
        if len(self._closed) > self.rules.closed_max:
            del self._closed[next(iter(self._closed))]
        task = self.tasks.get((job, epoch))
        if task is None or task.orchestrator != peer:
            return False
        del self.tasks[job, epoch]
        if task.phase is Phase.RUNNING:
            self.emit(Stop(job, epoch))
            self._ran(task)
            self._announce(but=peer)
        elif task.phase is Phase.CROSSED:
            self._uncross(task)
        else:
            self.emit(Retire(_answer(job, epoch)))
        return True

    def _hear_heartbeat(self, peer: NodeId, word: words.Heartbeat, now: Instant) -> None:
        """An orchestrator thinks that these are here; say which are not, and take their orders no more."""
        for held in word.leases:
            if (held.job, held.epoch) not in self.tasks:
                self._close(peer, held.job, held.epoch)
                fault = words.Fault(Lost.code, "the worker does not have this job")
                self.emit(Send(peer, words.Failure(held.job, held.epoch, fault)))

    # Runners

    def _on_runner_ready(self, event: RunnerReady, now: Instant) -> None:
        self.runners[event.need] = event
        self._announce()

    def _on_runner_gone(self, event: RunnerGone, now: Instant) -> None:
        if self.runners.pop(event.need, None) is not None:
            self._announce()

    def _on_runner_spoke(self, event: RunnerSpoke, now: Instant) -> None:
        task = self.tasks.get((event.job, event.epoch))
        if task is not None and task.phase is Phase.RUNNING:
            word = words.Progress(event.job, event.epoch, event.units, event.offset, event.text)
            self.emit(Send(task.orchestrator, word))

    def _on_runner_answered(self, event: RunnerAnswered, now: Instant) -> None:
        task = self.tasks.get((event.job, event.epoch))
        if task is None or task.phase is not Phase.RUNNING:
            return
        if len(event.body) > self.rules.answer_bytes_max:
            fault = words.Fault(TooLarge.code, f"the answer has {len(event.body)} bytes, too many to send")
            self._fail(task, fault)
            return
        mean_ms = self._run_ms.get(task.need, float(event.run_ms))
        self._run_ms[task.need] = mean_ms + RUN_MS_WEIGHT * (event.run_ms - mean_ms)
        self.tasks[event.job, event.epoch] = replace(task, phase=Phase.ANSWERED)
        self._ran(task)
        self.answered += 1
        result = words.Result(
            event.job, event.epoch, event.units, event.run_ms, digest(event.body), event.body
        )
        self.emit(Deliver(_answer(event.job, event.epoch), task.orchestrator, result))
        self._announce(but=task.orchestrator)

    def _on_runner_failed(self, event: RunnerFailed, now: Instant) -> None:
        task = self.tasks.get((event.job, event.epoch))
        if task is not None and task.phase is Phase.RUNNING:
            self._fail(task, event.fault)

    def _fail(self, task: Task, fault: words.Fault) -> None:
        del self.tasks[task.job, task.epoch]
        self._ran(task)
        self.emit(Send(task.orchestrator, words.Failure(task.job, task.epoch, fault)))
        self._announce(but=task.orchestrator)

    def _on_draining(self, event: Draining, now: Instant) -> None:
        self._draining = True
        self._announce()

    def _quarantined(self, fact: Quarantined, now: Instant) -> None:
        for task in [task for task in self.tasks.values() if task.job == fact.job]:
            self._close(task.orchestrator, task.job, task.epoch)

    # What is free

    def _taken(self, need: Need, but: NodeId) -> int:
        """How many slots the jobs of others hold."""
        return sum(peer != but for peer in self._running.get(need, {}).values())

    def _ran(self, task: Task) -> None:
        """A running task has ended, one way or another: its slot is free, for an order that crossed if there is one."""
        del self._running[task.need][task.job, task.epoch]
        crossed = self._crossed.get(task.need)
        if crossed and self._is_free(task.need):
            name, (word, _) = next(iter(crossed.items()))
            following = self.tasks[name]
            self._uncross(following)
            self._start(following, word)

    def _uncross(self, task: Task) -> None:
        """An order waits no longer for a slot."""
        crossed = self._crossed[task.need]
        del crossed[task.job, task.epoch]
        if not crossed:
            del self._crossed[task.need]

    def _offers(self, peer: NodeId) -> words.Offers:
        """What this orchestrator can have: all slots but those that others' jobs hold."""
        if self._draining:
            return words.Offers(())
        return words.Offers(tuple(self._offer(runner, peer) for runner in self.runners.values()))

    def _offer(self, runner: RunnerReady, peer: NodeId) -> words.Offer:
        slots = runner.slots - self._taken(runner.need, peer)
        return words.Offer(*runner.need, slots, runner.cold_ms, runner.batch)

    def _announce(self, but: NodeId | None = None) -> None:
        for peer in sorted(self._orchestrators):
            if peer != but:
                self.emit(Send(peer, self._offers(peer)))

    # Time

    def _on_tick(self, event: Tick, now: Instant) -> None:
        waited = [
            name for crossed in self._crossed.values() for name, (_, until) in crossed.items() if until <= now
        ]
        for task in [self.tasks.pop(name) for name in waited]:
            self._uncross(task)
            self._turn_away(task.orchestrator, task.job, task.epoch)
        for task in [task for task in self.tasks.values() if task.deadline <= now]:
            if task.phase is Phase.CROSSED:
                continue  # it will not wait much longer
            if task.phase is Phase.RUNNING:
                self.emit(Stop(task.job, task.epoch))
                late = words.Fault(Expired.code, "the runner did not answer before the deadline")
                self._fail(task, late)
            elif later(task.deadline, self.rules.answer_keep_ms) <= now:
                self._close(task.orchestrator, task.job, task.epoch)
        if self._heartbeat_due <= now:
            self._heartbeat_due = later(now, self.rules.heartbeat_ms)
            for peer in sorted(self._orchestrators):
                held = [words.Held(t.job, t.epoch) for t in self.tasks.values() if t.orchestrator == peer]
                if held:
                    self.emit(Send(peer, words.Heartbeat(tuple(held))))

    def _on_restarted(self, event: Restarted, now: Instant) -> None:
        """There is nothing to take up again."""

    def _on_absent(self, event: Absent, now: Instant) -> None:
        """Leases are the orchestrators' to judge."""

    # The host

    def check(self) -> None:
        """Raise `Broken` if a runner has more jobs than slots."""
        running = {name for name, task in self.tasks.items() if task.phase is Phase.RUNNING}
        if running != {name for names in self._running.values() for name in names}:
            raise Broken("the slots and the running jobs differ")
        crossed = {name for name, task in self.tasks.items() if task.phase is Phase.CROSSED}
        if crossed != {name for names in self._crossed.values() for name in names}:
            raise Broken("the orders that crossed and the tasks differ")
        for need, runner in self.runners.items():
            if len(self._running.get(need, ())) > runner.slots:
                raise Broken(f"{len(self._running[need])} jobs run on {runner.slots} slots of {need}")

    def dump(self) -> Nothing:
        """Nothing is durable."""
        return Nothing()

    def load(self, state: Nothing) -> None:
        """Nothing is durable."""

    def busy(self) -> bool:
        """True while jobs are here."""
        return bool(self.tasks)

    def handle(self, event: Event, now: Instant) -> Sequence[Effect | Fact]:
        """Decide what follows; a worker that drains says when nothing is left."""
        out = super().handle(event, now)
        if self._draining and not self.tasks:
            self.emit(Drained())
        return out

    handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        Connected: _on_connected,
        Disconnected: _on_disconnected,
        Heard: _on_heard,
        Tick: _on_tick,
        Restarted: _on_restarted,
        Absent: _on_absent,
        Quarantined: _quarantined,
        RunnerReady: _on_runner_ready,
        RunnerGone: _on_runner_gone,
        RunnerSpoke: _on_runner_spoke,
        RunnerAnswered: _on_runner_answered,
        RunnerFailed: _on_runner_failed,
        Draining: _on_draining,
    }

    _HEARD: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        words.Job: _hear_job,
        words.Cancel: _hear_cancel,
        words.Settled: _hear_settled,
        words.Heartbeat: _hear_heartbeat,
    }


def _answer(job: JobId, epoch: int) -> str:
    return f"{job}/{epoch}/answer"
