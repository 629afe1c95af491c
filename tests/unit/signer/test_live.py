"""Live work paid through a signer: units, prices, credit that stays, and states that are good once."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from shoal.money.wei import Price
from shoal.signer.events import Answer
from shoal.signer.live import PIXELS_PER_SECOND, State, units
from shoal.units import HOUR_MS, SECOND_MS
from signing import PRICE, WORTH, Desk, see, ticket
from tickets import ETHER, OTHER_PAYEE, VIEW


def paid(answer: Answer) -> State:
    """The state of a payment that was made."""
    assert answer.fault is None, answer.fault
    assert answer.state is not None
    return answer.state


def refused(answer: Answer) -> tuple[str, str]:
    """The code and the words of one that was not."""
    assert answer.fault is not None
    assert answer.nonces == ()
    return answer.fault.code, answer.fault.message


@pytest.mark.parametrize(
    ("kind", "in_units", "elapsed_ms", "expected"),
    [
        ("live", 0, None, 10),
        ("live", 0, 0, 10),
        ("live", 0, 1, 1),
        ("live", 0, 5_000, 5),
        ("live", 0, 5_001, 6),
        ("lv2v", 0, None, 1_658_880_000),
        ("lv2v", 0, 500, PIXELS_PER_SECOND // 2),
        ("fixed", 0, None, 1),
        ("fixed", 99, 5_000, 1),
        ("", 42, None, 42),
        ("", 42, 5_000, 42),
    ],
)
def test_units_go_by_the_clock(kind: str, in_units: int, elapsed_ms: int | None, expected: int) -> None:
    assert units(kind, in_units, elapsed_ms) == expected


def test_a_payment_goes_on_from_the_one_before() -> None:
    desk = Desk()
    first = desk.pays()
    state = paid(first)
    assert first.nonces == tuple(range(1, 12)), "a little less than ten tickets are worth eleven"
    assert (state.sequence, state.nonce, state.kind) == (0, 11, "live")
    worth = Fraction(ticket().face_wei * int.from_bytes(ticket().win_prob), 2**256 - 1)
    assert Fraction(state.balance) == 11 * worth - 10 * WORTH
    desk.pass_time(2_500)
    second = desk.pays(state)
    after = paid(second)
    assert second.nonces == (12, 13, 14), "three seconds, less what was left"
    assert (after.sequence, after.nonce) == (1, 14)
    assert Fraction(after.balance) == 14 * worth - 13 * WORTH


def test_credit_that_covers_it_needs_no_tickets() -> None:
    desk = Desk()
    state = paid(desk.pays(price=Price(WORTH // 100)))
    assert 0 < Fraction(state.balance) < WORTH
    desk.pass_time(SECOND_MS)
    again = desk.pays(state, price=Price(WORTH // 100))
    assert again.nonces == (2,), "there is to be as much as a ticket is worth, whatever is to be paid"
    state = paid(again)
    desk.pass_time(SECOND_MS)
    code, _ = refused(desk.pays(state, price=Price(WORTH // 100)))
    assert code == "no_tickets"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"kind": "fixed"}, "", ""),
        ({"kind": ""}, "refused", "missing billable unit"),
        ({"kind": "", "in_units": 5}, "", ""),
        ({"kind": "", "in_units": -5}, "refused", "missing billable unit"),
        ({"kind": "", "in_units": 2**70}, "refused", "missing billable unit"),
        ({"price_max": PRICE}, "", ""),
        ({"price_max": Price(WORTH - 1)}, "price_exceeded", "exceeds maximum price"),
        ({"price": Price(2 * WORTH)}, "price_exceeded", "exceeds maximum price"),
        ({"price": Price(15 * WORTH), "kind": "fixed"}, "", ""),
        ({"price": Price(101 * WORTH), "kind": "fixed"}, "refused", "exceeds maximum of 100"),
        ({"price": Price(30 * WORTH), "kind": "fixed"}, "refused", "EV"),
        ({"params": ticket(win_prob=0)}, "refused", "worth nothing"),
        ({"params": ticket(expiration_block=VIEW.block + 1)}, "refresh_needed", "expired"),
        ({"params": ticket(expiration_block=VIEW.block + 2)}, "", ""),
        ({"params": ticket(expiration_block=VIEW.block + 1_001)}, "refused", "more than 1000 blocks"),
        ({"params": ticket(expiration_block=0)}, "refresh_needed", "expired"),
        ({"params": ticket(recipient=OTHER_PAYEE.id)}, "refused", "may not pay"),
        ({"params": ticket(face_value=WORTH, win_prob=2**256 - 1)}, "refused", "faceValue too low"),
    ],
)
def test_what_may_be_paid(changes: dict[str, Any], code: str, words: str) -> None:
    desk = Desk(prices_max={"live": PRICE}, payees=(ticket().recipient,))
    answer = desk.pays(**changes)
    assert (answer.fault.code if answer.fault else "") == code
    if answer.fault is not None:
        assert words in answer.fault.message
    assert bool(desk.facts) is not bool(code)


def test_a_price_may_double_and_no_more() -> None:
    desk = Desk()
    state = paid(desk.pays())
    desk.pass_time(SECOND_MS)
    assert refused(desk.pays(state, price=Price(2 * WORTH + 1)))[0] == "price_exceeded"
    after = paid(desk.pays(state, price=Price(2 * WORTH)))
    assert after.price == PRICE, "the price of the beginning is paid"


@pytest.mark.parametrize("how", ["at once", "after a crash", "from a snapshot"])
def test_a_state_is_good_once(how: str) -> None:
    desk = Desk()
    first = paid(desk.pays())
    desk.pass_time(SECOND_MS)
    second = paid(desk.pays(first))
    if how != "at once":
        desk.restart(snapshot=how == "from a snapshot")
    spent = desk.machine.spending.total
    desk.pass_time(SECOND_MS)
    assert "a later one was handed out" in refused(desk.pays(first))[1]
    assert desk.machine.spending.total == spent
    assert paid(desk.pays(second)).sequence == 2


def test_a_state_is_of_one_orchestrator_and_one_kind() -> None:
    desk = Desk()
    state = paid(desk.pays())
    desk.pass_time(SECOND_MS)
    assert "orchestratorAddress" in refused(desk.pays(state, orchestrator=OTHER_PAYEE.id))[1]
    assert "job type" in refused(desk.pays(state, kind="fixed"))[1]


def test_a_state_grows_too_old() -> None:
    desk = Desk(state_keep_ms=HOUR_MS)
    state = paid(desk.pays())
    desk.pass_time(HOUR_MS)
    assert "too old" in refused(desk.pays(state))[1]


def test_so_many_go_on_at_once() -> None:
    desk = Desk(states_max=2, state_keep_ms=HOUR_MS)
    for name in ("one", "two"):
        paid(desk.pays(name=name))
    assert refused(desk.pays(name="three"))[0] == "busy"
    desk.pass_time(HOUR_MS)
    paid(desk.pays(name="three"))
    assert len(desk.machine.sessions) == 1


def test_nonces_go_on_whatever_state_is_brought() -> None:
    desk = Desk()
    assert desk.pays(name="one").nonces[-1] == 11
    assert desk.pays(name="two").nonces[0] == 12
    desk.restart()
    assert desk.pays(name="three").nonces[0] == 23


def test_parameters_that_are_used_up_are_to_be_refreshed() -> None:
    desk = Desk(ev_wei_per_minute=10**18)
    for number in range(54):
        paid(desk.pays(name=str(number)))
    assert refused(desk.pays(name="last")) == (
        "refresh_needed",
        "refresh session for remote signer: its TicketParams are used up",
    )
    paid(desk.pays(name="next", params=ticket(recipient_rand_hash=bytes([9]) * 32)))


def test_nothing_is_paid_that_the_deposit_does_not_cover() -> None:
    desk = Desk(seen=False)
    assert refused(desk.pays())[0] == "failed", "the chain was not seen"
    see(desk, deposit=0)
    assert "no sender deposit" in refused(desk.pays())[1]
    see(desk, deposit=ticket().face_wei - 1)
    assert "max faceValue" in refused(desk.pays())[1]
    see(desk, deposit=ETHER)
    paid(desk.pays())


def test_live_work_counts_towards_the_same_limits() -> None:
    desk = Desk(ev_wei_in_all=12 * WORTH)
    paid(desk.pays())
    spent = desk.machine.spending.total
    assert spent == 11 * WORTH
    assert desk.refused(1) == ""
    assert "in all" in refused(desk.pays(name="two"))[1]
    desk.restart()
    assert desk.machine.spending.total == spent + WORTH
