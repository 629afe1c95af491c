"""Two orchestrators give the same slot away: the second job waits for the next one, if that is soon free."""

from __future__ import annotations

from shoal.errors import Busy
from shoal.ids import JobId, NodeId, digest
from shoal.machine import Connected, Effect, Event, Fact, Heard, Send, Tick
from shoal.money.wei import Price
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import JobSpec, Payload
from shoal.worker.config import Rules
from shoal.worker.machine import Draining, Run, RunnerAnswered, RunnerReady, Stop, WorkerMachine

NOW = Instant(1_000_000)
O1, O2 = NodeId("o1"), NodeId("o2")
NEED = ("echo", "echo")
BODY = encode_payload(Payload(b"{}"))
RULES = Rules()


class Stage:
    """A worker with one slot and two orchestrators, that has answered one job in so long."""

    def __init__(self, run_ms: int) -> None:
        self.machine = WorkerMachine(RULES)
        self.now = NOW
        for event in (
            Connected(O1, "orchestrator", "boot"),
            Connected(O2, "orchestrator", "boot"),
            RunnerReady(NEED, 1),
        ):
            self.tell(event)
        self.order(O1, "first")
        self.answer("first", run_ms)
        self.order(O1, "a")

    def tell(self, event: Event) -> list[Effect | Fact]:
        effects = list(self.machine.handle(event, self.now))
        self.machine.check()
        return effects

    def order(self, peer: NodeId, job: str) -> list[Effect | Fact]:
        spec = JobSpec("echo", "echo", units_max=10)
        word = words.Job(JobId(job), 1, spec, Price(1), 60_000, digest(BODY), BODY, 800_000)
        return self.tell(Heard(peer, word))

    def answer(self, job: str, run_ms: int = 5) -> list[Effect | Fact]:
        return self.tell(RunnerAnswered(JobId(job), 1, 4, run_ms, b"answer"))


def run(effects: list[Effect | Fact]) -> list[str]:
    return [effect.order.job for effect in effects if isinstance(effect, Run)]


def refused(effects: list[Effect | Fact]) -> list[tuple[NodeId, str, str]]:
    return [
        (effect.peer, effect.word.job, effect.word.fault.code)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.word, words.Failure)
    ]


def test_an_order_that_crossed_has_the_next_slot() -> None:
    stage = Stage(run_ms=5)
    crossed = stage.order(O2, "b")
    assert run(crossed) == []
    assert refused(crossed) == []
    assert run(stage.answer("a")) == ["b"]


def test_there_wait_no_more_than_there_are_slots() -> None:
    stage = Stage(run_ms=5)
    stage.order(O2, "b")
    assert refused(stage.order(O2, "c")) == [(O2, "c", Busy.code)]


def test_an_order_waits_only_a_moment() -> None:
    stage = Stage(run_ms=5)
    stage.order(O2, "b")
    stage.now = later(NOW, RULES.crossed_ms)
    assert refused(stage.tell(Tick())) == [(O2, "b", Busy.code)]
    assert run(stage.answer("a")) == []


def test_where_jobs_take_long_it_does_not_wait() -> None:
    stage = Stage(run_ms=RULES.crossed_ms)
    assert refused(stage.order(O2, "b")) == [(O2, "b", Busy.code)]


def test_with_one_orchestrator_nothing_crosses() -> None:
    stage = Stage(run_ms=5)
    stage.machine._orchestrators.discard(O2)
    assert refused(stage.order(O1, "b")) == [(O1, "b", Busy.code)]


def test_an_order_that_waits_can_be_cancelled_and_was_never_run() -> None:
    stage = Stage(run_ms=5)
    stage.order(O2, "b")
    assert not any(isinstance(e, Stop) for e in stage.tell(Heard(O2, words.Cancel(JobId("b"), 1))))
    assert run(stage.answer("a")) == []


def test_a_worker_that_drains_starts_nothing_that_waits() -> None:
    stage = Stage(run_ms=5)
    stage.order(O2, "b")
    stage.tell(Draining())
    assert run(stage.answer("a")) == []
    stage.now = later(NOW, RULES.crossed_ms)
    assert refused(stage.tell(Tick())) == [(O2, "b", Busy.code)]
