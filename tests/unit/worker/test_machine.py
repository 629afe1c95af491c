"""Every event in every phase of a job, decided: what a worker does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from shoal.errors import Untrusted
from shoal.ids import JobId, NodeId, digest
from shoal.machine import Connected, Deliver, Disconnected, Effect, Event, Fact, Heard, Send, Tick, Wake
from shoal.money.wei import Price, Wei
from shoal.sim.houses import verify
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import Fault, JobSpec, Payload
from shoal.worker.config import Rules
from shoal.worker.machine import (
    Drained,
    Draining,
    RunnerAnswered,
    RunnerFailed,
    RunnerGone,
    RunnerReady,
    RunnerSpoke,
    WorkerMachine,
)

NOW = Instant(1_000_000)
W, O1, O2 = NodeId("w"), NodeId("o1"), NodeId("o2")
JOB = JobId("job")
NEED = ("echo", "echo")
BODY = encode_payload(Payload(b"{}"))
RULES = Rules(answer_bytes_max=100)
FAULT = Fault("failed", "it did not work")


def order(job: JobId = JOB, epoch: int = 1) -> words.Job:
    spec = JobSpec("echo", "echo", units_max=10)
    return words.Job(job, epoch, spec, Price(1), 60_000, digest(BODY), BODY, 800_000)


def machine(*events: Event) -> WorkerMachine:
    made = WorkerMachine(RULES, node=W, verify=verify)
    for event in events:
        made.handle(event, NOW)
        made.check()
    return made


MET: list[Event] = [
    Connected(O1, "orchestrator", "boot"),
    Connected(O2, "orchestrator", "boot"),
    RunnerReady(NEED, 1),
]
ANSWER = RunnerAnswered(JOB, 1, 4, 5, b"answer")

#: How a job comes into each phase.
STORIES: dict[str, list[Event]] = {
    "unknown": MET,
    "running": [*MET, Heard(O1, order())],
    "answered": [*MET, Heard(O1, order()), ANSWER],
    "closed": [*MET, Heard(O1, order()), ANSWER, Heard(O1, words.Settled.of(JOB, 1, Wei(3)))],
}

EVENTS: dict[str, Event] = {
    "order": Heard(O1, order()),
    "another's order": Heard(O2, order()),
    "another order": Heard(O1, order(JobId("another"))),
    "order of another body": Heard(O1, replace(order(JobId("another")), body=b"other")),
    "cancel": Heard(O1, words.Cancel(JOB, 1)),
    "another's cancel": Heard(O2, words.Cancel(JOB, 1)),
    "cancel under another epoch": Heard(O1, words.Cancel(JOB, 2)),
    "settled": Heard(O1, words.Settled.of(JOB, 1, Wei(3))),
    "another's settled": Heard(O2, words.Settled.of(JOB, 1, Wei(3))),
    "heartbeat": Heard(O1, words.Heartbeat((words.Held(JOB, 1),))),
    "a word for others": Heard(O1, words.Capacity(())),
    "runner spoke": RunnerSpoke(JOB, 1, 2, 0, "text"),
    "runner answered": ANSWER,
    "runner answered too much": replace(ANSWER, body=bytes(101)),
    "runner failed": RunnerFailed(JOB, 1, FAULT),
    "runner ready": RunnerReady(NEED, 1),
    "runner gone": RunnerGone(NEED),
    "draining": Draining(),
    "orchestrator went": Disconnected(O1),
}


def told(outcome: Sequence[Effect | Fact]) -> list[str]:
    """What was asked for, in short; timers left out."""
    lines = []
    for thing in outcome:
        match thing:
            case Wake():
                pass
            case Send(peer, words.Offers(given)):
                lines.append(f"Send Offers {peer} {sum(offer.slots for offer in given)}")
            case Send(peer, word) | Deliver(_, peer, word):
                lines.append(f"{type(thing).__name__} {type(word).__name__} {peer}")
            case _:
                lines.append(type(thing).__name__)
    return lines


def offered(outcome: Sequence[Effect | Fact]) -> list[words.Offer]:
    """What was offered to the first orchestrator."""
    sent = [e.word for e in outcome if isinstance(e, Send) and e.peer == O1]
    return [offer for word in sent if isinstance(word, words.Offers) for offer in word.offers]


IDLE = ("unknown", "answered", "closed")

#: What follows; nothing where there is no line.
DECISIONS: dict[tuple[str, str], list[str] | type[Exception]] = {
    **{(story, "order of another body"): Untrusted for story in STORIES},
    **{(story, "a word for others"): Untrusted for story in STORIES},
    **{(story, "another order"): ["Run", "Send Offers o2 0"] for story in IDLE},
    **{(story, "runner ready"): ["Send Offers o1 1", "Send Offers o2 1"] for story in IDLE},
    **{(story, "runner gone"): ["Send Offers o1 0", "Send Offers o2 0"] for story in STORIES},
    **{(story, "draining"): ["Send Offers o1 0", "Send Offers o2 0"] for story in STORIES},
    ("unknown", "draining"): ["Send Offers o1 0", "Send Offers o2 0", "Drained"],
    ("closed", "draining"): ["Send Offers o1 0", "Send Offers o2 0", "Drained"],
    ("unknown", "heartbeat"): ["Send Failure o1"],
    ("closed", "heartbeat"): ["Send Failure o1"],
    ("closed", "order"): ["Send Failure o1"],
    ("unknown", "order"): ["Run", "Send Offers o2 0"],
    ("unknown", "another's order"): ["Run", "Send Offers o1 0"],
    ("closed", "another's order"): ["Run", "Send Offers o1 0"],
    ("running", "another's order"): Untrusted,
    ("answered", "another's order"): Untrusted,
    ("running", "another order"): ["Send Failure o1"],
    ("running", "cancel"): ["Stop"],
    ("running", "settled"): ["Stop"],
    ("running", "runner spoke"): ["Send Progress o1"],
    ("running", "runner answered"): ["Deliver Result o1"],
    ("running", "runner answered too much"): ["Send Failure o1"],
    ("running", "runner failed"): ["Send Failure o1"],
    ("running", "runner ready"): ["Send Offers o1 1", "Send Offers o2 0"],
    ("answered", "cancel"): ["Retire"],
    ("answered", "settled"): ["Retire"],
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("story", STORIES)
def test_every_event_in_every_phase(story: str, event: str) -> None:
    worker = machine(*STORIES[story])
    expected = DECISIONS.get((story, event), [])
    if isinstance(expected, type):
        before = dict(worker.tasks)
        with pytest.raises(expected):
            worker.handle(EVENTS[event], NOW)
        assert worker.tasks == before
    else:
        assert told(worker.handle(EVENTS[event], NOW)) == expected
    worker.check()


def test_a_cold_runner_takes_jobs_and_says_what_the_first_will_wait() -> None:
    worker = machine(Connected(O1, "orchestrator", "boot"))
    cold = worker.handle(RunnerReady(NEED, 2, cold_ms=900, batch=2), NOW)
    assert words.Offer(*NEED, 2, 900, 2) in offered(cold)
    assert "Run" in told(worker.handle(Heard(O1, order()), NOW))
    warm = worker.handle(RunnerReady(NEED, 2, batch=2), NOW)
    assert words.Offer(*NEED, 2, 0, 2) in offered(warm)


def test_what_an_orchestrator_settled_is_counted_once() -> None:
    worker = machine(*STORIES["answered"])
    for _ in range(2):
        worker.handle(Heard(O1, words.Settled.of(JOB, 1, Wei(3))), NOW)
    assert worker.earnings.counted(O1) == 3


def test_of_many_settled_at_once_one_share_too_large_spoils_all() -> None:
    worker = machine(*STORIES["answered"])
    settled = words.Settled((words.Closed(JOB, 1, Wei(3)), words.Closed(JOB, 1, Wei(10**9))))
    with pytest.raises(Untrusted):
        worker.handle(Heard(O1, settled), NOW)
    assert worker.earnings.counted(O1) == 0


def test_a_closed_job_does_not_run_again() -> None:
    worker = machine(*STORIES["closed"])
    assert told(worker.handle(Heard(O1, order()), NOW)) == ["Send Failure o1"]
    assert "Run" in told(worker.handle(Heard(O1, order(epoch=2)), NOW))


def test_a_cancel_may_overtake_its_order() -> None:
    worker = machine(*MET, Heard(O1, words.Cancel(JOB, 1)))
    assert told(worker.handle(Heard(O1, order()), NOW)) == ["Send Failure o1"]
    assert not worker.tasks


def test_closed_jobs_are_forgotten_one_day() -> None:
    worker = WorkerMachine(Rules(closed_max=2), node=W, verify=verify)
    for event in (*MET, *(Heard(O1, words.Cancel(JobId(f"job {n}"), 1)) for n in range(3))):
        worker.handle(event, NOW)
    assert "Run" in told(worker.handle(Heard(O1, order(JobId("job 0"))), NOW))
    assert told(worker.handle(Heard(O1, order(JobId("job 2"))), NOW)) == ["Send Failure o1"]


def test_a_heartbeat_names_what_is_held_for_whom() -> None:
    worker = machine(*STORIES["answered"])
    sent = [e for e in worker.handle(Tick(), NOW) if isinstance(e, Send)]
    beats = [e for e in sent if isinstance(e.word, words.Heartbeat)]
    assert [(beat.peer, beat.word) for beat in beats] == [(O1, words.Heartbeat((words.Held(JOB, 1),)))]
    soon = worker.handle(Tick(), later(NOW, RULES.heartbeat_ms - 1))
    assert "Send Heartbeat o1" not in told(soon)


def test_a_slot_that_came_free_is_told_others_a_moment_later_and_as_it_stands_then() -> None:
    worker = machine(*STORIES["answered"])
    worker.handle(Heard(O1, order(JobId("next"))), NOW)
    again = told(worker.handle(RunnerAnswered(JobId("next"), 1, 4, 5, b"answer"), NOW))
    assert again == ["Deliver Result o1"]
    assert "Send Offers o2 1" in told(worker.handle(Tick(), NOW))
    assert not any(line.startswith("Send Offers") for line in told(worker.handle(Tick(), NOW)))
    worker.handle(Heard(O1, order(JobId("third"))), NOW)
    worker.handle(RunnerFailed(JobId("third"), 1, FAULT), NOW)
    filled = told(worker.handle(Heard(O1, order(JobId("fourth"))), NOW))
    assert filled == ["Run", "Send Offers o2 0"]


def test_a_job_that_runs_beyond_its_deadline_is_stopped() -> None:
    worker = machine(*STORIES["running"])
    assert told(worker.handle(Tick(), later(NOW, 60_000)))[:2] == ["Stop", "Send Failure o1"]


def test_an_answer_that_nobody_settles_is_dropped_one_day() -> None:
    worker = machine(*STORIES["answered"])
    worker.handle(Tick(), later(NOW, 60_000))
    assert worker.tasks
    assert "Retire" in told(worker.handle(Tick(), later(NOW, 60_000 + RULES.answer_keep_ms)))
    assert not worker.tasks


def test_a_draining_worker_takes_nothing_and_says_when_it_is_done() -> None:
    worker = machine(*STORIES["running"], Draining())
    assert told(worker.handle(Heard(O1, order(JobId("next"))), NOW)) == ["Send Failure o1"]
    outcome = worker.handle(RunnerFailed(JOB, 1, FAULT), NOW)
    assert isinstance(outcome[-1], Drained)


@pytest.mark.parametrize("story", ["running", "answered"])
def test_a_draining_worker_waits_for_an_orchestrator_that_is_gone_but_not_for_long(story: str) -> None:
    worker = machine(*STORIES[story], Draining(), Disconnected(O1))
    before = later(NOW, RULES.reconnect_ms - 1)
    assert "Drained" not in told(worker.handle(Tick(), before))
    worker.handle(Connected(O1, "orchestrator", "boot"), before)
    assert "Drained" not in told(worker.handle(Tick(), later(NOW, RULES.reconnect_ms)))
    worker.handle(Disconnected(O1), NOW)
    assert "Drained" in told(worker.handle(Tick(), later(NOW, RULES.reconnect_ms)))


def test_an_order_that_was_said_to_be_lost_is_not_run_when_it_comes_late() -> None:
    worker = machine(*MET)
    answers = worker.handle(Heard(O1, words.Heartbeat((words.Held(JOB, 1),))), NOW)
    assert [(type(e.word), e.word.fault.code) for e in answers if isinstance(e, Send)] == [
        (words.Failure, "lost")
    ]
    assert told(worker.handle(Heard(O1, order()), NOW)) == ["Send Failure o1"]
    assert not worker.tasks
