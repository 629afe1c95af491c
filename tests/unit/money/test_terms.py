"""What tickets pay and how often they win: the formulas, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import NoCredit
from shoal.money.funds import Funds
from shoal.money.terms import (
    GWEI,
    PayeeRules,
    face_value_wei,
    float_wei,
    recipient_rand,
    win_prob_of,
)
from shoal.money.ticket import WIN_PROB_MAX, uint256, worth_wei
from shoal.money.wei import Price
from tickets import EV_WEI, FUNDS, PAYER, VIEW, payee

PLENTY = 10**30
RULES = PayeeRules()


@pytest.mark.parametrize(
    ("ev", "gas_price", "float_max", "face_max", "face"),
    [
        (0, GWEI, PLENTY, 0, 0),  # free work
        (10, GWEI, PLENTY, 0, 350_000 * GWEI * 100),  # a hundred redemptions
        (10, 0, PLENTY, 0, 1_000),  # gas is free: a hundred times its worth
        (10**20, GWEI, PLENTY, 0, 10**22),  # worth more than a hundred redemptions
        (10, GWEI, 350_000 * GWEI, 0, 350_000 * GWEI),  # what the sender's money allows
        (10, GWEI, PLENTY, 10**15, 10**15),  # what we allow
        (10, 9 * GWEI, 350_000 * 3 * GWEI, 0, 350_000 * 3 * GWEI),  # gas is dear, and will not stay so
        (10, 0, 10, 0, 10),  # wins always
    ],
)
def test_face_value(ev: int, gas_price: int, float_max: int, face_max: int, face: int) -> None:
    assert face_value_wei(ev, gas_price, float_max, PayeeRules(face_wei_max=face_max)) == face


@pytest.mark.parametrize(
    ("ev", "gas_price", "float_max"),
    [(10, 0, 9), (10, GWEI, 350_000 * GWEI - 1), (10, 9 * GWEI, 350_000 * 3 * GWEI - 1), (1, 0, -5)],
)
def test_too_little_money(ev: int, gas_price: int, float_max: int) -> None:
    with pytest.raises(NoCredit, match="insufficient sender reserve"):
        face_value_wei(ev, gas_price, float_max, RULES)


@pytest.mark.parametrize(
    ("funds", "pool", "pending", "most"),
    [
        (Funds(deposit=0, reserve=100), 4, 0, 25),
        (Funds(deposit=0, reserve=100), 0, 0, 0),  # nobody is active
        (Funds(deposit=0, reserve=60, claimed_by_all=40, claimed_by_me=10), 4, 0, 15),
        (Funds(deposit=0, reserve=103), 4, 0, 25),
        (Funds(deposit=30, reserve=100), 4, 10, 25),  # the deposit is three times what is pending
        (Funds(deposit=29, reserve=100), 4, 10, 15),
        (Funds(deposit=0, reserve=100), 4, 30, -5),
    ],
)
def test_float(funds: Funds, pool: int, pending: int, most: int) -> None:
    assert float_wei(funds, pool, pending, deposit_pending_ratio=3) == most


def test_win_prob() -> None:
    assert win_prob_of(0, 0) == 0
    assert win_prob_of(7, 7) == WIN_PROB_MAX
    assert win_prob_of(3, 1) == WIN_PROB_MAX // 3  # no rest
    assert win_prob_of(7, 2) == 2 * (WIN_PROB_MAX // 7 + 1)


@given(st.integers(1, 10**24), st.integers(1, 10**6))
def test_a_ticket_is_worth_what_was_asked_for(ev: int, times: int) -> None:
    assert worth_wei(uint256(ev * times), uint256(win_prob_of(ev * times, ev))) == ev


def test_a_number_to_draw_with_depends_on_everything_that_was_promised() -> None:
    params = payee().params(PAYER.id, EV_WEI, VIEW, FUNDS)
    rand = recipient_rand(b"s", params, PAYER.id, Price(4, 6))
    assert rand == recipient_rand(b"s", params, PAYER.id, Price(2, 3))  # the same price
    assert rand != recipient_rand(b"t", params, PAYER.id, Price(2, 3))
    assert rand != recipient_rand(b"s", params, params.recipient, Price(2, 3))
    assert rand != recipient_rand(b"s", params, PAYER.id, Price(2, 4))
