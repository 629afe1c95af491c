"""Every event in every phase of a job, decided: what a gateway journals and what it does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from shoal.errors import Untrusted
from shoal.gateway.config import Rules
from shoal.gateway.events import CancelAsked, Consumed, Reply, Submitted
from shoal.gateway.machine import GatewayMachine
from shoal.ids import ClientId, JobId, NodeId, digest
from shoal.machine import (
    Absent,
    Alarm,
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
    Wake,
)
from shoal.money.wei import Price, Wei
from shoal.units import Instant
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import Fault, JobSpec, Payload, Quote
from shoal.work.lifecycle import Phase
from shoal.work.receipt import Terms

NOW = Instant(1_000_000)
ANNA, BEN = ClientId("anna"), ClientId("ben")
O1, O2 = NodeId("o1"), NodeId("o2")
JOB = JobId("job")
SPEC = JobSpec("echo", "echo", units_max=10, stream=True)
PRICE = Price(7, 2)
BODY = encode_payload(Payload(b"{}"))
ANSWER = encode_payload(Payload(b'"answer"'))
RULES = Rules(fee_ppm=100_000, attempts_max=2)


def submitted(job: JobId = JOB, client: ClientId = ANNA, *, key: str = "", body: bytes = BODY) -> Submitted:
    return Submitted(job, client, SPEC, body, PRICE, 60_000, key)


def result(epoch: int = 1, *, units: int = 4, orchestrator: NodeId = O1) -> words.Result:
    terms = Terms(JOB, epoch, orchestrator, SPEC, PRICE, digest(BODY))
    receipt = replace(terms.receipt(NodeId("w"), units, digest(ANSWER), 5), signature=b"signed")
    return words.Result(JOB, epoch, units, 5, digest(ANSWER), ANSWER, receipt)


def failure(code: str, epoch: int = 1) -> words.Failure:
    return words.Failure(JOB, epoch, Fault(code, "it did not work"))


def connected(peer: NodeId = O1, slots: int = 1) -> list[Event]:
    quote = Quote("echo", "echo", slots, 0, PRICE)
    return [Connected(peer, "orchestrator", "boot"), Heard(peer, words.Capacity((quote,)))]


def machine(*events: Event, rules: Rules = RULES) -> GatewayMachine:
    made = GatewayMachine(rules, verify=lambda node, data, signature: signature == b"signed")
    for event in events:
        made.handle(event, NOW)
        made.check()
    return made


#: How a job comes into each phase.
STORIES: dict[str, list[Event]] = {
    "unknown": connected(),
    # Submitted where somebody sells, but nobody is free: the one slot is Ben's.
    "queued": [*connected(), submitted(JobId("other"), BEN), submitted()],
    "leased": [*connected(), submitted()],
    "done": [*connected(), submitted(), Heard(O1, result())],
    "failed": [*connected(), submitted(), Heard(O1, failure("refused"))],
    "cancelled": [*connected(), submitted(), CancelAsked(JOB, ANNA)],
}

EVENTS: dict[str, Event] = {
    "cancel": CancelAsked(JOB, ANNA),
    "another's cancel": CancelAsked(JOB, BEN),
    "consumed": Consumed(JOB, 3),
    "lease": Heard(O1, words.Lease(JOB, 1, NodeId("w"))),
    "heartbeat": Heard(O1, words.Heartbeat((words.Held(JOB, 1),))),
    "old heartbeat": Heard(O1, words.Heartbeat((words.Held(JOB, 0),))),
    "progress": Heard(O1, words.Progress(JOB, 1, 2, 0, "text")),
    "result": Heard(O1, result()),
    "result under another epoch": Heard(O1, result(2)),
    "unsigned result": Heard(O1, replace(result(), receipt=None)),
    "result of other bytes": Heard(O1, replace(result(), body=b"other")),
    "result of negative units": Heard(O1, result(units=-1)),
    "failure": Heard(O1, failure("failed")),
    "refusal": Heard(O1, failure("refused")),
    "busy": Heard(O1, failure("busy")),
    "failure under another epoch": Heard(O1, failure("failed", 2)),
    "settled": Heard(O1, words.Settled.of(JOB, 1, Wei(14))),
    "disconnected": Disconnected(O1),
    "restarted": Restarted(),
    "absent": Absent(5_000),
    "tick": Tick(),
    "stranger's result": Heard(O2, result()),
}


def told(outcome: Sequence[Effect | Fact]) -> list[str]:
    """What was decided and asked for, in short; timers left out."""
    lines = []
    for thing in outcome:
        match thing:
            case Send(peer, word) | Deliver(_, peer, word):
                lines.append(f"{type(thing).__name__} {type(word).__name__} {peer}")
            case Wake():
                pass
            case _:
                lines.append(type(thing).__name__)
    return lines


#: Words about an attempt that may not count any more: whoever says them is told so.
ABOUT_AN_ATTEMPT = (
    "heartbeat",
    "progress",
    "result",
    "unsigned result",
    "result of other bytes",
    "result of negative units",
)
OF_ANOTHER_EPOCH = ("old heartbeat", "result under another epoch")
AGAIN = ["Returned", "Retire", "Deliver Cancel o1", "Notice", "Placed", "Deliver Job o1", "Notice"]

#: What follows; nothing where there is no line.
DECISIONS: dict[tuple[str, str], list[str] | type[Exception]] = {
    **{(story, "another's cancel"): Untrusted for story in STORIES},
    **{(story, "stranger's result"): Untrusted for story in STORIES},
    **{(story, "settled"): ["Retire"] for story in ("unknown", "queued", "leased", "done")},
    # They were paid nothing, and say that they booked 14 wei.
    **{(story, "settled"): ["Retire", "Alarm"] for story in ("failed", "cancelled")},
    **{(story, event): ["Send Cancel o1"] for story in STORIES for event in OF_ANOTHER_EPOCH},
    **{
        (story, event): ["Send Cancel o1"]
        for story in ("unknown", "queued", "failed", "cancelled")
        for event in ABOUT_AN_ATTEMPT
    },
    **{
        (story, "lease"): ["Send Cancel o1", "Retire"]
        for story in ("unknown", "queued", "failed", "cancelled")
    },
    **{("done", event): ["Send Accept o1"] for event in ABOUT_AN_ATTEMPT},
    ("done", "lease"): ["Send Accept o1", "Retire"],
    ("unknown", "cancel"): Untrusted,
    ("queued", "cancel"): ["Withdrawn", "Notice", "Send Demand o1"],
    ("leased", "cancel"): ["Withdrawn", "Retire", "Deliver Cancel o1", "Notice"],
    ("leased", "lease"): ["Retire"],
    ("leased", "progress"): ["Streamed"],
    ("leased", "result"): ["Keep", "Answered", "Retire", "Deliver Accept o1", "Notice"],
    ("leased", "unsigned result"): AGAIN,
    ("leased", "result of other bytes"): AGAIN,
    ("leased", "result of negative units"): AGAIN,
    ("leased", "failure"): AGAIN,
    ("leased", "refusal"): ["Returned", "Retire", "Deliver Cancel o1", "Notice", "Abandoned", "Notice"],
    ("leased", "busy"): ["Returned", "Retire", "Deliver Cancel o1", "Notice", "Send Demand o1"],
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("story", STORIES)
def test_every_event_in_every_phase(story: str, event: str) -> None:
    gateway = machine(*STORIES[story])
    before = gateway.dump()
    expected = DECISIONS.get((story, event), [])
    if isinstance(expected, type):
        with pytest.raises(expected):
            gateway.handle(EVENTS[event], NOW)
        assert gateway.dump() == before
    else:
        assert told(gateway.handle(EVENTS[event], NOW)) == expected
    gateway.check()


def end_of(gateway: GatewayMachine, job: JobId = JOB) -> tuple[Phase, int, int]:
    return gateway.jobs[job].phase, gateway.jobs[job].wei, gateway.jobs[job].fee


def test_an_answer_is_paid_at_its_price_and_the_fee_comes_on_top() -> None:
    gateway = machine(*STORIES["done"])
    assert end_of(gateway) == (Phase.DONE, 14, 1)
    assert gateway.ledger.balances == {"client:anna": -15, "orchestrator:o1": 14, "fees": 1}
    assert not gateway.ledger.holds


def test_units_beyond_the_agreed_most_are_not_paid() -> None:
    gateway = machine(*STORIES["leased"], Heard(O1, result(units=1_000)))
    assert end_of(gateway) == (Phase.DONE, PRICE.cost(10), 3)


def test_what_did_not_arrive_costs_nothing() -> None:
    for story in ("failed", "cancelled"):
        assert not any(machine(*STORIES[story]).ledger.balances.values())


def test_a_cancelled_stream_is_paid_as_far_as_it_was_acknowledged() -> None:
    gateway = machine(
        *STORIES["leased"],
        Heard(O1, words.Progress(JOB, 1, 5, 0, "five")),
        Consumed(JOB, 3),
        CancelAsked(JOB, ANNA),
    )
    assert end_of(gateway) == (Phase.CANCELLED, PRICE.cost(3), 1)


def test_what_another_attempt_sent_is_not_paid_for_on_cancelling() -> None:
    gateway = machine(
        *STORIES["leased"],
        Heard(O1, words.Progress(JOB, 1, 5, 0, "five")),
        Consumed(JOB, 5),
        Heard(O1, failure("failed")),
        CancelAsked(JOB, ANNA),
    )
    assert gateway.jobs[JOB].epoch == 2
    assert end_of(gateway) == (Phase.CANCELLED, 0, 0)


def test_a_job_is_given_up_after_its_attempts() -> None:
    gateway = machine(*STORIES["leased"], Heard(O1, failure("failed", 1)), Heard(O1, failure("failed", 2)))
    assert end_of(gateway)[0] is Phase.FAILED
    assert gateway.jobs[JOB].failures == 2


def test_a_busy_orchestrator_costs_no_attempt_and_is_left_alone_for_a_while() -> None:
    gateway = machine(*STORIES["leased"], Heard(O1, failure("busy")))
    assert gateway.jobs[JOB].phase is Phase.QUEUED
    assert gateway.jobs[JOB].failures == 0
    gateway.handle(Tick(), Instant(NOW + RULES.busy_pause_ms))
    assert gateway.jobs[JOB].phase is Phase.LEASED


def test_a_failed_job_goes_elsewhere_before_it_goes_back() -> None:
    gateway = machine(*connected(O1), *connected(O2), submitted())
    first = gateway.jobs[JOB].orchestrator
    gateway.handle(Heard(first, failure("failed")), NOW)
    assert gateway.jobs[JOB].orchestrator != first


def test_a_job_does_not_wait_for_a_seller_that_is_too_dear() -> None:
    dear = Quote("echo", "echo", 1, 0, Price(1_000))
    gateway = machine(
        *connected(O1),
        Connected(O2, "orchestrator", "boot"),
        Heard(O2, words.Capacity((dear,))),
        submitted(),
        Heard(O1, failure("failed")),
    )
    assert (gateway.jobs[JOB].orchestrator, gateway.jobs[JOB].epoch) == (O1, 2)


def test_a_silent_orchestrator_loses_the_job_and_its_late_answer_is_refused() -> None:
    gateway = machine(*STORIES["leased"])
    gateway.handle(Disconnected(O1), NOW)
    gateway.handle(Tick(), Instant(NOW + RULES.reconnect_ms))
    assert gateway.jobs[JOB].phase is Phase.QUEUED
    assert told(gateway.handle(Heard(O1, result()), NOW)) == ["Send Cancel o1"]


def test_after_our_own_absence_others_have_their_time_again() -> None:
    gateway = machine(*STORIES["leased"])
    late = Instant(NOW + RULES.lease_ms + 5_000)
    gateway.handle(Absent(10_000), late)
    gateway.handle(Tick(), late)
    assert gateway.jobs[JOB].phase is Phase.LEASED


def test_a_restarted_gateway_gives_every_lease_grace() -> None:
    gateway = machine()
    gateway.load(machine(*STORIES["leased"]).dump())
    start = Instant(NOW + 30_000)
    gateway.handle(Restarted(), start)
    gateway.handle(Tick(), Instant(start + RULES.lease_ms))
    assert gateway.jobs[JOB].phase is Phase.LEASED
    gateway.handle(Tick(), Instant(start + 2 * RULES.lease_ms))
    assert gateway.jobs[JOB].phase is not Phase.LEASED


@pytest.mark.parametrize("story", ["queued", "leased"])
def test_the_deadline_ends_a_job(story: str) -> None:
    gateway = machine(*STORIES[story])
    gateway.handle(Tick(), Instant(NOW + 60_000))
    assert end_of(gateway)[0] is Phase.FAILED
    fault = gateway.jobs[JOB].fault
    assert fault is not None
    assert fault.code == "expired"


def reply(gateway: GatewayMachine, event: Submitted) -> Reply:
    (found,) = [effect for effect in gateway.handle(event, NOW) if isinstance(effect, Reply)]
    return found


def test_a_key_means_one_job_and_one_request() -> None:
    gateway = machine(*connected(), submitted(key="k"))
    assert reply(gateway, submitted(JobId("second"), key="k")) == Reply(JobId("second"), JOB)
    refused = reply(gateway, submitted(JobId("third"), key="k", body=b"other"))
    assert refused.fault is not None
    assert refused.fault.code == "conflict"
    assert reply(gateway, submitted(JobId("fourth"), BEN, key="k")).job == "fourth"


REFUSALS: list[tuple[str, Rules, list[Event], Submitted]] = [
    ("no_capacity", RULES, [], submitted()),
    ("unknown_model", RULES, connected(), replace(submitted(), spec=JobSpec("echo", "other", 1))),
    ("no_credit", Rules(client_credit_wei=Wei(1)), connected(), submitted()),
    ("busy", Rules(queue_jobs_max=0), connected(), submitted()),
    ("busy", Rules(queue_jobs_per_client_max=0), connected(), submitted()),
    ("busy", Rules(keys_max=0), connected(), submitted(key="k")),
]


@pytest.mark.parametrize(("code", "rules", "events", "event"), REFUSALS)
def test_a_refused_submission_changes_nothing(
    code: str, rules: Rules, events: list[Event], event: Submitted
) -> None:
    gateway = machine(*events, rules=rules)
    before = gateway.dump()
    answer = reply(gateway, event)
    assert answer.job is None
    assert answer.fault is not None
    assert answer.fault.code == code
    assert gateway.dump() == before


def test_only_its_orchestrator_retires_a_settlement() -> None:
    gateway = machine(*STORIES["done"], *connected(O2))
    keys = [
        effect.key
        for peer in (O1, O2)
        for effect in gateway.handle(Heard(peer, words.Settled.of(JOB, 1, Wei(14))), NOW)
        if isinstance(effect, Retire)
    ]
    assert len(set(keys)) == 2


def test_a_bug_sets_its_job_aside_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = machine(*connected(slots=2), submitted(), submitted(JobId("other")))
    monkeypatch.setattr(GatewayMachine, "_believes", lambda *_: 1 // 0)
    outcome = gateway.handle(Heard(O1, result()), NOW)
    assert [type(thing) for thing in outcome[:2]] == [Alarm, Quarantined]
    gateway.check()
    assert end_of(gateway)[0] is Phase.FAILED
    assert end_of(gateway, JobId("other"))[0] is Phase.LEASED


@pytest.mark.parametrize("story", STORIES)
def test_a_snapshot_holds_everything_that_lasts(story: str) -> None:
    gateway = machine(*STORIES[story])
    copy = machine()
    copy.load(gateway.dump())
    copy.check()
    assert copy.dump() == gateway.dump()


@pytest.mark.parametrize("story", STORIES)
def test_a_replay_of_the_facts_arrives_at_the_same_state(story: str) -> None:
    gateway, facts = machine(), []
    for event in STORIES[story]:
        facts += [thing for thing in gateway.handle(event, NOW) if isinstance(thing, Fact)]
    assert machine(*facts).dump() == gateway.dump()


def test_ended_jobs_without_a_key_are_forgotten_one_day() -> None:
    gateway = machine(*connected(), rules=Rules(ended_jobs_max=1))
    for n in range(3):
        gateway.handle(submitted(JobId(f"job {n}")), NOW)
        gateway.handle(CancelAsked(JobId(f"job {n}"), ANNA), NOW)
    assert list(gateway.jobs) == ["job 1", "job 2"]


def test_a_job_with_a_key_is_remembered_as_long_as_its_key() -> None:
    gateway = machine(*connected(), submitted(key="k"), CancelAsked(JOB, ANNA), rules=Rules(ended_jobs_max=0))
    gateway.handle(submitted(JobId("next")), NOW)
    assert JOB in gateway.jobs
    gateway.handle(submitted(JobId("later")), Instant(NOW + RULES.key_window_ms))
    assert JOB not in gateway.jobs


def test_an_orchestrator_that_comes_back_is_asked_about_its_leases() -> None:
    """It may have said that they failed while this gateway was not there."""
    gateway = machine(*connected(), submitted())
    asked = gateway.handle(Connected(O1, "orchestrator", "boot"), NOW)
    assert Send(O1, words.Heartbeat((words.Held(JOB, 1),))) in asked
    assert not gateway.handle(Connected(O2, "orchestrator", "boot"), NOW)
