"""Being paid ahead: what an orchestrator says of terms and payments, and how much it remembers of who asks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shoal.ids import NodeId
from shoal.machine import Connected, Disconnected, Effect, Event, Fact, Heard, Send
from shoal.money.funds import ChainSeen, FundsSeen
from shoal.money.ticket import Payment
from shoal.money.wei import Wei
from shoal.orchestrator.config import Rules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.orchestrator.payments import Watch
from shoal.orchestrator.till import Paid
from shoal.sim.houses import sign
from shoal.units import Instant
from shoal.wire import words
from tickets import FUNDS, PAYEE, PAYER, VIEW, payee, payer, signed

NOW = Instant(1_000_000)
G = NodeId("gateway")
EV_WEI = Wei(10**9)
CHAIN = ChainSeen(
    VIEW.block, VIEW.round, VIEW.round_hash, VIEW.round_initialised, VIEW.gas_price_wei, VIEW.pool_size
)
MET: list[Event] = [Connected(G, "gateway", "boot"), CHAIN]


def machine(*events: Event, senders_max: int = 10) -> OrchestratorMachine:
    made = OrchestratorMachine(Rules(), node=PAYEE.id, sign=sign, payee=payee(senders_max=senders_max))
    for event in events:
        made.handle(event, NOW)
    return made


def seen(sender: NodeId = PAYER.id) -> FundsSeen:
    return FundsSeen(sender, FUNDS.deposit, FUNDS.reserve, 0, 0)


def asks(sender: NodeId = PAYER.id) -> Heard:
    return Heard(G, words.TermsAsked(sender, EV_WEI))


def sent(outcome: Sequence[Effect | Fact]) -> list[object]:
    return [each.word for each in outcome if isinstance(each, Send)]


def stranger(number: int) -> NodeId:
    return NodeId(f"0x{number:040x}")


def test_terms_are_named_once_their_sender_s_money_was_seen() -> None:
    orchestrator = machine(*MET)
    assert orchestrator.handle(asks(), NOW) == [Watch(PAYER.id)]
    (terms,) = sent(orchestrator.handle(seen(), NOW))
    assert isinstance(terms, words.Terms)
    assert terms.params is not None
    assert terms.params.ev_wei == EV_WEI


def test_a_gateway_has_one_sender_at_a_time_looked_up() -> None:
    orchestrator = machine(*MET)
    assert orchestrator.handle(asks(), NOW) == [Watch(PAYER.id)]
    assert orchestrator.handle(asks(stranger(1)), NOW) == []
    assert orchestrator.handle(asks(), NOW) == [Watch(PAYER.id)], "it may say it again"
    assert len(sent(orchestrator.handle(seen(), NOW))) == 1
    assert orchestrator.handle(asks(stranger(1)), NOW) == [Watch(stranger(1))]


def test_a_payment_is_booked_once_and_answered_each_time() -> None:
    orchestrator = machine(*MET, seen())
    first, again = orchestrator.handle(tender(), NOW), orchestrator.handle(tender(), NOW)
    assert any(isinstance(each, Paid) for each in first)
    assert not any(isinstance(each, Paid) for each in again)
    assert sent(first) == sent(again) == [words.Credited(1, Wei(3 * EV_WEI))]
    assert orchestrator.credit(G) == 3 * EV_WEI


def tender() -> Heard:
    """Three tickets, on terms that an orchestrator named before it was restarted."""
    (terms,) = sent(machine(*MET, seen()).handle(asks(), NOW))
    assert isinstance(terms, words.Terms)
    assert terms.params is not None
    tickets = signed(PAYER, payer().issue(terms.params, 3))
    return Heard(G, words.Tender(1, Payment(terms.params, PAYER.id, tickets)))


def test_a_payment_that_comes_before_its_sender_s_money_was_seen_is_booked_when_it_is() -> None:
    orchestrator = machine(*MET)
    assert orchestrator.handle(tender(), NOW) == [Watch(PAYER.id)]
    assert orchestrator.handle(seen(stranger(1)), NOW) == []
    assert sent(orchestrator.handle(seen(), NOW)) == [words.Credited(1, Wei(3 * EV_WEI))]
    assert sent(orchestrator.handle(seen(), NOW)) == []


def test_what_a_gateway_paid_that_is_gone_again_waits_for_its_return() -> None:
    orchestrator = machine(*MET, tender(), Disconnected(G))
    assert orchestrator.handle(seen(), NOW) == []
    orchestrator.handle(Connected(G, "gateway", "boot"), NOW)
    assert sent(orchestrator.handle(tender(), NOW)) == [words.Credited(1, Wei(3 * EV_WEI))]


@pytest.mark.parametrize("strangers", [9, 10, 50])
def test_whoever_asks_in_many_names_is_not_remembered_for_ever(strangers: int) -> None:
    orchestrator = machine(*MET, seen())
    for number in range(1, strangers + 1):
        orchestrator.handle(asks(stranger(number)), NOW)
        orchestrator.handle(seen(stranger(number)), NOW)
    forgotten = strangers >= 10
    outcome = orchestrator.handle(asks(), NOW)
    assert outcome == [Watch(PAYER.id)] if forgotten else sent(outcome), "its money is looked at again"
