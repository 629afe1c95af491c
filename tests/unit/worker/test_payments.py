"""What a worker counts, whom it believes, and whom it leaves: every word about money in every standing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from shoal.errors import Untrusted
from shoal.ids import JobId, NodeId, digest
from shoal.machine import Alarm, Connected, Effect, Event, Fact, Heard, Restarted, Send, Tick, Wake
from shoal.money.ticket import uint256
from shoal.money.wei import Price, Wei
from shoal.sim.houses import sign, verify
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import JobSpec, Payload
from shoal.work.account import account_bytes, batch_id
from shoal.work.receipt import NO_ANSWER, Terms
from shoal.work.seal import seal
from shoal.worker.config import Rules
from shoal.worker.earnings import Found, Left, Stated
from shoal.worker.machine import RunnerAnswered, RunnerReady, WorkerMachine
from shoal.worker.payments import FindPayment, ForgivenessAsked, PaymentFound

NOW = Instant(1_000_000)
W, O1, O2 = NodeId("w"), NodeId("o"), NodeId("o2")
NEED = ("echo", "echo")
BODY = encode_payload(Payload(b"{}"))
ANSWER = encode_payload(Payload(b"answer"))
#: Ten units at 10 wei each, half of them ours: a job is worth 50 wei, and each unit of its answer 5.
SPEC = JobSpec("echo", "echo", units_max=10)
RULES = Rules(
    share_ppm_min=500_000, float_wei=Wei(200), owing_ms=60_000, unpaid_ppm_max=500_000, receipts_every=1
)
TRANSACTION = "0x" + 64 * "7"


def order(number: int = 1, **changes: object) -> words.Job:
    job = JobId(f"job {number}")
    return replace(words.Job(job, 1, SPEC, Price(10), 60_000, digest(BODY), BODY, 500_000), **changes)


def answer(number: int = 1, units: int = 10) -> RunnerAnswered:
    return RunnerAnswered(JobId(f"job {number}"), 1, units, 5, ANSWER)


def settled(number: int = 1, wei: int = 50) -> Heard:
    return Heard(O1, words.Settled.of(JobId(f"job {number}"), 1, Wei(wei)))


def done(number: int, wei: int = 50) -> list[Event]:
    return [Heard(O1, order(number)), answer(number), settled(number, wei)]


def account(earned: int, paid: int = 0, *numbers: int, by: NodeId = O1) -> Heard:
    remittances = tuple(words.Remittance(number, uint256(paid), TRANSACTION) for number in numbers)
    said = words.Account(uint256(earned), uint256(paid), remittances)
    return Heard(O1, replace(said, signature=sign(by, account_bytes(O1, W, said))))


def receipt(number: int = 1, units: int = 10, by: NodeId = O1, **changes: object) -> Heard:
    job = JobId(f"job {number}")
    terms = Terms(job, 1, O1, SPEC, Price(10), digest(BODY))
    plain = replace(terms.receipt(W, units, digest(ANSWER), 5, credit=Wei(7)), **changes)
    sealed = seal([plain], lambda data: sign(by, data))[0]
    return Heard(O1, words.ReceiptShown(job, 1, sealed))


MET: list[Event] = [
    Connected(O1, "orchestrator", "boot"),
    Connected(O2, "orchestrator", "boot"),
    RunnerReady(NEED, 9),
]


def machine(*events: Event, rules: Rules = RULES, sees_chain: bool = False) -> WorkerMachine:
    made = WorkerMachine(rules, node=W, verify=verify, sees_chain=sees_chain)
    for event in events:
        made.handle(event, NOW)
        made.check()
    return made


def told(outcome: Sequence[Effect | Fact]) -> list[str]:
    """What was decided and asked for, in short."""
    lines = []
    for thing in outcome:
        match thing:
            case Wake():
                pass
            case Send(peer, words.Offers(given)):
                lines.append(f"Offers {peer} {sum(offer.slots for offer in given)}")
            case Send(peer, word):
                lines.append(f"{type(word).__name__} {peer}")
            case _:
                lines.append(type(thing).__name__)
    return lines


LEFT = ["Left", "Alarm", "Offers o 0"]

#: How we come to stand with an orchestrator.
STANDINGS: dict[str, list[Event]] = {
    "strange": MET,
    "working": [*MET, Heard(O1, order(9))],
    "earning": [*MET, *done(1), Tick()],
    "agreed": [*MET, *done(1), Tick(), account(50), receipt()],
    "paid": [*MET, *done(1), Tick(), account(50), account(50, 50, 1), receipt()],
    "paused": [*MET, *(event for n in range(1, 5) for event in done(n)), Tick(), Heard(O1, order(9))],
    "left": [*MET, *done(1), Tick(), receipt(units=9)],
}

EVENTS: dict[str, Event] = {
    "order": Heard(O1, order(2)),
    "order at too small a share": Heard(O1, order(2, share_ppm=499_999)),
    "order that is paid elsewhere": Heard(O1, order(2, payout=NodeId("0x" + 40 * "a"))),
    "another's order": Heard(O2, order(2)),
    "account": account(50),
    "larger account": account(70),
    "smaller account": account(49),
    "account with a payment": account(50, 50, 1),
    "account of another's": account(500, by=O2),
    "receipt": receipt(),
    "no receipt": Heard(O1, words.ReceiptShown(JobId("job 1"), 1, None)),
    "receipt for less": receipt(units=9),
    "receipt for another": receipt(worker=NodeId("another")),
    "receipt for another answer": receipt(answer=digest(b"another")),
    "receipt that another signed": receipt(by=O2),
    "receipt that nobody asked for": receipt(7),
    "negative": settled(9, -1),
    "more than the price": settled(9, 51),
    "settled": settled(9, 50),
    "forgiven": ForgivenessAsked(O1),
    "a stranger forgiven": ForgivenessAsked(NodeId("nobody")),
    "payment found": PaymentFound(O1, 1, uint256(50)),
    "restarted": Restarted(),
}

KNOWN = ("earning", "agreed", "paid", "paused", "left")
ASKED = ("earning",)

#: What follows; nothing where there is no line.
DECISIONS: dict[tuple[str, str], list[str] | type[Exception]] = {
    **{(standing, "order"): ["Run", "Offers o2 8"] for standing in ("strange", "earning", "agreed", "paid")},
    ("working", "order"): ["Run", "Offers o2 7"],
    ("paused", "order"): ["Failure o"],
    ("left", "order"): ["Failure o"],
    **{(standing, "order at too small a share"): ["Failure o"] for standing in STANDINGS},
    **{(standing, "order that is paid elsewhere"): ["Failure o"] for standing in STANDINGS},
    **{(standing, "another's order"): ["Run", "Offers o 8"] for standing in ("strange", "earning", "agreed")},
    ("paid", "another's order"): ["Run", "Offers o 8"],
    ("working", "another's order"): ["Run", "Offers o 8"],
    ("paused", "another's order"): ["Run", "Offers o 0"],
    ("left", "another's order"): ["Run", "Offers o 0"],
    **{(standing, "account"): ["Stated"] for standing in ("strange", "working", "earning", "left")},
    ("paused", "account"): ["AccountAsked o"],
    ("paid", "account"): ["AccountAsked o"],
    **{(standing, "larger account"): ["Stated"] for standing in STANDINGS},
    ("paused", "larger account"): ["AccountAsked o"],
    ("paid", "larger account"): ["AccountAsked o"],
    ("strange", "smaller account"): ["Stated"],
    ("working", "smaller account"): ["Stated"],
    **{(standing, "smaller account"): ["AccountAsked o"] for standing in KNOWN},
    **{(standing, "account with a payment"): ["Stated"] for standing in STANDINGS},
    ("paid", "account with a payment"): [],
    ("paused", "account with a payment"): ["AccountAsked o"],
    **{(standing, "account of another's"): Untrusted for standing in STANDINGS},
    ("earning", "receipt for less"): LEFT,
    ("earning", "receipt for another"): LEFT,
    ("earning", "receipt for another answer"): LEFT,
    ("earning", "receipt that another signed"): LEFT,
    **{(standing, "negative"): Untrusted for standing in STANDINGS},
    ("working", "more than the price"): Untrusted,
    ("working", "settled"): ["Stop"],
    **{(standing, "forgiven"): ["Forgiven", "Offers o 9"] for standing in KNOWN},
    **{(standing, "payment found"): ["Found"] for standing in STANDINGS},
    ("left", "restarted"): ["Alarm"],
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("standing", STANDINGS)
def test_every_event_in_every_standing(standing: str, event: str) -> None:
    worker = machine(*STANDINGS[standing])
    expected = DECISIONS.get((standing, event), [])
    if isinstance(expected, type):
        before = worker.dump()
        with pytest.raises(expected):
            worker.handle(EVENTS[event], NOW)
        assert worker.dump() == before
    else:
        assert told(worker.handle(EVENTS[event], NOW)) == expected
    worker.check()


def test_a_job_is_counted_and_soon_written_down_and_nothing_waits_for_that() -> None:
    worker = machine(*MET)
    facts = [thing for event in done(1) for thing in worker.handle(event, NOW) if isinstance(thing, Fact)]
    assert facts == []
    assert worker.earnings.earned(O1) == 50
    assert "Counted" in told(worker.handle(Tick(), NOW))
    assert worker.dump().records[O1].counted_wei == 50
    assert worker.dump().records[O1].jobs == 1


def test_what_was_counted_twice_is_not() -> None:
    worker = machine(*MET, *done(1), settled(1), settled(1))
    assert worker.earnings.counted(O1) == 50


def test_work_stops_at_the_float_and_goes_on_when_it_was_paid() -> None:
    worker = machine(*MET, *(event for n in range(1, 5) for event in done(n)))
    refused = told(worker.handle(Heard(O1, order(5)), NOW))
    assert refused == ["Offers o 0", "Failure o"]
    assert worker.earnings.owed(O1, on_chain=False) == 200
    worker.handle(account(200, 150, 1), NOW)
    assert "Offers o 9" in told(worker.handle(Tick(), NOW))
    assert "Run" in told(worker.handle(Heard(O1, order(6)), NOW))


def test_open_jobs_count_as_owed_at_the_most_that_they_can_bring() -> None:
    worker = machine(*MET)
    outcomes = [told(worker.handle(Heard(O1, order(n)), NOW)) for n in range(1, 6)]
    assert [outcome[0] for outcome in outcomes] == ["Run", "Run", "Run", "Run", "Offers o 0"]


def test_who_is_trusted_may_owe_anything() -> None:
    worker = machine(
        *MET, *(event for n in range(9) for event in done(n)), rules=replace(RULES, trusted=(O1,))
    )
    assert worker.earnings.owed(O1, on_chain=False) == 450
    assert Left not in [type(thing) for thing in worker.handle(Tick(), later(NOW, RULES.owing_ms))]


def test_who_owes_for_too_long_is_left_for_good_until_forgiven() -> None:
    worker = machine(*STANDINGS["paused"])
    worker.handle(Tick(), NOW)
    assert told(worker.handle(Tick(), later(NOW, RULES.owing_ms - 1))) == []
    outcome = worker.handle(Tick(), later(NOW, RULES.owing_ms))
    assert told(outcome)[:3] == LEFT
    text = next(thing.text for thing in outcome if isinstance(thing, Alarm))
    assert "owes 200 wei" in text
    assert f"shoal worker forgive {O1}" in text

    again = machine()
    again.load(worker.dump())
    for event in MET:
        again.handle(event, NOW)
    assert told(again.handle(Heard(O1, order(8)), NOW)) == ["Failure o"]
    again.handle(ForgivenessAsked(O1), NOW)
    assert "Run" in told(again.handle(Heard(O1, order(8)), NOW))
    assert again.earnings.earned(O1) == 200


def test_an_account_that_stays_too_low_is_one_reason_to_leave() -> None:
    worker = machine(*STANDINGS["agreed"])
    assert told(worker.handle(account(49), NOW)) == ["AccountAsked o"]
    assert told(worker.handle(account(49), later(NOW, RULES.differ_ms - 1))) == []
    assert told(worker.handle(account(49), later(NOW, RULES.differ_ms))) == LEFT


def test_an_account_that_was_overtaken_is_none() -> None:
    worker = machine(*STANDINGS["agreed"])
    worker.handle(account(49), NOW)
    assert told(worker.handle(account(60), NOW)) == ["Stated"]
    assert told(worker.handle(account(59), later(NOW, RULES.differ_ms))) == ["AccountAsked o"]


def test_what_was_settled_while_we_were_gone_is_counted_from_the_account() -> None:
    before = machine(*MET, *done(1), Tick(), Heard(O1, order(2)), answer(2))
    after = machine()
    after.load(before.dump())
    for event in (*MET, account(100)):
        after.handle(event, NOW)
    assert after.earnings.counted(O1) == 100


def test_an_account_may_hold_what_is_on_its_way_to_us() -> None:
    worker = machine(*MET, Heard(O1, order(1)), answer(1), account(50))
    assert worker.earnings.counted(O1) == 0
    worker.handle(settled(1), NOW)
    assert worker.earnings.counted(O1) == 50
    assert told(worker.handle(account(50), NOW)) == []


def test_answers_that_nobody_pays_for_are_one_reason_to_leave() -> None:
    worker = machine(*MET)
    for number in range(4):
        for event in (
            Heard(O1, order(number)),
            answer(number),
            Heard(O1, words.Cancel(JobId(f"job {number}"), 1)),
        ):
            worker.handle(event, NOW)
    assert "Left" not in told(worker.handle(Tick(), NOW))
    for event in (Heard(O1, order(5)), answer(5, 1), Heard(O1, words.Cancel(JobId("job 5"), 1))):
        worker.handle(event, NOW)
    assert "Left" in told(worker.handle(Tick(), later(NOW, RULES.count_ms)))


@pytest.mark.parametrize(
    ("paid", "shown", "stays"), [(15, 3, True), (20, 3, True), (10, 3, False), (15, 0, False)]
)
def test_an_answer_that_came_too_late_has_a_receipt_for_what_was_acknowledged(
    paid: int, shown: int, stays: bool
) -> None:
    unanswered = receipt(units=shown, answer=NO_ANSWER, run_ms=0)
    worker = machine(*MET, *done(1, paid), Tick(), unanswered)
    assert worker.works_for(O1) == stays


def test_receipts_that_are_never_shown_are_one_reason_to_leave() -> None:
    worker = machine(*MET, rules=replace(RULES, unshown_max=3, trusted=(O1,)))
    for number in range(4):
        for event in done(number):
            worker.handle(event, NOW)
    assert "Left" in told(worker.handle(Tick(), NOW))


def test_with_a_chain_a_payment_counts_when_it_was_found_there() -> None:
    worker = machine(*MET, *done(1), Tick(), sees_chain=True)
    outcome = worker.handle(account(50, 50, 1), NOW)
    assert FindPayment(O1, 1, batch_id(O1, 1), TRANSACTION) in outcome
    assert worker.earnings.owed(O1, on_chain=True) == 50
    assert FindPayment(O1, 1, batch_id(O1, 1), TRANSACTION) in worker.handle(
        Tick(), later(NOW, RULES.find_ms)
    )
    for _ in range(2):
        worker.handle(PaymentFound(O1, 1, uint256(50)), NOW)
    assert worker.earnings.owed(O1, on_chain=True) == 0
    assert worker.dump().records[O1].found == (1,)
    assert not [
        thing
        for thing in worker.handle(Tick(), later(NOW, 9 * RULES.find_ms))
        if isinstance(thing, FindPayment)
    ]


def test_a_replay_arrives_where_the_machine_was() -> None:
    facts: list[Fact] = []
    worker = machine(sees_chain=True)
    events = (*MET, *done(1), Tick(), account(50, 50, 1), PaymentFound(O1, 1, uint256(50)), receipt(by=O2))
    for event in (*events, ForgivenessAsked(O1)):
        facts += [thing for thing in worker.handle(event, NOW) if isinstance(thing, Fact)]
    assert {type(fact).__name__ for fact in facts} == {"Counted", "Stated", "Found", "Left", "Forgiven"}
    assert any(isinstance(fact, Stated | Found) for fact in facts)
    again = machine(*facts, sees_chain=True)
    assert again.dump() == worker.dump()
