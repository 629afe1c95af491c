"""What a payee asks for and what it refuses beyond forgery: limits, money that goes, time that runs out."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shoal.errors import Broken, Failed, NoCredit, Refused
from shoal.ids import NodeId
from shoal.money.funds import UNSEEN, ChainSeen, ChainView, Funds, FundsSeen
from shoal.money.payee import Judged, Payee, WinnerSettled
from shoal.money.refusal import Fault
from shoal.money.ticket import TicketParams, uint256
from shoal.runtime.keys import NodeKey
from tickets import (
    ETHER,
    EV_WEI,
    FUNDS,
    OTHER_PAYER,
    PAYEE,
    PAYER,
    VIEW,
    at_block,
    drawn_up,
    payee,
    payer,
    signed,
)

ALWAYS = {"face_wei_max": EV_WEI, "redeem_gas": 1}


def pay(
    one: Payee, params: TicketParams, nonces: range, *, view: ChainView = VIEW, funds: Funds = FUNDS
) -> Judged:
    """Judge tickets of `PAYER`, and take what is good."""
    judged = one.judge(params, PAYER.id, drawn_up(PAYER, params, nonces), view, funds)
    if judged.taken:
        one.take(judged.taken)
    one.check()
    return judged


def test_a_payer_of_ours_agrees_to_what_a_payee_of_ours_asks() -> None:
    one, other = payee(), payer()
    params = one.params(PAYER.id, EV_WEI, VIEW, FUNDS)
    other.validate(params, VIEW, FUNDS, 10)
    assert (params.recipient, params.ev_wei, params.expiration_block) == (PAYEE.id, EV_WEI, VIEW.block + 40)
    assert (params.creation_round, params.creation_round_hash) == (VIEW.round, VIEW.round_hash)
    judged = one.judge(params, PAYER.id, signed(PAYER, other.issue(params, 10)), VIEW, FUNDS)
    assert judged.fault is None
    assert judged.credit_wei == 10 * EV_WEI == 10 * params.ev_wei


def test_parameters_differ_and_are_of_one_sender() -> None:
    one = payee()
    mine, again = (one.params(PAYER.id, EV_WEI, VIEW, FUNDS) for _ in range(2))
    assert mine.recipient_rand_hash != again.recipient_rand_hash
    others = one.judge(mine, OTHER_PAYER.id, drawn_up(OTHER_PAYER, mine, [1]), VIEW, FUNDS)
    assert others.fault == Fault.RAND


def test_parameters_outlive_a_restart_with_the_same_secret_and_no_other() -> None:
    params = payee().params(PAYER.id, EV_WEI, VIEW, FUNDS)
    assert pay(payee(), params, range(1, 3)).fault is None
    assert pay(payee(secret=b"lost"), params, range(1, 3)).fault == Fault.RAND


@pytest.mark.parametrize(
    ("view", "funds", "error", "why"),
    [
        (UNSEEN, FUNDS, Failed, "no round"),
        (VIEW, Funds(), NoCredit, "insufficient sender reserve"),
        (VIEW, replace(FUNDS, withdraw_round=VIEW.round), Refused, "sender is unlocked"),
        (VIEW, replace(FUNDS, withdraw_round=VIEW.round + 1), Refused, "unlock soon"),
        (
            replace(VIEW, round_initialised=False),
            replace(FUNDS, withdraw_round=VIEW.round + 2),
            Refused,
            "soon",
        ),
    ],
)
def test_who_gets_no_parameters(view: ChainView, funds: Funds, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        payee().params(PAYER.id, EV_WEI, view, funds)


def test_free_work_has_tickets_that_nobody_sends() -> None:
    one = payee()
    params = one.params(PAYER.id, 0, VIEW, Funds())
    assert (params.face_wei, params.ev_wei) == (0, 0)
    assert pay(one, params, range(1, 2)).fault == Fault.NO_WIN


def test_six_hundred_tickets_and_not_one_more() -> None:
    one = payee()
    params = one.params(PAYER.id, EV_WEI, VIEW, FUNDS)
    assert pay(one, params, range(1, 451)).fault is None
    last = pay(one, params, range(451, 621))
    assert (last.credit_wei, last.fault) == (150 * EV_WEI, Fault.NONCES)


def test_one_payment_is_no_longer_than_the_limit() -> None:
    one = payee(tickets_per_payment_max=5)
    params = one.params(PAYER.id, EV_WEI, VIEW, FUNDS)
    assert pay(one, params, range(1, 7)).fault == Fault.TICKETS


def test_parameters_are_good_until_their_block() -> None:
    one = payee()
    params = one.params(PAYER.id, EV_WEI, VIEW, FUNDS)
    last = at_block(VIEW, params.expiration_block - 1)
    assert pay(one, params, range(1, 2), view=last).fault is None
    assert pay(one, params, range(2, 3), view=at_block(VIEW, last.block + 1)).fault == Fault.PARAMS_EXPIRED


def test_what_has_expired_is_forgotten_and_refused_even_if_the_chain_steps_back() -> None:
    one = payee()
    old = one.params(PAYER.id, EV_WEI, VIEW, FUNDS)
    pay(one, old, range(1, 4))
    later = at_block(VIEW, old.expiration_block)
    pay(one, one.params(PAYER.id, EV_WEI, later, FUNDS), range(1, 2), view=later)
    assert [each.nonces for each in one.dump().senders[0].params] == [((1, 1),)]
    assert pay(one, old, range(1, 5), view=VIEW).fault == Fault.PARAMS_EXPIRED


def test_memory_is_bounded_and_comes_free() -> None:
    one = payee(senders_max=2, params_per_sender_max=2)
    keys = [NodeKey((50 + number).to_bytes(32)) for number in range(3)]
    asked = [one.params(key.id, EV_WEI, VIEW, FUNDS) for key in keys]
    faults = []
    for key, params in zip(keys, asked, strict=True):
        judged = one.judge(params, key.id, drawn_up(key, params, [1]), VIEW, FUNDS)
        faults.append(judged.fault)
        if judged.taken:
            one.take(judged.taken)
    assert faults == [None, None, Fault.SENDERS]
    more = [one.params(keys[0].id, EV_WEI, VIEW, FUNDS) for _ in range(2)]
    for params, fault in zip(more, (None, Fault.PARAMS), strict=True):
        judged = one.judge(params, keys[0].id, drawn_up(keys[0], params, [1]), VIEW, FUNDS)
        assert judged.fault == fault
        if judged.taken:
            one.take(judged.taken)
    one.check()
    later = at_block(VIEW, VIEW.block + 40)
    params = one.params(keys[0].id, EV_WEI, later, FUNDS)
    judged = one.judge(params, keys[0].id, drawn_up(keys[0], params, [1]), later, FUNDS)
    assert judged.taken is not None
    one.take(judged.taken)
    assert one.senders == (keys[0].id,)


def test_pending_winners_hold_back_what_they_will_take() -> None:
    """Deposit 3, share 2, float 1, a ticket pays 1: three at once are trusted, and more as they are settled."""
    funds = Funds(deposit=3 * EV_WEI, reserve=8 * EV_WEI)
    one = payee(**ALWAYS, float_wei_max=EV_WEI)
    params = one.params(PAYER.id, EV_WEI, VIEW, funds)
    judged = pay(one, params, range(1, 10), funds=funds)
    assert (len(judged.winners), judged.fault) == (3, Fault.FLOAT)
    assert one.pending_wei(PAYER.id) == 3 * EV_WEI
    first = one.pending(PAYER.id)[0]
    one.take(WinnerSettled(PAYER.id, first.ticket_hash))
    assert pay(one, params, range(10, 12), funds=funds).credit_wei == EV_WEI
    with pytest.raises(Broken, match="not pending"):
        one.take(WinnerSettled(PAYER.id, first.ticket_hash))


def test_money_that_goes_is_seen() -> None:
    one = payee(**ALWAYS)
    params = one.params(PAYER.id, EV_WEI, VIEW, FUNDS)
    for funds, fault in (
        (Funds(), Fault.NO_FUNDS),
        (Funds(deposit=EV_WEI - 1), Fault.FUNDS),
        (Funds(deposit=EV_WEI), None),
        (Funds(reserve=4 * EV_WEI), None),
        (Funds(reserve=4 * EV_WEI, claimed_by_me=1), Fault.FUNDS),
    ):
        judged = one.judge(params, PAYER.id, drawn_up(PAYER, params, [1]), VIEW, funds)
        assert judged.fault == fault, funds


def test_a_winner_names_what_redeems_it_and_from_when_on() -> None:
    one = payee(**ALWAYS)
    params = one.params(PAYER.id, EV_WEI, VIEW, FUNDS)
    winner = pay(one, params, range(1, 2)).winners[0]
    assert winner.signed.ticket == params.ticket(PAYER.id, 1)
    assert winner.signed.ticket.wins(winner.signed.signature, winner.recipient_rand)
    assert winner.expiration_block == params.expiration_block
    assert one.is_pending(PAYER.id, winner.ticket_hash)
    assert not one.is_pending(OTHER_PAYER.id, winner.ticket_hash)


def test_nobody_pays_nobody() -> None:
    nobody = NodeId("0x" + 40 * "0")
    with pytest.raises(Refused, match="null address"):
        payee().params(nobody, EV_WEI, VIEW, FUNDS)


def test_what_was_seen_is_held_as_it_was_seen() -> None:
    seen = ChainSeen(5, 6, b"h", False, 7, 8)
    assert seen.view == ChainView(5, 6, b"h", round_initialised=False, gas_price_wei=7, pool_size=8)
    assert seen.view.current_round == 7
    assert FundsSeen(PAYER.id, 1, 2, 3, 4, 5).funds == Funds(1, 2, 3, 4, 5)
    assert Funds(deposit=ETHER).locked(10**9)
    assert uint256(1) == bytes(31) + b"\1"
