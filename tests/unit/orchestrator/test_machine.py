"""Every word in every phase of an attempt, decided: what an orchestrator journals and what it does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from shoal.errors import Untrusted
from shoal.ids import JobId, NodeId, digest
from shoal.machine import (
    Absent,
    Connected,
    Disconnected,
    Effect,
    Event,
    Fact,
    Gather,
    Gathered,
    Heard,
    Restarted,
    Send,
    Tick,
    Wake,
)
from shoal.money.wei import Price, Wei
from shoal.orchestrator.config import Rules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import Fault, JobSpec, Payload
from shoal.work.seal import signed_bytes
from shoal.work.task import Phase

NOW = Instant(1_000_000)
G, G2, W, W2 = NodeId("g"), NodeId("g2"), NodeId("w"), NodeId("w2")
JOB = JobId("job")
PRICE = Price(7, 2)
BODY = encode_payload(Payload(b"{}"))
ANSWER = encode_payload(Payload(b'"answer"'))
RULES = Rules(prices={"echo": PRICE}, share_ppm=333_333)


def order(job: JobId = JOB, epoch: int = 1, *, model: str = "echo", price: Price = PRICE) -> words.Job:
    spec = JobSpec("echo", model, units_max=10, stream=True)
    return words.Job(job, epoch, spec, price, 60_000, digest(BODY), BODY)


def result(epoch: int = 1, units: int = 4) -> words.Result:
    return words.Result(JOB, epoch, units, 5, digest(ANSWER), ANSWER)


def offers(slots: int = 1) -> words.Offers:
    return words.Offers((words.Offer("echo", "echo", slots),))


def machine(*events: Event, rules: Rules = RULES) -> OrchestratorMachine:
    made = OrchestratorMachine(rules, node=NodeId("o"), sign=lambda data: b"signed")
    for event in events:
        if Gather() in made.handle(event, NOW):
            made.handle(Gathered(), NOW)
        made.check()
    return made


MET: list[Event] = [
    Connected(G, "gateway", "boot"),
    Connected(G2, "gateway", "boot"),
    Connected(W, "worker", "boot"),
    Heard(W, offers()),
    Connected(W2, "worker", "boot"),
]

#: How an attempt comes into each phase.
STORIES: dict[str, list[Event]] = {
    "unknown": MET,
    "leased": [*MET, Heard(G, order())],
    "answered": [*MET, Heard(G, order()), Heard(W, result()), Gathered()],
    "earned": [
        *MET,
        Heard(G, order()),
        Heard(W, result()),
        Gathered(),
        Heard(G, words.Accept(JOB, 1, 4, Wei(14))),
    ],
    "released": [*MET, Heard(G, order()), Heard(G, words.Cancel(JOB, 1))],
}

EVENTS: dict[str, Event] = {
    "order": Heard(G, order()),
    "another's order": Heard(G2, order()),
    "order of another body": Heard(G, replace(order(), body=b"other")),
    "accept": Heard(G, words.Accept(JOB, 1, 4, Wei(14))),
    "accept at another price": Heard(G, words.Accept(JOB, 1, 4, Wei(13))),
    "accept of too much": Heard(G, words.Accept(JOB, 1, 11, PRICE.cost(11))),
    "another's accept": Heard(G2, words.Accept(JOB, 1, 4, Wei(14))),
    "cancel": Heard(G, words.Cancel(JOB, 1)),
    "cancel that pays": Heard(G, words.Cancel(JOB, 1, 2, Wei(7))),
    "another's cancel": Heard(G2, words.Cancel(JOB, 1)),
    "acknowledge": Heard(G, words.Acknowledge(JOB, 1, 2)),
    "progress": Heard(W, words.Progress(JOB, 1, 2, 0, "text")),
    "result": Heard(W, result()),
    "result under another epoch": Heard(W, result(2)),
    "result of other bytes": Heard(W, replace(result(), body=b"other")),
    "another's result": Heard(W2, result()),
    "a gateway's result": Heard(G, result()),
    "failure": Heard(W, words.Failure(JOB, 1, Fault("failed", "it did not work"))),
    "another's failure": Heard(W2, words.Failure(JOB, 1, Fault("failed", "it did not work"))),
    "heartbeat": Heard(W, words.Heartbeat((words.Held(JOB, 1),))),
    "gateway's heartbeat": Heard(G, words.Heartbeat((words.Held(JOB, 1),))),
    "another gateway's heartbeat": Heard(G2, words.Heartbeat((words.Held(JOB, 1),))),
    "a stranger's result": Heard(NodeId("stranger"), result()),
    "worker came again": Connected(W, "worker", "boot"),
    "worker was restarted": Connected(W, "worker", "another boot"),
    "worker went": Disconnected(W),
    "gateway went": Disconnected(G),
    "gathered": Gathered(),
    "restarted": Restarted(),
    "absent": Absent(5_000),
}


def told(outcome: Sequence[Effect | Fact]) -> list[str]:
    """What was decided and asked for, in short; timers and what everybody hears about capacity left out."""
    lines = []
    for thing in outcome:
        match thing:
            case Send(_, words.Capacity()) | Wake():
                pass
            case Send(peer, word):
                lines.append(f"{type(thing).__name__} {type(word).__name__} {peer}")
            case _:
                lines.append(type(thing).__name__)
    return lines


LIVE = ("leased", "answered")
ENDED = ("earned", "released")
FROM_THE_WORKER = ("progress", "result", "result of other bytes", "failure", "heartbeat")
PAID = ["Earned", "Gather"]
FAILED = ["Released", "SendAtOnce Cancel w", "Gather"]
#: The other gateways are to hear that capacity has changed.
NEWS = ["Gather"]

#: What follows; nothing where there is no line.
DECISIONS: dict[tuple[str, str], list[str] | type[Exception]] = {
    **{(story, "a stranger's result"): Untrusted for story in STORIES},
    **{(story, "a gateway's result"): Untrusted for story in STORIES},
    **{(story, "another's result"): ["Send Cancel w2"] for story in STORIES},
    **{(story, "another's failure"): ["Send Cancel w2"] for story in STORIES},
    **{(story, "worker came again"): ["Send Heartbeat w"] for story in LIVE},
    **{("earned", f"worker {event}"): ["Send Account w"] for event in ("came again", "was restarted")},
    ("earned", "gateway's heartbeat"): ["Send Settled g"],
    ("released", "gateway's heartbeat"): ["Send Failure g"],
    **{(story, "another's accept"): ["Send Settled g2"] for story in STORIES},
    **{(story, "another's cancel"): ["Send Settled g2"] for story in STORIES},
    **{(story, "result under another epoch"): ["Send Cancel w"] for story in STORIES},
    **{(story, "another's order"): Untrusted for story in (*LIVE, *ENDED)},
    **{(story, "accept at another price"): Untrusted for story in (*LIVE, *ENDED)},
    **{(story, "accept of too much"): Untrusted for story in (*LIVE, *ENDED)},
    ("unknown", "order"): ["Leased", "SendAtOnce Job w", *NEWS],
    ("unknown", "another's order"): ["Leased", "SendAtOnce Job w", *NEWS],
    ("unknown", "order of another body"): Untrusted,
    **{("unknown", event): ["Send Settled g"] for event in EVENTS if event.startswith(("accept", "cancel"))},
    **{("unknown", event): ["Send Cancel w"] for event in FROM_THE_WORKER},
    **{(story, "order"): ["Send Lease g"] for story in LIVE},
    **{(story, "order of another body"): ["Send Lease g"] for story in LIVE},
    **{(story, "accept"): PAID for story in LIVE},
    **{(story, "cancel that pays"): PAID for story in LIVE},
    **{("released", event): PAID for event in ("accept", "cancel that pays")},
    **{(story, "worker went"): NEWS for story in STORIES},
    **{(story, "cancel"): ["Released", "SendAtOnce Cancel w", *NEWS, "Send Settled g"] for story in LIVE},
    **{(story, "progress"): ["Send Progress g"] for story in LIVE},
    **{(story, "result"): ["Gather"] for story in LIVE},
    **{(story, "result of other bytes"): FAILED for story in LIVE},
    **{(story, "failure"): FAILED for story in LIVE},
    **{(story, "worker was restarted"): FAILED for story in LIVE},
    **{("earned", event): ["Send Settled g"] for event in ("order", "order of another body")},
    **{("earned", event): ["Send Settled g"] for event in ("accept", "cancel", "cancel that pays")},
    **{("earned", event): ["Send Settled w"] for event in FROM_THE_WORKER},
    **{("released", event): ["Send Failure g"] for event in ("order", "order of another body")},
    ("released", "cancel"): ["Send Settled g"],
    **{("released", event): ["Send Cancel w"] for event in FROM_THE_WORKER},
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("story", STORIES)
def test_every_event_in_every_phase(story: str, event: str) -> None:
    orchestrator = machine(*STORIES[story])
    before = orchestrator.dump()
    expected = DECISIONS.get((story, event), [])
    if isinstance(expected, type):
        with pytest.raises(expected):
            orchestrator.handle(EVENTS[event], NOW)
        assert orchestrator.dump() == before
    else:
        assert told(orchestrator.handle(EVENTS[event], NOW)) == expected
    orchestrator.check()


def task_of(orchestrator: OrchestratorMachine, name: str = "job/1") -> tuple[Phase, int, int]:
    task = orchestrator.tasks[name]
    return task.phase, task.wei, task.share


def test_what_is_earned_is_split_to_the_last_wei() -> None:
    orchestrator = machine(*STORIES["earned"])
    assert task_of(orchestrator) == (Phase.EARNED, 14, 4)
    assert orchestrator.ledger.balances == {"gateway:g": -14, "own": 10, "worker:w": 4}
    assert not orchestrator.ledger.holds


def test_a_late_acceptance_is_earned_all_the_same() -> None:
    orchestrator = machine(*STORIES["released"], Heard(G, words.Accept(JOB, 1, 4, Wei(14))))
    assert task_of(orchestrator) == (Phase.EARNED, 14, 4)
    assert orchestrator.ledger.balances == {"gateway:g": -14, "own": 10, "worker:w": 4}


def test_an_accepted_answer_that_costs_nothing_is_earned() -> None:
    free = Rules(prices={"echo": Price(0)})
    orchestrator = machine(
        *MET,
        Heard(G, order(price=Price(0))),
        Heard(W, result()),
        Heard(G, words.Accept(JOB, 1, 4, Wei(0))),
        rules=free,
    )
    assert task_of(orchestrator) == (Phase.EARNED, 0, 0)


def receipt_of(orchestrator: OrchestratorMachine) -> words.Receipt | None:
    orchestrator.handle(Heard(W, result(units=1_000)), NOW)
    (sent,) = [
        effect.word
        for effect in orchestrator.handle(Gathered(), NOW)
        if isinstance(effect, Send) and isinstance(effect.word, words.Result)
    ]
    return sent.receipt


def test_a_receipt_names_the_price_of_what_was_agreed() -> None:
    receipt = receipt_of(machine(*STORIES["leased"]))
    assert receipt is not None
    assert (receipt.units, receipt.wei, receipt.worker) == (10, 35, W)
    assert receipt.signature == b"signed"


def test_what_is_answered_in_one_moment_is_signed_once() -> None:
    signed: list[bytes] = []

    def sign(data: bytes) -> bytes:
        signed.append(data)
        return b"signed"

    orchestrator = OrchestratorMachine(RULES, node=NodeId("o"), sign=sign)
    jobs = [JobId(f"job{number}") for number in range(3)]
    for event in [*MET, Heard(W, offers(3)), *(Heard(G, order(job)) for job in jobs), Gathered()]:
        orchestrator.handle(event, NOW)
    asked = [told(orchestrator.handle(Heard(W, replace(result(), job=job)), NOW)) for job in jobs]
    assert asked == [["Gather"], [], []]
    sent = [effect.word for effect in orchestrator.handle(Gathered(), NOW) if isinstance(effect, Send)]
    receipts = [word.receipt for word in sent if isinstance(word, words.Result) and word.receipt]
    assert [receipt.job for receipt in receipts] == jobs
    assert {signed_bytes(receipt) for receipt in receipts} == set(signed)
    assert len(signed) == 1


TURNED_AWAY: list[tuple[str, Rules, list[Event], words.Job]] = [
    ("no_capacity", RULES, MET, order(model="other")),
    ("no_capacity", RULES, MET[:3], order()),
    ("busy", RULES, STORIES["leased"], order(JobId("next"))),
    ("busy", RULES, MET, order(price=Price(3))),
    ("unpaid", Rules(prices={"echo": PRICE}, gateway_credit_wei=Wei(34)), MET, order()),
]


@pytest.mark.parametrize(("code", "rules", "events", "asked"), TURNED_AWAY)
def test_what_cannot_be_done_is_turned_away_and_changes_nothing(
    code: str, rules: Rules, events: list[Event], asked: words.Job
) -> None:
    orchestrator = machine(*events, rules=rules)
    before = orchestrator.dump()
    outcome = orchestrator.handle(Heard(G, asked), NOW)
    assert told(outcome) == ["Send Failure g"]
    (failed,) = [e.word for e in outcome if isinstance(e, Send) and isinstance(e.word, words.Failure)]
    assert failed.fault.code == code
    assert orchestrator.dump() == before


@pytest.mark.parametrize("units_max", [-1, 2**62])
def test_an_order_that_no_receipt_can_name_is_untrusted(units_max: int) -> None:
    with pytest.raises(Untrusted):
        machine(*MET).handle(Heard(G, replace(order(), spec=JobSpec("echo", "echo", units_max))), NOW)


def test_an_answer_that_is_none_is_the_workers_fault() -> None:
    orchestrator = machine(*STORIES["leased"])
    body = encode_payload(Payload(b"no JSON"))
    orchestrator.handle(Heard(W, words.Result(JOB, 1, 4, 5, digest(body), body)), NOW)
    fault = orchestrator.tasks["job/1"].fault
    assert fault is not None
    assert (fault.code, "not of its pipeline's form" in fault.message) == ("failed", True)


def test_a_slot_is_leased_once() -> None:
    orchestrator = machine(*MET, Heard(W2, offers(2)))
    for n in range(3):
        orchestrator.handle(Heard(G, order(JobId(f"job {n}"))), NOW)
    held = [lease.holder for lease in orchestrator.leases]
    assert (held.count(W), held.count(W2)) == (1, 2)
    assert told(orchestrator.handle(Heard(G, order(JobId("one more"))), NOW)) == ["Send Failure g"]


def test_another_gateway_hears_what_is_taken() -> None:
    orchestrator = machine(*STORIES["leased"])
    assert [quote.taken for quote in orchestrator.capacity(G).quotes] == [0]
    assert [quote.taken for quote in orchestrator.capacity(G2).quotes] == [1]


def test_a_gateway_hears_where_an_orchestrator_is_and_what_a_cold_start_takes() -> None:
    offered = words.Offers((words.Offer("echo", "echo", 1, cold_ms=700, batch=3),))
    orchestrator = machine(*MET[:3], Heard(W, offered), rules=Rules(prices={"echo": PRICE}, region="north"))
    assert orchestrator.capacity(G) == words.Capacity(
        (words.Quote("echo", "echo", 1, 0, PRICE, cold_ms=700, batch=3),), "north", window_units=64
    )


def test_many_changes_at_once_are_said_once() -> None:
    orchestrator = machine(*MET, Heard(W, offers(3)))
    for number in range(3):
        orchestrator.handle(Heard(G, order(JobId(f"job {number}"))), NOW)
    said = [effect for effect in orchestrator.handle(Gathered(), NOW) if isinstance(effect, Send)]
    quote = words.Quote("echo", "echo", 3, 3, PRICE)
    assert said == [Send(G2, words.Capacity((quote,), window_units=64))]


def test_news_that_had_to_wait_is_said_with_a_tick() -> None:
    orchestrator = machine(*MET, rules=Rules(prices={"echo": PRICE}, capacity_words_per_s_max=1))
    orchestrator.handle(Heard(W, words.Offers(())), NOW)
    assert not any(isinstance(effect, Send) for effect in orchestrator.handle(Gathered(), NOW))
    assert orchestrator.busy()
    said = orchestrator.handle(Tick(), later(NOW, 60_000))
    assert {effect.peer for effect in said if isinstance(effect, Send)} == {G, G2}
    assert not orchestrator.busy()


def test_a_gateway_hears_of_a_lease_once_it_is_worth_a_word() -> None:
    orchestrator = machine(*STORIES["leased"])
    assert told(orchestrator.handle(Tick(), NOW))[0] == "Send Lease g"
    assert "Send Lease g" not in told(machine(*STORIES["earned"]).handle(Tick(), NOW))


def test_a_silent_worker_loses_its_lease() -> None:
    orchestrator = machine(*STORIES["leased"])
    orchestrator.handle(Disconnected(W), NOW)
    assert "Released" in told(orchestrator.handle(Tick(), later(NOW, RULES.reconnect_ms)))
    assert told(orchestrator.handle(Heard(W, result()), NOW)) == ["Send Cancel w"]


def test_an_answered_attempt_waits_for_its_gateway() -> None:
    orchestrator = machine(*STORIES["answered"])
    orchestrator.handle(Tick(), later(NOW, RULES.lease_ms + 1))
    assert task_of(orchestrator)[0] is Phase.LEASED
    orchestrator.handle(Tick(), later(NOW, 60_000 + 2 * RULES.lease_ms))
    assert task_of(orchestrator)[0] is Phase.RELEASED


def test_after_our_own_absence_others_have_their_time_again() -> None:
    orchestrator = machine(*STORIES["leased"])
    late = later(NOW, RULES.lease_ms + 5_000)
    orchestrator.handle(Absent(10_000), late)
    orchestrator.handle(Tick(), late)
    assert task_of(orchestrator)[0] is Phase.LEASED


def test_a_restarted_orchestrator_gives_every_lease_grace() -> None:
    orchestrator = machine()
    orchestrator.load(machine(*STORIES["leased"]).dump())
    start = later(NOW, 40_000)
    orchestrator.handle(Restarted(), start)
    orchestrator.handle(Tick(), later(start, RULES.lease_ms))
    assert task_of(orchestrator)[0] is Phase.LEASED
    orchestrator.handle(Tick(), later(start, 2 * RULES.lease_ms))
    assert task_of(orchestrator)[0] is Phase.RELEASED


def test_a_stream_runs_ahead_no_further_than_its_window() -> None:
    orchestrator = machine(*STORIES["leased"], rules=Rules(prices={"echo": PRICE}, window_units_max=4))

    def speak(units: int) -> list[str]:
        return told(orchestrator.handle(Heard(W, words.Progress(JOB, 1, units, units, "x")), NOW))

    assert [speak(units) for units in (2, 4, 6, 8)] == [["Send Progress g"], ["Send Progress g"], [], []]
    assert told(orchestrator.handle(Heard(G, words.Acknowledge(JOB, 1, 1)), NOW)) == []  # not worth a fact
    acknowledged = orchestrator.handle(Heard(G, words.Acknowledge(JOB, 1, 2)), NOW)
    assert told(acknowledged) == ["Acknowledged", "Send Progress g"]


@pytest.mark.parametrize("story", STORIES)
def test_a_snapshot_holds_everything_that_lasts(story: str) -> None:
    orchestrator = machine(*STORIES[story])
    copy = machine()
    copy.load(orchestrator.dump())
    copy.check()
    assert copy.dump() == orchestrator.dump()


@pytest.mark.parametrize("story", STORIES)
def test_a_replay_of_the_facts_arrives_at_the_same_state(story: str) -> None:
    orchestrator, facts = machine(), []
    for event in STORIES[story]:
        facts += [thing for thing in orchestrator.handle(event, NOW) if isinstance(thing, Fact)]
    assert machine(*facts).dump() == orchestrator.dump()


def test_ended_tasks_are_forgotten_one_day() -> None:
    orchestrator = machine(*MET, rules=Rules(prices={"echo": PRICE}, ended_tasks_max=1))
    for n in range(3):
        orchestrator.handle(Heard(G, order(JobId(f"job {n}"))), NOW)
        orchestrator.handle(Heard(G, words.Cancel(JobId(f"job {n}"), 1)), NOW)
    assert list(orchestrator.tasks) == ["job 2/1"]


def test_a_worker_that_never_had_an_order_gives_its_slot_back() -> None:
    """Killed between the commit and the order, an orchestrator comes back with a lease that nobody works on."""
    before = machine(*MET, Heard(G, order()))
    orchestrator = machine()
    orchestrator.load(before.dump())
    for event in (Restarted(), Connected(G, "gateway", "boot")):
        orchestrator.handle(event, NOW)
    asked = orchestrator.handle(Connected(W, "worker", "boot"), NOW)
    assert Send(W, words.Heartbeat((words.Held(JOB, 1),))) in asked
    orchestrator.handle(Heard(W, offers()), NOW)
    lost = Heard(W, words.Failure(JOB, 1, Fault("lost", "the worker does not have this job")))
    assert told(orchestrator.handle(lost, NOW)) == FAILED[:2]  # the news of this moment are gathered already
    assert len(orchestrator.leases) == 0


def test_an_answer_that_was_lost_with_the_gateway_s_connection_is_not_waited_for() -> None:
    """Its worker is gone as well, so nobody can say it again: the gateway may try another worker."""
    orchestrator = machine(
        *STORIES["answered"], Disconnected(G), Disconnected(W), Connected(G, "gateway", "boot")
    )
    soon = later(NOW, RULES.reconnect_ms)
    assert "Released" not in told(orchestrator.handle(Tick(), later(soon, -1)))
    assert told(orchestrator.handle(Tick(), soon)) == FAILED
    assert told(orchestrator.handle(Heard(G, words.Accept(JOB, 1, 4, Wei(14))), soon)) == ["Earned"]


def test_an_answer_that_is_said_again_to_a_gateway_that_came_back_is_waited_for() -> None:
    orchestrator = machine(
        *STORIES["answered"], Connected(G, "gateway", "boot"), Heard(W, result()), Disconnected(W)
    )
    assert "Released" not in told(orchestrator.handle(Tick(), later(NOW, 2 * RULES.lease_ms)))


def test_what_is_paid_for_in_one_moment_is_said_once_to_each() -> None:
    jobs = [JobId(f"job {number}") for number in range(3)]
    orchestrator = machine(*MET, Heard(W, offers(slots=3)), *(Heard(G, order(job)) for job in jobs))
    for job in jobs:
        orchestrator.handle(Heard(G, words.Accept(job, 1, 4, Wei(14))), NOW)
    said = [effect for effect in orchestrator.handle(Gathered(), NOW) if isinstance(effect, Send)]
    assert [effect for effect in said if isinstance(effect.word, words.Settled)] == [
        Send(G, words.Settled(tuple(words.Closed(job, 1, Wei(14)) for job in jobs))),
        Send(W, words.Settled(tuple(words.Closed(job, 1, Wei(4)) for job in jobs))),
    ]
