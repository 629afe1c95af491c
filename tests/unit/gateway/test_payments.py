"""Paying ahead: what a gateway asks, signs and sends before an orchestrator that trusts nobody gets a job."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from shoal.errors import Untrusted
from shoal.gateway.config import Rules
from shoal.gateway.events import (
    ForgivenessAsked,
    SenderKnown,
    SigningFailed,
    SignTickets,
    Submitted,
    TicketsSigned,
)
from shoal.gateway.machine import GatewayMachine
from shoal.gateway.purse import Booked, Estranged, Forgiven, Tendered
from shoal.ids import ClientId, JobId, NodeId, digest
from shoal.machine import Alarm, Connected, Deliver, Effect, Event, Fact, Heard, Retire, Send, Tick
from shoal.money.funds import ChainSeen, FundsSeen
from shoal.money.payer import Payer, PayerRules
from shoal.money.ticket import SignedNonce, Ticket, TicketParams
from shoal.money.wei import Price, Wei
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import Fault, JobSpec, Payload, Quote
from shoal.work.lifecycle import Placed
from shoal.work.receipt import NO_ANSWER, Terms
from tickets import FUNDS, OTHER_PAYER, PAYEE, PAYER, VIEW, payee, payer, signed

NOW = Instant(1_000_000)
O = PAYEE.id  # noqa: E741 - the orchestrator
JOB = JobId("job")
PRICE = Price(10**9)
UNITS = 10
#: What a job may cost.
HOLD = Wei(10**10)
SPEC = JobSpec("echo", "echo", units_max=UNITS)
BODY = encode_payload(Payload(b"{}"))
ANSWER = encode_payload(Payload(b'"answer"'))
RULES = Rules(credit_block_wei=Wei(4 * 10**10))
CHAIN = ChainSeen(
    VIEW.block, VIEW.round, VIEW.round_hash, VIEW.round_initialised, VIEW.gas_price_wei, VIEW.pool_size
)
DEPOSIT = FundsSeen(PAYER.id, FUNDS.deposit, FUNDS.reserve, 0, 0)
MET: list[Event] = [
    CHAIN,
    DEPOSIT,
    Connected(O, "orchestrator", "boot"),
    Heard(O, words.Capacity((Quote("echo", "echo", 8, 0, PRICE),), prepaid=True)),
]


def machine(*events: Event, rules: Rules = RULES, pays: bool = True) -> GatewayMachine:
    made = GatewayMachine(
        rules,
        verify=lambda node, data, signature: signature == b"signed",
        payer=payer() if pays else None,
    )
    for event in events:
        made.handle(event, NOW)
        made.check()
    return made


def submitted(job: JobId = JOB) -> Submitted:
    return Submitted(job, ClientId("anna"), SPEC, BODY, PRICE, 60_000)


def terms(ev_wei: int = HOLD) -> TicketParams:
    return payee().params(PAYER.id, ev_wei, VIEW, FUNDS)


def asked_to_sign(outcome: Sequence[Effect | Fact]) -> SignTickets:
    (effect,) = [each for each in outcome if isinstance(each, SignTickets)]
    return effect


def as_signed(effect: SignTickets) -> TicketsSigned:
    return TicketsSigned(effect.orchestrator, effect.params, signed(PAYER, effect.tickets))


def of(kind: type[Effect | Fact], outcome: Sequence[Effect | Fact]) -> list[Effect | Fact]:
    return [each for each in outcome if isinstance(each, kind)]


def sent(outcome: Sequence[Effect | Fact]) -> list[object]:
    return [each.word for each in outcome if isinstance(each, Send | Deliver)]


def paid(gateway: GatewayMachine, params: TicketParams | None = None) -> Sequence[Effect | Fact]:
    """Let terms come and be signed; what follows."""
    outcome = gateway.handle(Heard(O, words.Terms(params or terms())), NOW)
    return gateway.handle(as_signed(asked_to_sign(outcome)), NOW)


def answer(job: JobId = JOB, *, credit: int, units: int = UNITS) -> Heard:
    agreed = Terms(job, 1, O, SPEC, PRICE, digest(BODY))
    receipt = agreed.receipt(PAYEE.id, units, digest(ANSWER), 5, credit=Wei(credit))
    receipt = replace(receipt, signature=b"signed")
    return Heard(O, words.Result(job, 1, units, 5, digest(ANSWER), ANSWER, receipt))


def test_a_stranger_is_asked_for_terms_and_the_job_waits() -> None:
    gateway = machine(*MET)
    outcome = gateway.handle(submitted(), NOW)
    assert words.TermsAsked(PAYER.id, HOLD) in sent(outcome)
    assert not of(Placed, outcome)
    gateway.handle(submitted(JobId("second")), NOW)
    assert not of(Send, gateway.handle(Tick(), NOW)), "it was asked a moment ago"
    late = later(NOW, 2_000)
    assert words.TermsAsked(PAYER.id, HOLD) in sent(gateway.handle(Tick(), late)), "the question may be lost"


def test_tickets_are_noted_before_they_leave_and_the_job_goes_with_them() -> None:
    gateway = machine(*MET, submitted())
    outcome = paid(gateway)
    (tendered,) = of(Tendered, outcome)
    assert isinstance(tendered, Tendered)
    assert (tendered.wei, tendered.number, tendered.pipeline) == (HOLD, 1, "echo")
    tender, job = [word for word in sent(outcome) if isinstance(word, words.Tender | words.Job)]
    assert isinstance(tender, words.Tender), "credit comes before what uses it"
    assert isinstance(job, words.Job)
    assert tender.payment.ev_wei == HOLD, "a stranger is paid ahead for one job, and no more"
    assert [each.nonce for each in tender.payment.tickets] == [1]
    gateway.check()


def test_a_stranger_gets_one_job_at_a_time() -> None:
    gateway = machine(*MET, submitted(), submitted(JobId("second")))
    outcome = paid(gateway)
    assert len(of(Placed, outcome)) == 1
    assert not of(SignTickets, outcome)
    outcome = gateway.handle(answer(credit=0), NOW)
    assert of(SignTickets, outcome), "it has delivered: it is paid for the next one"


def test_who_delivers_is_paid_a_block_ahead() -> None:
    gateway = machine(*MET, submitted())
    paid(gateway)
    credit = 0
    for number in range(6):
        outcome = gateway.handle(answer(JobId(f"job {number}") if number else JOB, credit=credit), NOW)
        job = JobId(f"job {number + 1}")
        outcome = [*outcome, *gateway.handle(submitted(job), NOW)]
        while effects := of(SignTickets, outcome):
            (effect,) = effects
            assert isinstance(effect, SignTickets)
            outcome = gateway.handle(as_signed(effect), NOW)
        credit = gateway.purse.credit(O) - HOLD
        purse = gateway.purse
        ahead = purse.credit(O) - purse.committed(O)
        assert ahead <= max(purse.delivered(O), 0), "never more than it has ever delivered"
        assert ahead <= RULES.credit_block_wei
    assert gateway.purse.delivered(O) == 6 * HOLD


def test_what_it_booked_is_booked_here_and_said_no_more() -> None:
    gateway = machine(*MET, submitted())
    paid(gateway)
    outcome = gateway.handle(Heard(O, words.Credited(1, HOLD)), NOW)
    assert of(Booked, outcome) == [Booked(O, 1, HOLD)]
    assert of(Retire, outcome)
    assert gateway.purse.unheard(O) == 0
    again = gateway.handle(Heard(O, words.Credited(1, HOLD)), NOW)
    assert not of(Booked, again)
    assert of(Retire, again)


UNPAID = words.Failure(JOB, 1, Fault("unpaid", "its gateway's credit here does not cover this"))


def test_who_has_not_booked_what_was_sent_gets_no_job_until_it_has() -> None:
    gateway = machine(*MET, submitted())
    paid(gateway)
    assert not of(Placed, gateway.handle(Heard(O, UNPAID), NOW))
    capacity = words.Capacity((Quote("echo", "echo", 8, 0, PRICE),), prepaid=True)
    assert not of(Placed, gateway.handle(Heard(O, capacity), NOW)), "it has room, that is not it"
    assert not of(Placed, gateway.handle(Tick(), later(NOW, 30_000)))
    outcome = gateway.handle(Heard(O, words.Credited(1, HOLD)), later(NOW, 30_000))
    assert [each.epoch for each in of(Placed, outcome) if isinstance(each, Placed)] == [2]
    gateway.check()


def test_who_holds_more_of_our_credit_than_we_know_is_asked_again_after_a_moment() -> None:
    gateway = machine(*MET, submitted())
    paid(gateway)
    gateway.handle(Heard(O, words.Credited(1, HOLD)), NOW)
    assert not of(Placed, gateway.handle(Heard(O, UNPAID), NOW))
    assert not of(Placed, gateway.handle(Tick(), later(NOW, RULES.busy_pause_ms - 1)))
    assert of(Placed, gateway.handle(Tick(), later(NOW, RULES.busy_pause_ms)))


def test_what_it_did_not_book_is_lost_and_said() -> None:
    gateway = machine(*MET, submitted())
    paid(gateway)
    refusal = words.Credited(1, Wei(0), Fault("refused", "TicketParams expired"))
    outcome = gateway.handle(Heard(O, refusal), NOW)
    assert of(Booked, outcome) == [Booked(O, 1, Wei(0))]
    assert any("TicketParams expired" in each.text for each in outcome if isinstance(each, Alarm))
    assert (gateway.purse.lost(O), gateway.purse.credit(O)) == (HOLD, 0)
    gateway.ledger.check()


@pytest.mark.parametrize(
    ("funds", "why"),
    [
        (replace(DEPOSIT, deposit=0), "no sender deposit"),
        (replace(DEPOSIT, reserve=0), "no sender reserve"),
        (replace(DEPOSIT, withdraw_round=VIEW.round + 1), "deposit and reserve is set to unlock soon"),
    ],
)
def test_without_money_nothing_is_promised_and_the_reason_is_said(funds: FundsSeen, why: str) -> None:
    gateway = machine(CHAIN, funds, *MET[2:], submitted())
    outcome = gateway.handle(Heard(O, words.Terms(terms())), NOW)
    assert not of(SignTickets, outcome)
    assert why in gateway.unpaid_because[O]
    assert sum(isinstance(each, Alarm) for each in outcome) == 1
    gateway.handle(DEPOSIT, NOW)
    assert O not in gateway.unpaid_because


def test_without_a_chain_who_wants_to_be_paid_ahead_gets_no_jobs() -> None:
    gateway = machine(*MET[2:], submitted(), pays=False)
    assert "no chain" in gateway.unpaid_because[O]
    assert not gateway.leases


def test_a_signer_that_fails_is_asked_again() -> None:
    gateway = machine(*MET, submitted())
    gateway.handle(Heard(O, words.Terms(terms())), NOW)
    outcome = gateway.handle(SigningFailed(O, Fault("unreachable", "the signer does not answer")), NOW)
    assert any("the signer does not answer" in each.text for each in outcome if isinstance(each, Alarm))
    assert of(SignTickets, gateway.handle(Tick(), later(NOW, 2_000)))


def test_signatures_that_come_late_pay_for_nothing_twice() -> None:
    gateway = machine(*MET, submitted())
    effect = asked_to_sign(gateway.handle(Heard(O, words.Terms(terms())), NOW))
    assert of(Tendered, gateway.handle(as_signed(effect), NOW))
    assert not of(Tendered, gateway.handle(as_signed(effect), NOW))


def test_signatures_over_other_nonces_are_not_sent() -> None:
    gateway = machine(*MET, submitted())
    effect = asked_to_sign(gateway.handle(Heard(O, words.Terms(terms())), NOW))
    other: Ticket = effect.params.ticket(PAYER.id, 77)
    forged = TicketsSigned(O, effect.params, (SignedNonce(77, PAYER.sign_hash(other.signed_hash)),))
    assert not of(Tendered, gateway.handle(forged, NOW))


def test_terms_that_pay_somebody_else_are_a_peer_s_fault() -> None:
    gateway = machine(*MET, submitted())
    with pytest.raises(Untrusted):
        gateway.handle(Heard(O, words.Terms(replace(terms(), recipient=PAYER.id))), NOW)


def test_an_orchestrator_whose_word_stays_too_low_gets_no_more_jobs_until_it_is_forgiven() -> None:
    gateway = machine(*MET, submitted())
    paid(gateway)
    short = -10 * HOLD
    outcome = gateway.handle(answer(credit=short), NOW)
    assert not of(Estranged, outcome), "what is on its way may explain it"
    second = JobId("second")
    outcome = gateway.handle(submitted(second), NOW)
    gateway.handle(as_signed(asked_to_sign(outcome)), NOW)
    late = later(NOW, RULES.differ_ms)
    gateway.handle(Heard(O, words.Heartbeat((words.Held(second, 1),))), NOW)
    outcome = gateway.handle(answer(second, credit=short), late)
    assert of(Estranged, outcome)
    assert O in gateway.purse.estranged
    assert not of(Placed, gateway.handle(submitted(JobId("third")), late))
    assert of(Forgiven, gateway.handle(ForgivenessAsked(O), late))
    gateway.check()
    assert gateway.purse.lost(O) > 0, "the difference is written off"
    assert gateway.purse.differs(O, Wei(short), Wei(0)) <= HOLD, "one job's price is forgiven anyway"
    assert not of(Forgiven, gateway.handle(ForgivenessAsked(O), late))


def test_one_that_has_not_been_here_since_a_restart_can_be_forgiven() -> None:
    gateway = machine(Estranged(O, "its books differ"))
    outcome = gateway.handle(ForgivenessAsked(O), NOW)
    assert of(Forgiven, outcome)
    assert not of(Alarm, outcome)
    assert O not in gateway.purse.estranged


def test_a_failure_s_receipt_is_compared_too() -> None:
    gateway = machine(*MET, submitted())
    paid(gateway)
    agreed = Terms(JOB, 1, O, SPEC, PRICE, digest(BODY))
    receipt = agreed.receipt(PAYEE.id, 0, NO_ANSWER, 0, credit=Wei(-10 * HOLD))
    word = words.Failure(JOB, 1, Fault("failed", "it broke"), replace(receipt, signature=b"signed"))
    gateway.handle(Heard(O, word), NOW)
    assert O in gateway._differs


def test_the_purse_outlives_a_restart() -> None:
    before = machine(*MET, submitted())
    paid(before)
    after = machine()
    after.load(before.dump())
    after.check()
    for name in ("credit", "committed", "delivered", "unheard", "sent", "next_number"):
        assert getattr(after.purse, name)(O) == getattr(before.purse, name)(O), name
    assert after.payer is not None
    assert before.payer is not None
    assert after.payer.dump() == before.payer.dump()


def test_who_trusts_us_is_paid_nothing_ahead() -> None:
    gateway = machine(*MET[:3], Heard(O, words.Capacity((Quote("echo", "echo", 8, 0, PRICE),))), submitted())
    assert len(gateway.leases) == 1
    gateway.handle(answer(credit=-UNITS * PRICE.wei), NOW)
    assert gateway.purse.credit(O) == -HOLD
    assert not gateway.purse.sent(O)


# A signer in another process


def elsewhere() -> GatewayMachine:
    """A gateway that does not know yet whose tickets it sends."""
    gateway = GatewayMachine(
        RULES,
        verify=lambda node, data, signature: signature == b"signed",
        payer=Payer(NodeId(""), PayerRules()),
    )
    for event in (*MET, submitted()):
        gateway.handle(event, NOW)
    return gateway


def asked_for_terms(outcome: Sequence[Effect | Fact]) -> list[object]:
    return [word for word in sent(outcome) if isinstance(word, words.TermsAsked)]


def test_until_the_signer_says_whose_tickets_it_signs_nobody_is_asked() -> None:
    gateway = elsewhere()
    assert "has not said yet" in gateway.unpaid_because[O]
    assert not asked_for_terms(gateway.handle(Tick(), later(NOW, 5_000)))
    gateway.handle(SenderKnown(PAYER.id), NOW)
    assert O not in gateway.unpaid_because
    gateway.handle(FundsSeen(OTHER_PAYER.id, 1, 1, 0, 0), NOW)
    assert not asked_for_terms(gateway.handle(Tick(), later(NOW, 6_000))), "it is not their money that pays"
    gateway.handle(DEPOSIT, NOW)
    assert words.TermsAsked(PAYER.id, HOLD) in sent(gateway.handle(Tick(), later(NOW, 9_000)))
    (tendered,) = of(Tendered, paid(gateway))
    assert isinstance(tendered, Tendered)
    assert tendered.payment.sender == PAYER.id


def test_what_was_signed_for_another_sender_is_not_sent() -> None:
    gateway = machine(*MET, submitted())
    effect = asked_to_sign(gateway.handle(Heard(O, words.Terms(terms())), NOW))
    gateway.handle(SenderKnown(OTHER_PAYER.id), NOW)
    assert not of(Tendered, gateway.handle(as_signed(effect), NOW))
    gateway.handle(FundsSeen(OTHER_PAYER.id, FUNDS.deposit, FUNDS.reserve, 0, 0), NOW)
    late = later(NOW, 5_000)
    assert words.TermsAsked(OTHER_PAYER.id, HOLD) in sent(gateway.handle(Tick(), late))


def test_a_sender_that_stays_the_same_changes_nothing() -> None:
    gateway = machine(*MET, submitted())
    effect = asked_to_sign(gateway.handle(Heard(O, words.Terms(terms())), NOW))
    gateway.handle(SenderKnown(PAYER.id), NOW)
    assert of(Tendered, gateway.handle(as_signed(effect), NOW))


def test_why_nobody_is_paid_is_said_once_until_they_are() -> None:
    gateway = machine(*MET, submitted())
    gateway.handle(Heard(O, words.Terms(terms())), NOW)
    now, said = NOW, []
    for block in range(1, 6):
        failed = SigningFailed(O, Fault("unreachable", "the signer cannot be reached"))
        now = later(now, 3_000)
        said += of(Alarm, gateway.handle(failed, now))
        seen = replace(CHAIN, block=VIEW.block + block)  # every block may change why, so it is asked again
        said += of(Alarm, gateway.handle(seen, now))
        outcome = gateway.handle(Tick(), now)
        said += of(Alarm, outcome)
    assert len(said) == 1
    gateway.handle(as_signed(asked_to_sign(outcome)), now)
    assert O not in gateway.unpaid_because
