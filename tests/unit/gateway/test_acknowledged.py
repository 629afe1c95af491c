"""What a gateway has acknowledged of a stream it pays, however the attempt ends, unless its seller gave it up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from shoal.gateway.config import Rules
from shoal.gateway.events import CancelAsked, Consumed, Submitted
from shoal.gateway.machine import GatewayMachine
from shoal.ids import ClientId, JobId, NodeId, digest
from shoal.machine import Alarm, Connected, Deliver, Event, Fact, Heard, Quarantined, Restarted, Send, Tick
from shoal.money.wei import Price, Wei
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import Fault, JobSpec, Payload, Quote
from shoal.work.lifecycle import Acknowledged, Phase
from shoal.work.receipt import NO_ANSWER, Terms

NOW = Instant(1_000_000)
ANNA = ClientId("anna")
O1, O2 = NodeId("o1"), NodeId("o2")
JOB = JobId("job")
SPEC = JobSpec("llm", "m", units_max=10, stream=True)
PRICE = Price(7, 2)
BODY = encode_payload(Payload(b"{}"))
DEADLINE_MS = 60_000
EXPIRED = later(NOW, DEADLINE_MS)
RULES = Rules(fee_ppm=100_000)


def meet(peer: NodeId, *, window_units: int = 4) -> list[Event]:
    quote = Quote("llm", "m", 1, 0, PRICE)
    capacity = words.Capacity((quote,), window_units=window_units)
    return [Connected(peer, "orchestrator", "boot"), Heard(peer, capacity)]


#: Six units have come, its client has five of them, four are acknowledged.
HEARD: tuple[Event, ...] = (
    *meet(O1),
    Submitted(JOB, ANNA, SPEC, BODY, PRICE, DEADLINE_MS),
    Heard(O1, words.Progress(JOB, 1, 4, 0, "four")),
    Consumed(JOB, 4),
    Heard(O1, words.Progress(JOB, 1, 6, 4, "more")),
    Consumed(JOB, 5),
)


def empty() -> GatewayMachine:
    return GatewayMachine(RULES, verify=lambda node, data, signature: signature == b"signed")


def facts_of(*events: Event) -> list[Fact]:
    gateway = empty()
    return [thing for event in events for thing in gateway.handle(event, NOW) if isinstance(thing, Fact)]


def alive() -> GatewayMachine:
    gateway = empty()
    for event in HEARD:
        gateway.handle(event, NOW)
    return gateway


def replayed() -> GatewayMachine:
    gateway = empty()
    for event in (*facts_of(*HEARD), Restarted(), *meet(O1)):
        gateway.handle(event, NOW)
    return gateway


def loaded() -> GatewayMachine:
    gateway = empty()
    gateway.load(alive().dump())
    for event in (Restarted(), *meet(O1)):
        gateway.handle(event, NOW)
    return gateway


def settled(gateway: GatewayMachine, event: Event, at: Instant = NOW) -> words.Word | None:
    """What the orchestrator is told until it is heard."""
    said = [
        e.word
        for e in gateway.handle(event, at)
        if isinstance(e, Deliver) and e.key.endswith("settlement") and isinstance(e.word, words.Word)
    ]
    gateway.check()
    return said[0] if said else None


def paid(units: int) -> words.Cancel:
    return words.Cancel(JOB, 1, units, PRICE.cost(units))


def failure(units: int, code: str = "expired") -> words.Failure:
    """The seller says that it gave no answer, and signs what it has booked."""
    terms = Terms(JOB, 1, O1, SPEC, PRICE, digest(BODY))
    receipt = replace(terms.receipt(NodeId("w"), units, NO_ANSWER, 0), signature=b"signed")
    return words.Failure(JOB, 1, Fault(code, "no answer"), receipt)


def test_half_a_window_is_acknowledged_at_once_and_written_down_before() -> None:
    gateway = empty()
    for event in HEARD[:3]:
        gateway.handle(event, NOW)
    for units in (1, 2, 3, 4):
        gateway.handle(Heard(O1, words.Progress(JOB, 1, units, units - 1, "x")), NOW)
        out = gateway.handle(Consumed(JOB, units), NOW)
        fact, word = Acknowledged(JOB, 1, units), Send(O1, words.Acknowledge(JOB, 1, units))
        assert out == ([fact, word] if units in (2, 4) else [])
    assert gateway.jobs[JOB].acknowledged == 4


def test_who_says_no_window_is_acknowledged_everything_at_once() -> None:
    gateway = empty()
    for event in (*meet(O1, window_units=0), *HEARD[2:3]):
        gateway.handle(event, NOW)
    gateway.handle(Heard(O1, words.Progress(JOB, 1, 1, 0, "x")), NOW)
    assert Acknowledged(JOB, 1, 1) in gateway.handle(Consumed(JOB, 1), NOW)


def test_what_was_acknowledged_is_said_again_on_every_connection() -> None:
    out = alive().handle(Connected(O1, "orchestrator", "boot"), NOW)
    assert Send(O1, words.Acknowledge(JOB, 1, 4)) in out


@pytest.mark.parametrize(("live", "units"), [(alive, 5), (replayed, 4), (loaded, 4)])
def test_who_cancels_pays_for_what_its_client_has_or_at_least_what_is_on_disk(
    live: Callable[[], GatewayMachine], units: int
) -> None:
    gateway = live()
    assert settled(gateway, CancelAsked(JOB, ANNA)) == paid(units)
    job = gateway.jobs[JOB]
    assert (job.phase, job.units, job.wei) == (Phase.CANCELLED, units, PRICE.cost(units))


@pytest.mark.parametrize(("live", "units"), [(alive, 5), (replayed, 4), (loaded, 4)])
def test_an_expired_stream_is_charged_as_far_as_its_client_has_it(
    live: Callable[[], GatewayMachine], units: int
) -> None:
    gateway = live()
    assert settled(gateway, Tick(), EXPIRED) == paid(units)
    job, wei = gateway.jobs[JOB], PRICE.cost(units)
    assert (job.phase, job.units, job.wei, job.fee) == (Phase.FAILED, units, wei, wei // 10)
    assert gateway.ledger.balances == {
        "client:anna": -wei - wei // 10,
        "orchestrator:o1": wei,
        "fees": wei // 10,
    }
    assert not gateway.ledger.holds


@pytest.mark.parametrize("booked", [0, 4])
def test_a_seller_that_is_first_to_say_that_time_ran_out_is_paid_as_well(booked: int) -> None:
    gateway = alive()
    assert settled(gateway, Heard(O1, failure(booked)), EXPIRED) == paid(5)
    assert gateway.jobs[JOB].phase is Phase.FAILED


@pytest.mark.parametrize("code", ["failed", "lost", "refused"])
def test_a_seller_that_gave_the_attempt_up_gets_nothing(code: str) -> None:
    gateway = alive()
    assert settled(gateway, Heard(O1, failure(0, code))) == words.Cancel(JOB, 1)
    assert not any(gateway.ledger.balances.values())


@pytest.mark.parametrize(("live", "units"), [(alive, 4), (replayed, 4), (loaded, 4)])
def test_a_seller_that_fell_silent_is_paid_by_us_and_the_job_goes_on(
    live: Callable[[], GatewayMachine], units: int
) -> None:
    gateway = live()
    for event in meet(O2):
        gateway.handle(event, NOW)
    assert settled(gateway, Tick(), later(NOW, 2 * RULES.lease_ms)) == paid(units)
    job, wei = gateway.jobs[JOB], PRICE.cost(units)
    assert (job.phase, job.epoch, job.orchestrator, job.owed) == (Phase.LEASED, 2, O2, 0)
    assert gateway.ledger.balances == {"spilt": -wei, "orchestrator:o1": wei}
    assert settled(gateway, CancelAsked(JOB, ANNA)) == words.Cancel(JOB, 2)
    # Whoever asks again about the first attempt is told the same.
    late = gateway.handle(Heard(O1, words.Heartbeat((words.Held(JOB, 1),))), NOW)
    assert Send(O1, paid(units)) in late


def test_a_refused_answer_costs_what_was_acknowledged() -> None:
    answer = words.Result(JOB, 1, 6, 5, digest(b"bad"), b"bad", None)
    assert settled(alive(), Heard(O1, answer)) == paid(4)


def test_a_job_that_a_bug_sets_aside_is_paid_as_far_as_it_was_acknowledged() -> None:
    gateway = alive()
    assert settled(gateway, Quarantined(JOB, "a bug")) == paid(4)
    assert gateway.ledger.balances == {"client:anna": -14, "orchestrator:o1": 14, "fees": 0}


def test_who_books_more_than_was_acknowledged_is_parted_with() -> None:
    gateway = alive()
    out = gateway.handle(Heard(O1, failure(5)), EXPIRED)
    assert O1 in gateway.purse.estranged
    assert any(isinstance(thing, Alarm) for thing in out)
    assert gateway.jobs[JOB].attempt(1).units == 5  # its client has so many, and pays for no more


@pytest.mark.parametrize("live", [alive, replayed])
def test_a_settlement_of_more_than_was_paid_is_an_alarm(live: Callable[[], GatewayMachine]) -> None:
    gateway = live()
    gateway.handle(Tick(), later(NOW, 2 * RULES.lease_ms))
    out = gateway.handle(Heard(O1, words.Settled.of(JOB, 1, Wei(PRICE.cost(4) + 1))), NOW)
    assert any(isinstance(thing, Alarm) for thing in out)
    out = gateway.handle(Heard(O1, words.Settled.of(JOB, 1, PRICE.cost(4))), NOW)
    assert not any(isinstance(thing, Alarm) for thing in out)


def test_a_job_that_does_not_stream_writes_nothing_of_this_down() -> None:
    gateway = empty()
    spec = JobSpec("llm", "m", units_max=10)
    events = (*meet(O1), Submitted(JOB, ANNA, spec, BODY, PRICE, DEADLINE_MS))
    for event in (*events, Heard(O1, words.Progress(JOB, 1, 4, 0, ""))):
        gateway.handle(event, NOW)
    assert settled(gateway, Tick(), EXPIRED) == words.Cancel(JOB, 1)
    assert not any(gateway.ledger.balances.values())
