"""How workers are paid and told of it: every word about wages, batches and winners in every phase of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from shoal.errors import Untrusted
from shoal.ids import JobId, NodeId, digest
from shoal.machine import (
    Alarm,
    Connected,
    Deliver,
    Disconnected,
    Effect,
    Event,
    Fact,
    Gather,
    Gathered,
    Heard,
    Restarted,
    Retire,
    Send,
    Tick,
    Wake,
)
from shoal.money.payee import Payee, TicketsTaken
from shoal.money.terms import PayeeRules
from shoal.money.ticket import SignedTicket, Ticket, WinningTicket, uint256
from shoal.money.wei import Price, Wei
from shoal.orchestrator.config import Rules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.orchestrator.payroll import CHAIN, PAYING, PayoutEnded, PayoutPlanned
from shoal.orchestrator.till import Paid
from shoal.sim.houses import sign, verify
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import JobSpec, Payload
from shoal.work.account import account_bytes, batch_id
from shoal.work.seal import signed_bytes

NOW = Instant(1_000_000)
O1, G, R, R2 = NodeId("o"), NodeId("g"), NodeId("r"), NodeId("r2")
W, W2, PURSE = NodeId("0x" + 40 * "1"), NodeId("0x" + 40 * "2"), NodeId("0x" + 40 * "9")
BODY = encode_payload(Payload(b"{}"))
ANSWER = encode_payload(Payload(b'"answer"'))
#: A job brings its worker 50 wei; two of them are worth a payment.
RULES = Rules(
    prices={"echo": Price(10)},
    share_ppm=500_000,
    redeemer=R,
    payout_min_wei=Wei(100),
    payout_dust_wei=Wei(20),
    payout_look_ms=1_000,
    payout_ms=60_000,
)
TRANSACTION = "0x" + 64 * "7"


def offers(payout: str = "", share_ppm_min: int = 0, float_wei: int = 10**18) -> words.Offers:
    return words.Offers((words.Offer("echo", "echo", 9),), NodeId(payout), share_ppm_min, Wei(float_wei))


def job(number: int, worker: NodeId = W) -> list[Event]:
    name = JobId(f"job {number}")
    order = words.Job(name, 1, JobSpec("echo", "echo", 10), Price(10), 60_000, digest(BODY), BODY)
    result = words.Result(name, 1, 10, 5, digest(ANSWER), ANSWER)
    return [Heard(G, order), Heard(worker, result), Gathered(), Heard(G, words.Accept(name, 1, 10, Wei(100)))]


def machine(*events: Event, rules: Rules = RULES) -> OrchestratorMachine:
    made = OrchestratorMachine(rules, node=O1, sign=lambda data: sign(O1, data))
    for event in events:
        if Gather() in made.handle(event, NOW):
            made.handle(Gathered(), NOW)
        made.check()
    return made


MET: list[Event] = [
    Connected(G, "gateway", "boot"),
    Connected(W, "worker", "boot"),
    Heard(W, offers(PURSE)),
    Connected(R, "redeemer", "boot"),
    Connected(R2, "redeemer", "boot"),
]
BATCH = batch_id(O1, 1)

STORIES: dict[str, list[Event]] = {
    "nothing earned": MET,
    "a little earned": [*MET, *job(1)],
    "planned": [*MET, *job(1), *job(2), Tick()],
    "confirmed": [
        *MET,
        *job(1),
        *job(2),
        Tick(),
        Heard(R, words.PaidOut(BATCH, "confirmed", TRANSACTION)),
    ],
    "refused": [*MET, *job(1), *job(2), Tick(), Heard(R, words.PaidOut(BATCH, "refused", why="no money"))],
}

EVENTS: dict[str, Event] = {
    "tick": Tick(),
    "confirmed": Heard(R, words.PaidOut(BATCH, "confirmed", TRANSACTION)),
    "refused": Heard(R, words.PaidOut(BATCH, "refused", why="no money")),
    "sent": Heard(R, words.PaidOut(BATCH, "sent", TRANSACTION)),
    "another batch": Heard(R, words.PaidOut(bytes(32), "confirmed", TRANSACTION)),
    "another redeemer's word": Heard(R2, words.PaidOut(BATCH, "confirmed", TRANSACTION)),
    "a worker's word": Heard(W, words.PaidOut(BATCH, "confirmed", TRANSACTION)),
    "a gateway's word": Heard(G, words.PaidOut(BATCH, "confirmed", TRANSACTION)),
    "ticket of nobody": Heard(R, words.Redemption(bytes(32), "confirmed")),
    "another redeemer's ticket": Heard(R2, words.Redemption(bytes(32), "confirmed")),
    "account asked": Heard(W, words.AccountAsked()),
    "receipt asked": Heard(W, words.ReceiptAsked(JobId("job 1"), 1)),
    "gateway asks for an account": Heard(G, words.AccountAsked()),
    "worker came again": Connected(W, "worker", "boot"),
    "worker went": Disconnected(W),
    "redeemer went": Disconnected(R),
    "restarted": Restarted(),
}


def told(outcome: Sequence[Effect | Fact]) -> list[str]:
    """What was decided and asked for, in short; what concerns nobody's wages left out."""
    lines = []
    for thing in outcome:
        match thing:
            case Wake() | Gather() | Send(_, words.Capacity() | words.Heartbeat()):
                pass
            case Send(peer, word) | Deliver(_, peer, word):
                lines.append(f"{type(thing).__name__} {type(word).__name__} {NAMES[peer]}")
            case _:
                lines.append(type(thing).__name__)
    return lines


NAMES = {W: "w", W2: "w2", G: "g", R: "r", R2: "r2"}
EARNED = ("a little earned", "planned", "confirmed", "refused")

#: What follows; nothing where there is no line.
DECISIONS: dict[tuple[str, str], list[str] | type[Exception]] = {
    ("a little earned", "tick"): ["Send Account w"],
    ("planned", "confirmed"): ["PayoutEnded", "Retire", "Send Account w"],
    ("planned", "refused"): ["PayoutEnded", "Retire", "Alarm"],
    ("planned", "another redeemer's word"): Untrusted,
    **{(story, f"a {who}'s word"): Untrusted for story in STORIES for who in ("worker", "gateway")},
    **{(story, "another redeemer's ticket"): Untrusted for story in STORIES},
    **{(story, "gateway asks for an account"): Untrusted for story in STORIES},
    **{(story, "ticket of nobody"): ["Retire"] for story in STORIES},
    **{(story, "receipt asked"): ["Send ReceiptShown w"] for story in STORIES},
    ("nothing earned", "account asked"): ["Send Account w"],
    ("a little earned", "account asked"): ["Send Account w"],
    **{(story, "worker came again"): ["Send Account w"] for story in EARNED},
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("story", STORIES)
def test_every_event_in_every_phase(story: str, event: str) -> None:
    orchestrator = machine(*STORIES[story])
    expected = DECISIONS.get((story, event), [])
    if isinstance(expected, type):
        before = orchestrator.dump()
        with pytest.raises(expected):
            orchestrator.handle(EVENTS[event], NOW)
        assert orchestrator.dump() == before
    else:
        assert told(orchestrator.handle(EVENTS[event], NOW)) == expected
    orchestrator.check()


def plan(orchestrator: OrchestratorMachine, now: Instant = NOW) -> PayoutPlanned | None:
    """The batch that the next look brings."""
    facts = [thing for thing in orchestrator.handle(Tick(), now) if isinstance(thing, PayoutPlanned)]
    return facts[0] if facts else None


def test_a_lease_names_the_share_and_where_it_is_paid() -> None:
    orchestrator = machine(*MET)
    outcome = orchestrator.handle(job(1)[0], NOW)
    (order,) = [e.word for e in outcome if isinstance(e, Send) and isinstance(e.word, words.Job)]
    assert (order.share_ppm, order.payout) == (500_000, PURSE)
    (task,) = orchestrator.tasks.values()
    assert (task.lease.share_ppm, task.lease.payout) == (500_000, PURSE)


def test_a_gateway_cannot_say_where_a_worker_is_paid() -> None:
    orchestrator = machine(*MET)
    heard = job(1)[0]
    assert isinstance(heard, Heard)
    assert isinstance(heard.word, words.Job)
    outcome = orchestrator.handle(Heard(G, replace(heard.word, payout=W2, share_ppm=1)), NOW)
    (order,) = [e.word for e in outcome if isinstance(e, Send) and isinstance(e.word, words.Job)]
    assert (order.share_ppm, order.payout) == (500_000, PURSE)


def test_a_worker_that_wants_more_than_is_given_gets_no_jobs() -> None:
    orchestrator = machine(*MET[:2])
    outcome = orchestrator.handle(Heard(W, offers(share_ppm_min=500_001)), NOW)
    assert any(isinstance(thing, Alarm) for thing in outcome)
    assert list(orchestrator.roster.slots()) == []


def test_whoever_is_owed_enough_is_paid_and_the_money_is_set_apart() -> None:
    orchestrator = machine(*MET, *job(1), *job(2))
    outcome = orchestrator.handle(Tick(), NOW)
    (letter,) = [thing for thing in outcome if isinstance(thing, Deliver)]
    assert letter.peer == R
    assert isinstance(letter.word, words.Payout)
    assert [(payee.node, int.from_bytes(payee.wei)) for payee in letter.word.payees] == [(PURSE, 100)]
    assert orchestrator.ledger.balances[PAYING] == 100
    assert orchestrator.payroll.owed(W) == 0
    assert orchestrator.payroll.earned(W) == 100
    orchestrator.handle(EVENTS["confirmed"], NOW)
    assert (orchestrator.ledger.balances[PAYING], orchestrator.ledger.balances[CHAIN]) == (0, 100)
    assert orchestrator.payroll.earned(W) == 100


def test_what_was_refused_is_owed_again_and_paid_under_another_number() -> None:
    orchestrator = machine(*STORIES["refused"])
    assert orchestrator.payroll.owed(W) == 100
    assert plan(orchestrator, later(NOW, RULES.payout_again_ms - 1)) is None
    planned = plan(orchestrator, later(NOW, RULES.payout_again_ms))
    assert planned is not None
    assert (planned.number, planned.batch) == (2, batch_id(O1, 2))


def test_one_batch_at_a_time() -> None:
    orchestrator = machine(*STORIES["planned"], *job(3), *job(4))
    assert plan(orchestrator, later(NOW, 5_000)) is None
    orchestrator.handle(EVENTS["confirmed"], NOW)
    assert plan(orchestrator, later(NOW, 5_000)) is not None


def test_a_little_is_paid_in_the_end_and_dust_never() -> None:
    orchestrator = machine(*MET, *job(1))
    assert plan(orchestrator, later(NOW, RULES.payout_ms - 1)) is None
    assert plan(orchestrator, later(NOW, RULES.payout_ms + RULES.payout_look_ms)) is not None
    dust = machine(*MET, *job(1), rules=replace(RULES, payout_dust_wei=Wei(51)))
    assert plan(dust, later(NOW, 2 * RULES.payout_ms)) is None


def test_a_worker_is_paid_before_it_must_stop() -> None:
    orchestrator = machine(*MET, Heard(W, offers(float_wei=100)), *job(1))
    planned = plan(orchestrator)
    assert planned is not None
    assert [due.payout for due in planned.dues] == [W]


def test_a_batch_holds_no_more_than_it_may() -> None:
    met = [*MET, Connected(W2, "worker", "boot"), Heard(W, offers()), *job(1), *job(2)]
    other = [Heard(W, words.Offers(())), Heard(W2, offers()), *job(3, W2), *job(4, W2), *job(5, W2)]
    orchestrator = machine(*met, *other, rules=replace(RULES, payees_max=1, payout_look_ms=1))
    planned = plan(orchestrator)
    assert planned is not None
    assert [(due.worker, due.whole_wei) for due in planned.dues] == [(W2, 150)]


def test_without_a_redeemer_nobody_is_paid() -> None:
    orchestrator = machine(*MET, *job(1), *job(2), rules=replace(RULES, redeemer=NodeId("")))
    assert plan(orchestrator, later(NOW, 9 * RULES.payout_ms)) is None


def test_an_account_is_signed_and_says_what_was_earned_and_paid() -> None:
    orchestrator = machine(*STORIES["confirmed"], *job(3))
    outcome = orchestrator.handle(Heard(W, words.AccountAsked()), later(NOW, RULES.account_ms_min))
    (account,) = [e.word for e in outcome if isinstance(e, Send) and isinstance(e.word, words.Account)]
    assert int.from_bytes(account.earned) == 150
    assert int.from_bytes(account.paid) == 100
    assert [each.transaction for each in account.remittances] == [TRANSACTION]
    assert verify(O1, account_bytes(O1, W, account), account.signature)
    assert not verify(O1, account_bytes(O1, W2, account), account.signature)


def test_an_account_can_be_had_only_so_often() -> None:
    orchestrator = machine(*MET, *job(1))
    asked = Heard(W, words.AccountAsked())
    moments = [NOW, NOW, later(NOW, RULES.account_ms_min - 1), later(NOW, RULES.account_ms_min)]
    assert [bool(told(orchestrator.handle(asked, moment))) for moment in moments] == [
        True,
        False,
        False,
        True,
    ]


def test_a_worker_is_shown_the_receipt_that_the_gateway_got() -> None:
    orchestrator = machine(*MET, job(1)[0])
    orchestrator.handle(job(1)[1], NOW)
    sent = [e.word for e in orchestrator.handle(Gathered(), NOW) if isinstance(e, Send)]
    (result,) = [word for word in sent if isinstance(word, words.Result)]
    asked = orchestrator.handle(EVENTS["receipt asked"], NOW)
    (shown,) = [e.word for e in asked if isinstance(e, Send)]
    assert isinstance(shown, words.ReceiptShown)
    assert shown.receipt == result.receipt
    assert shown.receipt is not None
    assert verify(O1, signed_bytes(shown.receipt), shown.receipt.signature)
    other = machine(*MET, Connected(W2, "worker", "boot"), *job(1))
    with pytest.raises(Untrusted):
        other.handle(Heard(W2, words.ReceiptAsked(JobId("job 1"), 1)), NOW)


def test_an_answer_keeps_its_receipt_though_nobody_took_it_in_time() -> None:
    ordered, answered, _, accepted = job(1)
    orchestrator = machine(*MET, ordered, answered)
    late = Instant(NOW + 60_000 + 2 * RULES.lease_ms)
    orchestrator.handle(Tick(), late)
    orchestrator.handle(Gathered(), late)
    orchestrator.handle(accepted, late)
    asked = orchestrator.handle(EVENTS["receipt asked"], late)
    (shown,) = [e.word for e in asked if isinstance(e, Send)]
    assert isinstance(shown, words.ReceiptShown)
    assert shown.receipt is not None
    assert shown.receipt.answer == digest(ANSWER)


def winning() -> tuple[WinningTicket, TicketsTaken]:
    """A ticket that won, and the fact that it was taken."""
    ticket = Ticket(W2, PURSE, uint256(10**6), uint256(1), 1, bytes(32), b"")
    winner = WinningTicket(SignedTicket(ticket, bytes(65)), bytes(32), 99)
    taken = TicketsTaken(PURSE, bytes(32), 99, 1, ((1, 1),), uint256(5), (winner,))
    return winner, taken


def with_payee(*events: Event, rules: Rules = RULES) -> OrchestratorMachine:
    payee = Payee(
        W2,
        PayeeRules(),
        secret=b"secret",
        draw_seed=lambda: bytes(32),
        recover=lambda hash32, signature: PURSE,
    )
    made = OrchestratorMachine(rules, node=O1, sign=lambda data: sign(O1, data), payee=payee)
    for event in events:
        made.handle(event, NOW)
        made.check()
    return made


def test_a_winning_ticket_goes_to_the_redeemer_until_it_is_settled() -> None:
    winner, taken = winning()
    orchestrator = with_payee(*MET)
    outcome = orchestrator.handle(Paid(G, 1, Wei(5), taken), NOW)
    (letter,) = [thing for thing in outcome if isinstance(thing, Deliver)]
    assert (letter.peer, letter.word) == (R, words.Winner(winner))
    again = [thing for thing in orchestrator.handle(Restarted(), NOW) if isinstance(thing, Deliver)]
    assert again == [letter]

    name = winner.ticket_hash
    assert told(orchestrator.handle(Heard(R, words.Redemption(name, "sent")), NOW)) == []
    with pytest.raises(Untrusted):
        orchestrator.handle(Heard(R2, words.Redemption(name, "confirmed")), NOW)
    ended = orchestrator.handle(Heard(R, words.Redemption(name, "confirmed")), NOW)
    assert told(ended) == ["WinnerSettled", "Retire"]
    assert Retire(letter.key) in ended
    assert told(orchestrator.handle(Heard(R, words.Redemption(name, "confirmed")), NOW)) == ["Retire"]
    assert told(orchestrator.handle(Restarted(), NOW)) == []


def test_a_winning_ticket_that_brings_nothing_is_said_loudly() -> None:
    winner, taken = winning()
    orchestrator = with_payee(*MET, Paid(G, 1, Wei(5), taken))
    said = words.Redemption(winner.ticket_hash, "refused", why="ticket is expired")
    assert told(orchestrator.handle(Heard(R, said), NOW)) == ["WinnerSettled", "Retire", "Alarm"]


def test_winners_wait_for_a_redeemer_to_be_named() -> None:
    _, taken = winning()
    orchestrator = with_payee(*MET, Paid(G, 1, Wei(5), taken), rules=replace(RULES, redeemer=NodeId("")))
    named = with_payee()
    named.load(orchestrator.dump())
    assert told(named.handle(Restarted(), NOW)) == ["Deliver Winner r"]


@pytest.mark.parametrize("story", STORIES)
def test_a_replay_and_a_snapshot_arrive_where_the_machine_was(story: str) -> None:
    orchestrator = OrchestratorMachine(RULES, node=O1, sign=lambda data: sign(O1, data))
    things = [thing for event in STORIES[story] for thing in orchestrator.handle(event, NOW)]
    facts = [thing for thing in things if isinstance(thing, Fact)]
    replayed = OrchestratorMachine(RULES, node=O1, sign=lambda data: sign(O1, data))
    again = [thing for fact in facts for thing in replayed.handle(fact, NOW)]
    assert replayed.dump() == orchestrator.dump()
    assert [e for e in again if isinstance(e, Deliver | Retire)] == [
        e for e in things if isinstance(e, Deliver | Retire)
    ]
    loaded = OrchestratorMachine(RULES, node=O1, sign=lambda data: sign(O1, data))
    loaded.load(orchestrator.dump())
    loaded.check()
    assert loaded.dump() == orchestrator.dump()


def test_a_batch_that_is_not_under_way_cannot_end() -> None:
    orchestrator = machine(*STORIES["a little earned"])
    outcome = orchestrator.handle(PayoutEnded(7, TRANSACTION), NOW)
    assert any(isinstance(thing, Alarm) for thing in outcome)
    orchestrator.check()
