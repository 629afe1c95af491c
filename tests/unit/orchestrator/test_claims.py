"""What a worker may claim: no more units than what it has given can be worth."""

from __future__ import annotations

import pytest

from shoal.ids import JobId, NodeId, digest
from shoal.machine import Connected, Heard, Send
from shoal.money.wei import Price
from shoal.orchestrator.config import Rules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.units import Instant
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import Fault, JobSpec, Payload
from shoal.work.task import Phase

NOW = Instant(1_000_000)
G, W = NodeId("g"), NodeId("w")
JOB = JobId("job")
PRICE = Price(7, 2)
CHAT = encode_payload(Payload(b'{"messages":[{"role":"user","content":"hello"}],"max_tokens":100}'))
SAID = encode_payload(
    Payload(b'{"id":"c","model":"m","created":1,"usage":{},"choices":[{"message":{"content":"Hello."}}]}')
)


def chatting() -> OrchestratorMachine:
    """A machine with a chat at work: of 185 units 100 are the answer's, and no byte of it is more than one."""
    spec = JobSpec("llm", "m", units_max=185, stream=True, pieces_max=100)
    rules = Rules(prices={"llm": PRICE}, window_units_max=1_000)
    made = OrchestratorMachine(rules, node=NodeId("o"), sign=lambda data: b"signed")
    for event in (
        Connected(G, "gateway", "boot"),
        Connected(W, "worker", "boot"),
        Heard(W, words.Offers((words.Offer("llm", "m", 1),))),
        Heard(G, words.Job(JOB, 1, spec, PRICE, 60_000, digest(CHAT), CHAT)),
    ):
        made.handle(event, NOW)
    return made


@pytest.mark.parametrize("units", [85 + 6 + 16, 85 + 6 + 17])
def test_a_worker_that_claims_more_than_its_answer_is_worth_gave_a_bad_one(units: int) -> None:
    orchestrator = chatting()
    orchestrator.handle(Heard(W, words.Result(JOB, 1, units, 5, digest(SAID), SAID)), NOW)
    fault = orchestrator.tasks["job/1"].fault
    if units == 85 + 6 + 16:
        assert fault is None
    else:
        assert fault == Fault("failed", "108 units are claimed for what is worth 107 at most")
        assert orchestrator.tasks["job/1"].phase is Phase.RELEASED


@pytest.mark.parametrize("units", [85 + 7 + 16, 85 + 7 + 17])
def test_a_worker_that_claims_more_than_its_stream_is_worth_gave_a_bad_one(units: int) -> None:
    orchestrator = chatting()
    told_gateway = [
        effect.word
        for piece in (words.Progress(JOB, 1, 85, 0, "Hé"), words.Progress(JOB, 1, units, 2, "llo\n"))
        for effect in orchestrator.handle(Heard(W, piece), NOW)
        if isinstance(effect, Send) and isinstance(effect.word, words.Progress)
    ]
    good = units == 85 + 7 + 16
    assert [word.units for word in told_gateway] == ([85, units] if good else [85])
    assert (orchestrator.tasks["job/1"].phase is Phase.LEASED) == good
