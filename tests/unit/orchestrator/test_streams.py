"""What a gateway acknowledged of a stream is paid, however the attempt ends, unless its seller gave it up."""

from __future__ import annotations

import pytest

from shoal.ids import JobId, NodeId, digest
from shoal.machine import Connected, Event, Fact, Gathered, Heard, Send, Tick
from shoal.money.wei import Price
from shoal.orchestrator.config import Rules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.words import JobSpec
from shoal.work.task import Phase

NOW = Instant(1_000_000)
G, W = NodeId("g"), NodeId("w")
JOB = JobId("job")
PRICE = Price(7, 2)
BODY = b"no request"
SPEC = JobSpec("llm", "m", units_max=10, stream=True)
DEADLINE_MS = 60_000
RULES = Rules(prices={"llm": PRICE}, share_ppm=333_333, window_units_max=4)
#: Six units have been sent, four of them were acknowledged.
HALF_HEARD: tuple[Event, ...] = (
    Connected(G, "gateway", "boot"),
    Connected(W, "worker", "boot"),
    Heard(W, words.Offers((words.Offer("llm", "m", 1),))),
    Heard(G, words.Job(JOB, 1, SPEC, PRICE, DEADLINE_MS, digest(BODY), BODY)),
    Heard(W, words.Progress(JOB, 1, 2, 0, "xx")),
    Heard(W, words.Progress(JOB, 1, 4, 2, "xx")),
    Heard(W, words.Progress(JOB, 1, 6, 4, "xx")),
    Heard(G, words.Acknowledge(JOB, 1, 4)),
)


def machine(*events: Event) -> OrchestratorMachine:
    made = OrchestratorMachine(RULES, node=NodeId("o"), sign=lambda data: b"signed")
    for event in events:
        made.handle(event, NOW)
        made.check()
    return made


def booked(orchestrator: OrchestratorMachine) -> tuple[Phase, int]:
    task = orchestrator.tasks[f"{JOB}/1"]
    assert task.wei == PRICE.cost(task.units)
    return task.phase, task.units


@pytest.mark.parametrize(("named", "booked"), [(0, 4), (3, 4), (5, 5)])
def test_who_cancels_pays_what_it_acknowledged_whatever_it_names(named: int, booked: int) -> None:
    orchestrator = machine(*HALF_HEARD)
    orchestrator.handle(Heard(G, words.Cancel(JOB, 1, named, PRICE.cost(named))), NOW)
    task = orchestrator.tasks[f"{JOB}/1"]
    assert (task.phase, task.units, task.wei) == (Phase.EARNED, booked, PRICE.cost(booked))
    said = orchestrator.handle(Gathered(), NOW)
    assert Send(G, words.Settled.of(JOB, 1, PRICE.cost(booked))) in said
    assert Send(W, words.Settled.of(JOB, 1, task.share)) in said


def test_what_was_acknowledged_outlives_a_restart() -> None:
    facts: list[Fact] = []
    orchestrator = machine()
    for event in HALF_HEARD:
        facts += [thing for thing in orchestrator.handle(event, NOW) if isinstance(thing, Fact)]
    for reborn in (machine(*facts), machine()):
        if not reborn.tasks:
            reborn.load(orchestrator.dump())
        reborn.handle(Connected(G, "gateway", "boot"), NOW)
        reborn.handle(Heard(G, words.Cancel(JOB, 1)), NOW)
        assert booked(reborn) == (Phase.EARNED, 4)


@pytest.mark.parametrize("by", ["its own clock", "its worker"])
def test_when_time_runs_out_what_was_acknowledged_is_booked_and_signed(by: str) -> None:
    orchestrator = machine(*HALF_HEARD)
    if by == "its worker":
        late = later(NOW, DEADLINE_MS)
        orchestrator.handle(Heard(W, words.Failure(JOB, 1, words.Fault("expired", "too slow"))), late)
    else:
        late = later(NOW, DEADLINE_MS + 2 * RULES.lease_ms)
        orchestrator.handle(Tick(), late)
    assert booked(orchestrator) == (Phase.EARNED, 4)
    said = orchestrator.handle(Gathered(), late)
    (failure,) = [e.word for e in said if isinstance(e, Send) and isinstance(e.word, words.Failure)]
    assert failure.receipt is not None
    assert (failure.fault.code, failure.receipt.units) == ("expired", 4)
    assert failure.receipt.wei == PRICE.cost(4)
    settled = [e.peer for e in said if isinstance(e, Send) and isinstance(e.word, words.Settled)]
    assert settled == [W]  # its gateway has said nothing that this could be the answer to


@pytest.mark.parametrize(("word", "units"), [(words.Cancel, 5), (words.Accept, 10), (words.Cancel, 0)])
def test_a_gateway_that_speaks_after_its_time_may_pay_more_once(word: type, units: int) -> None:
    late = later(NOW, DEADLINE_MS + 2 * RULES.lease_ms)
    orchestrator = machine(*HALF_HEARD)
    orchestrator.handle(Tick(), late)
    for _ in range(2):
        orchestrator.handle(Heard(G, word(JOB, 1, units, PRICE.cost(units))), late)
        orchestrator.check()
        assert booked(orchestrator) == (Phase.EARNED, max(4, units))
    orchestrator.handle(Heard(G, words.Accept(JOB, 1, 10, PRICE.cost(10))), late)
    assert booked(orchestrator)[1] == (units or 10)


def test_what_a_seller_gives_up_itself_costs_nothing() -> None:
    orchestrator = machine(*HALF_HEARD)
    orchestrator.handle(Heard(W, words.Failure(JOB, 1, words.Fault("failed", "the model gave up"))), NOW)
    orchestrator.handle(Heard(G, words.Cancel(JOB, 1)), NOW)
    assert booked(orchestrator)[0] is Phase.RELEASED
    assert not any(orchestrator.ledger.balances.values())


@pytest.mark.parametrize("at_once", [True, False])
def test_a_worker_is_shown_what_was_paid_for_after_its_time(at_once: bool) -> None:
    late = later(NOW, DEADLINE_MS + 2 * RULES.lease_ms)
    orchestrator = machine(*HALF_HEARD[:-1])
    orchestrator.handle(Tick(), late)
    if not at_once:
        orchestrator.handle(Gathered(), late)
    orchestrator.handle(Heard(G, words.Cancel(JOB, 1, 6, PRICE.cost(6))), late)
    orchestrator.handle(Gathered(), late)
    (shown,) = [
        e.word for e in orchestrator.handle(Heard(W, words.ReceiptAsked(JOB, 1)), late) if isinstance(e, Send)
    ]
    assert isinstance(shown, words.ReceiptShown)
    assert shown.receipt is not None
    assert (shown.receipt.units, shown.receipt.wei) == (6, PRICE.cost(6))
