"""What a signer lets anybody spend: each limit, on both sides of it, and after a restart."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.errors import Refused
from shoal.money.ticket import WIN_PROB_MAX, TicketParams
from shoal.signer.machine import Allowed, SignerMachine
from shoal.signer.rules import Rules
from shoal.units import HOUR_MS, MINUTE_MS
from signing import START, WORTH, Desk, ticket
from tickets import OTHER_PAYEE, PAYEE, PAYER

DAY_MS = 24 * HOUR_MS


def other(number: int) -> TicketParams:
    """Tickets of the same worth under other parameters."""
    return ticket(recipient_rand_hash=number.to_bytes(32))


@pytest.mark.parametrize(
    ("rules", "params", "count", "message"),
    [
        ({}, ticket(), 1, ""),
        ({"ticket_ev_wei_max": WORTH}, ticket(), 1, ""),
        ({"ticket_ev_wei_max": WORTH - 1}, ticket(), 1, "rules.ticket_ev_wei_max"),
        # Worth a fraction of a wei more than its limit, which counts as a whole one.
        ({"ticket_ev_wei_max": WORTH}, ticket(win_prob=WIN_PROB_MAX // 1_000 + 10**60), 1, "_ev_wei_max"),
        ({"ticket_face_wei_max": 10**15}, ticket(), 1, ""),
        ({"ticket_face_wei_max": 10**15 - 1}, ticket(), 1, "rules.ticket_face_wei_max"),
        ({"request_ev_wei_max": 3 * WORTH}, ticket(), 3, ""),
        ({"request_ev_wei_max": 3 * WORTH - 1}, ticket(), 3, "rules.request_ev_wei_max"),
        ({"tickets_per_request_max": 3}, ticket(), 3, ""),
        ({"tickets_per_request_max": 2}, ticket(), 3, "2 tickets at once"),
        ({"ev_wei_in_all": 2 * WORTH}, ticket(), 2, ""),
        ({"ev_wei_in_all": 2 * WORTH - 1}, ticket(), 2, "wei in all is reached"),
        ({"ev_wei_per_day": 2 * WORTH}, ticket(), 2, ""),
        ({"ev_wei_per_day": 2 * WORTH - 1}, ticket(), 2, "wei a day is reached"),
        ({"ev_wei_per_minute": 2 * WORTH}, ticket(), 2, ""),
        ({"ev_wei_per_minute": 2 * WORTH - 1}, ticket(), 2, "wei a minute is reached"),
        ({"payees": (PAYEE.id,)}, ticket(), 1, ""),
        ({"payees": (PAYEE.id.upper().replace("X", "x"),)}, ticket(), 1, ""),
        ({"payees": (OTHER_PAYEE.id,)}, ticket(), 1, f"may not pay {PAYEE.id}"),
        # All of the deposit, always: what somebody who has the token would try.
        ({}, ticket(face_value=10**18, win_prob=WIN_PROB_MAX), 1, "rules.ticket_ev_wei_max"),
        ({}, ticket(face_value=2**256 - 1, win_prob=1), 1, "rules.ticket_face_wei_max"),
        ({"ev_wei_in_all": 0}, ticket(face_value=0), 1, ""),
    ],
)
def test_each_limit_holds_to_the_wei(
    rules: dict[str, Any], params: TicketParams, count: int, message: str
) -> None:
    desk = Desk(**rules)
    said = desk.refused(*range(1, count + 1), params=params)
    assert message in said if message else said == ""
    assert bool(desk.facts) is not bool(message), "what is refused is not counted, and all else is"


@pytest.mark.parametrize(
    ("nonces", "message"),
    [((0,), "from 1 to 600"), ((601,), "from 1 to 600"), ((2, 2), "named twice"), ((1, 600), "")],
)
def test_nonces_that_no_payee_takes_are_refused(nonces: tuple[int, ...], message: str) -> None:
    assert message in Desk().refused(*nonces)


@pytest.mark.parametrize(
    ("limit", "window_ms"), [("ev_wei_per_minute", MINUTE_MS), ("ev_wei_per_day", DAY_MS)]
)
def test_a_window_fills_up_and_ends(limit: str, window_ms: int) -> None:
    desk = Desk(**{limit: 3 * WORTH})
    desk.now = type(START)(START - START % window_ms)
    assert desk.refused(1, 2, 3) == ""
    said = desk.refused(4)
    assert limit in said
    desk.pass_time(window_ms - 1)
    assert desk.refused(4) == said, "it says the same until the window ends"
    desk.pass_time(1)
    assert desk.refused(4) == ""


def test_the_limit_in_all_never_ends() -> None:
    desk = Desk(ev_wei_in_all=2 * WORTH)
    assert desk.refused(1, 2) == ""
    desk.pass_time(10 * DAY_MS)
    assert "ev_wei_in_all" in desk.refused(3)


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize("limit", ["ev_wei_per_minute", "ev_wei_per_day", "ev_wei_in_all"])
def test_no_restart_gives_anything_back(limit: str, snapshot: bool) -> None:
    desk = Desk(**{limit: 3 * WORTH})
    assert desk.refused(1, 2) == ""
    desk.restart(snapshot=snapshot)
    assert desk.refused(3) == ""
    desk.restart(snapshot=snapshot)
    assert limit in desk.refused(4)
    assert desk.machine.spending.total == 3 * WORTH


def test_a_clock_that_goes_back_opens_no_window_again() -> None:
    desk = Desk(ev_wei_per_minute=2 * WORTH)
    desk.pass_time(10 * MINUTE_MS)
    assert desk.refused(1, 2) == ""
    desk.pass_time(-5 * MINUTE_MS)
    assert "a minute" in desk.refused(3)
    desk.restart()
    assert "a minute" in desk.refused(3)


@pytest.mark.parametrize("snapshot", [False, True])
def test_the_same_tickets_again_are_not_charged_again(snapshot: bool) -> None:
    desk = Desk(ev_wei_in_all=3 * WORTH)
    first = desk.tickets(1, 2)
    desk.restart(snapshot=snapshot)
    assert desk.tickets(1, 2) == first
    assert desk.refused(2, 3) == "", "only the third is new"
    assert desk.machine.spending.total == 3 * WORTH
    assert "in all" in desk.refused(4)
    # Anything else about them makes them other tickets.
    for params in (
        ticket(recipient=OTHER_PAYEE.id),
        ticket(face_value=10**15 - 1),
        ticket(win_prob=WIN_PROB_MAX // 1_000 - 1),
        ticket(recipient_rand_hash=bytes([9]) * 32),
        ticket(creation_round=1),
    ):
        assert "in all" in desk.refused(1, params=params)


def test_tickets_that_are_forgotten_are_charged_again() -> None:
    desk = Desk(streams_max=2)
    for number in (1, 2, 3):
        assert desk.refused(1, params=other(number)) == ""
    assert desk.refused(1, params=other(1)) == ""
    assert desk.machine.spending.total == 4 * WORTH
    assert len(desk.machine.dump().streams) == 2


def test_what_counts_is_rounded_up() -> None:
    desk = Desk(ev_wei_in_all=5)
    tiny = ticket(face_value=10, win_prob=1)
    assert desk.refused(1, 2, 3, 4, 5, params=tiny) == ""
    assert "in all" in desk.refused(6, params=tiny)


def test_more_than_64_bits_of_wei_are_counted() -> None:
    lots = 2**80
    desk = Desk(
        **dict.fromkeys(
            (
                *("ticket_ev_wei_max", "ticket_face_wei_max", "request_ev_wei_max"),
                *("ev_wei_per_minute", "ev_wei_per_day", "ev_wei_in_all"),
            ),
            2**100,
        )
    )
    assert desk.refused(1, params=ticket(face_value=lots, win_prob=WIN_PROB_MAX)) == ""
    desk.restart(snapshot=True)
    assert desk.machine.spending.total == lots
    ((_, fact),) = desk.facts
    assert isinstance(fact, Allowed)


def test_a_payee_that_is_no_address_is_refused_at_the_start() -> None:
    with pytest.raises(Refused, match=r"rules\.payees: '0x12' is no address"):
        SignerMachine(Rules(payees=("0x12",)), PAYER.id)
