"""The worker decides: which jobs it takes, and how long it stands by an answer.

It takes a job if a runner has a free slot and it is paid for, runs it once, and
says its answer again until the orchestrator settles or cancels. It journals what
it has earned and nothing else: a worker that dies has lost its leases, and its
orchestrators give the jobs to others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Broken, Busy, Expired, Lost, TooLarge, Untrusted
from shoal.ids import Digest, JobId, NodeId, digest
from shoal.machine import (
    Absent,
    Connected,
    Deliver,
    Disconnected,
    Effect,
    Event,
    Fact,
    Heard,
    Quarantined,
    Restarted,
    Retire,
    Send,
    Tick,
    Value,
)
from shoal.money.wei import Price, Wei
from shoal.units import Instant, later
from shoal.wire import words
from shoal.work.queue import Need
from shoal.work.receipt import Terms
from shoal.worker.config import Rules
from shoal.worker.payments import Claim, Payments, Verify


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
    """Nothing is left to do here: every answer is settled or cancelled, or whoever is to settle it is gone."""


class Phase(StrEnum):
    """Where a job stands here."""

    RUNNING = "running"
    ANSWERED = "answered"


#: By their own names, because an enum is slow to ask for its members.
RUNNING, ANSWERED = Phase


class Task(Struct, frozen=True):
    """One job of one orchestrator. The body is not kept: the runner has it."""

    job: JobId
    epoch: int
    orchestrator: NodeId
    need: Need
    deadline: Instant
    #: What was agreed, our part of the price, and the most that it can bring us.
    spec: words.JobSpec
    price: Price
    request: Digest
    share_ppm: int
    most: Wei
    phase: Phase = RUNNING
    #: Of an answer: its units, its name, and how long it took.
    units: int = 0
    answer: Digest = Digest("")
    run_ms: int = 0

    def wage(self, units: int) -> Wei:
        """What so many units bring us."""
        return self.price.part(min(units, self.spec.units_max), self.share_ppm)


class WorkerMachine(Payments):
    """All of a worker's running jobs."""

    facts = (*Payments.facts, Quarantined)

    def __init__(
        self,
        rules: Rules,
        *,
        node: NodeId,
        verify: Verify,
        payout: NodeId = NodeId(""),
        draw: Callable[[], int] | None = None,
        sees_chain: bool = False,
    ) -> None:
        super().__init__(rules, node=node, verify=verify, payout=payout, draw=draw, sees_chain=sees_chain)
        self.runners: dict[Need, RunnerReady] = {}
        self.tasks: dict[tuple[JobId, int], Task] = {}
        #: Slots have come free of which not every orchestrator has heard.
        self._more = False
        #: The running ones, and for whom: what is left of a runner's slots is free.
        self._running: dict[Need, dict[tuple[JobId, int], NodeId]] = {}
        #: How far streams have come.
        self._spoken: dict[tuple[JobId, int], int] = {}
        self.answered = 0
        self._orchestrators: set[NodeId] = set()
        #: Who was here and is gone, and since when.
        self._parted: dict[NodeId, Instant] = {}
        #: What was closed of late: an order that comes after its own end is not run.
        self._closed: dict[tuple[NodeId, JobId, int], None] = {}
        self._draining = False
        self._heartbeat_due = Instant(0)

    # Orchestrators

    def _on_connected(self, event: Connected, now: Instant) -> None:
        self._orchestrators.add(event.peer)
        self._parted.pop(event.peer, None)
        self.emit(Send(event.peer, self._offers(event.peer)))
        self.ask_for_account(event.peer, now)
        self._heartbeat_due = Instant(0)

    def _on_disconnected(self, event: Disconnected, now: Instant) -> None:
        self._orchestrators.discard(event.peer)
        self._parted[event.peer] = now

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
        runner = self.runners.get(need)
        if self._draining or runner is None or len(self._running.get(need, ())) >= runner.slots:
            fault = words.Fault(Busy.code, "the worker has no free slot for this")
            self.emit(Send(peer, words.Failure(word.job, word.epoch, fault)))
            return
        most = word.price.part(word.spec.units_max, word.share_ppm)
        objection = self.objection(peer, word, most)
        if objection:
            self.emit(Send(peer, words.Failure(word.job, word.epoch, words.Fault(Busy.code, objection))))
            return
        task = Task(
            word.job,
            word.epoch,
            peer,
            need,
            later(now, word.deadline_ms),
            word.spec,
            word.price,
            word.digest,
            word.share_ppm,
            most,
        )
        self.tasks[word.job, word.epoch] = task
        self._running.setdefault(need, {})[word.job, word.epoch] = peer
        self.emit(Run(word))
        self._announce(but=peer)

    def _hear_cancel(self, peer: NodeId, word: words.Cancel, now: Instant) -> None:
        self._close(peer, word.job, word.epoch)

    def _hear_settled(self, peer: NodeId, word: words.Settled, now: Instant) -> None:
        for closed in word.leases:
            known = self.tasks.get((closed.job, closed.epoch))
            if closed.wei < 0 or (known is not None and closed.wei > known.most):
                raise Untrusted(
                    f"{peer} settles job {closed.job} with {closed.wei} wei: not our share of its price"
                )
        for closed in word.leases:
            self.guard(closed.job, partial(self._earn, peer, closed), now)

    def _earn(self, peer: NodeId, closed: words.Closed) -> None:
        task = self._close(peer, closed.job, closed.epoch, closed.wei)
        if task is not None and closed.wei and task.phase is ANSWERED and self.wants_receipt():
            terms = Terms(task.job, task.epoch, peer, task.spec, task.price, task.request)
            self.claim(Claim(terms, task.units, task.answer, task.run_ms, closed.wei, task.share_ppm))

    def _close(self, peer: NodeId, job: JobId, epoch: int, wei: Wei | None = None) -> Task | None:
        """A job is over, paid for or not; the task that it was, if it was one."""
        self._closed[peer, job, epoch] = None
        if len(self._closed) > self.rules.closed_max:
            del self._closed[next(iter(self._closed))]
        task = self.tasks.get((job, epoch))
        if task is None or task.orchestrator != peer:
            return None
        del self.tasks[job, epoch]
        if task.phase is RUNNING:
            self._ran(task)
            self.emit(Stop(job, epoch))
            units = self._spoken.pop((job, epoch), 0) if task.spec.stream else 0
        else:
            self.emit(Retire(_answer(job, epoch)))
            units = task.units
        self.settle(peer, task.most, task.wage(units) if units else Wei(0), wei)
        return task

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
        if task is not None and task.phase is RUNNING:
            if task.spec.stream:
                self._spoken[event.job, event.epoch] = event.units
            word = words.Progress(event.job, event.epoch, event.units, event.offset, event.text)
            self.emit(Send(task.orchestrator, word))

    def _on_runner_answered(self, event: RunnerAnswered, now: Instant) -> None:
        task = self.tasks.get((event.job, event.epoch))
        if task is None or task.phase is not RUNNING:
            return
        if len(event.body) > self.rules.answer_bytes_max:
            fault = words.Fault(TooLarge.code, f"the answer has {len(event.body)} bytes, too many to send")
            self._fail(task, fault)
            return
        self._ran(task)
        if task.spec.stream:
            self._spoken.pop((event.job, event.epoch), None)
        name = digest(event.body)
        self.tasks[event.job, event.epoch] = replace(
            task, phase=ANSWERED, units=event.units, answer=name, run_ms=event.run_ms
        )
        self.answered += 1
        result = words.Result(event.job, event.epoch, event.units, event.run_ms, name, event.body)
        self.emit(Deliver(_answer(event.job, event.epoch), task.orchestrator, result))

    def _on_runner_failed(self, event: RunnerFailed, now: Instant) -> None:
        task = self.tasks.get((event.job, event.epoch))
        if task is not None and task.phase is RUNNING:
            self._fail(task, event.fault)

    def _fail(self, task: Task, fault: words.Fault) -> None:
        self._ran(task)
        del self.tasks[task.job, task.epoch]
        self._spoken.pop((task.job, task.epoch), None)
        self.settle(task.orchestrator, task.most, Wei(0), None)
        self.emit(Send(task.orchestrator, words.Failure(task.job, task.epoch, fault)))

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
        """A running task has ended, one way or another: its slot is free.

        Its orchestrator knows; the others hear of it at the next tick, if it is still free by then. Told at once they
        would sell it a second time, for whoever had it last has most often filled it again before that.
        """
        del self._running[task.need][task.job, task.epoch]
        self._more = True

    def _offers(self, peer: NodeId) -> words.Offers:
        """What this orchestrator can have: all slots but those that others' jobs hold."""
        offers: tuple[words.Offer, ...] = ()
        if not self._draining and self.works_for(peer):
            offers = tuple(self._offer(runner, peer) for runner in self.runners.values())
        return words.Offers(offers, self.payout, self.rules.share_ppm_min, self.rules.float_wei)

    def _offer(self, runner: RunnerReady, peer: NodeId) -> words.Offer:
        slots = runner.slots - self._taken(runner.need, peer)
        return words.Offer(*runner.need, slots, runner.cold_ms, runner.batch)

    def _announce(self, but: NodeId | None = None) -> None:
        self._more = False
        for peer in sorted(self._orchestrators):
            if peer != but:
                self.emit(Send(peer, self._offers(peer)))

    def changed_mind(self, peer: NodeId) -> None:
        """What an orchestrator can have is other than before."""
        if peer in self._orchestrators:
            self.emit(Send(peer, self._offers(peer)))

    # Time

    def _on_tick(self, event: Tick, now: Instant) -> None:
        for task in [task for task in self.tasks.values() if task.deadline <= now]:
            if task.phase is RUNNING:
                self.emit(Stop(task.job, task.epoch))
                late = words.Fault(Expired.code, "the runner did not answer before the deadline")
                self._fail(task, late)
            elif later(task.deadline, self.rules.answer_keep_ms) <= now:
                self._close(task.orchestrator, task.job, task.epoch)
        if self._more and len(self._orchestrators) > 1:
            self._announce()
        self.look_at_earnings(now)
        if self._heartbeat_due <= now:
            self._heartbeat_due = later(now, self.rules.heartbeat_ms)
            for peer in sorted(self._orchestrators):
                held = [words.Held(t.job, t.epoch) for t in self.tasks.values() if t.orchestrator == peer]
                if held:
                    self.emit(Send(peer, words.Heartbeat(tuple(held))))

    def _on_restarted(self, event: Restarted, now: Instant) -> None:
        """No job is taken up again."""
        self.take_up_earnings()

    def _on_absent(self, event: Absent, now: Instant) -> None:
        """Leases are the orchestrators' to judge."""

    # The host

    def check(self) -> None:
        """Raise `Broken` if a runner has more jobs than slots."""
        running = {name for name, task in self.tasks.items() if task.phase is RUNNING}
        if running != {name for names in self._running.values() for name in names}:
            raise Broken("the slots and the running jobs differ")
        for need, runner in self.runners.items():
            if len(self._running.get(need, ())) > runner.slots:
                raise Broken(f"{len(self._running[need])} jobs run on {runner.slots} slots of {need}")
        self.check_exposures((task.orchestrator, task.most) for task in self.tasks.values())

    def busy(self) -> bool:
        """True while jobs are here, money is to be looked at, or somebody has yet to hear of a slot."""
        return bool(self.tasks) or self.unsettled or (self._more and len(self._orchestrators) > 1)

    def handle(self, event: Event, now: Instant) -> Sequence[Effect | Fact]:
        """Decide what follows; a worker that drains says when nothing is left."""
        out = super().handle(event, now)
        if self._draining and not any(self._awaits(task.orchestrator, now) for task in self.tasks.values()):
            self.emit(Drained())
        return out

    def _awaits(self, orchestrator: NodeId, now: Instant) -> bool:
        """Whether a draining worker waits for what this one has to say of its jobs."""
        parted = self._parted.get(orchestrator)
        return parted is None or now < later(parted, self.rules.reconnect_ms)

    handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        **Payments.payment_handlers,
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
        **Payments.payment_words,
    }


def _answer(job: JobId, epoch: int) -> str:
    return f"{job}/{epoch}/answer"
