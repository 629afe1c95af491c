"""What a payer refuses, in which order, and how it numbers its tickets."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shoal.errors import Broken, Refused
from shoal.money.funds import Funds
from shoal.money.ticket import NO_HASH, WIN_PROB_MAX, TicketParams, uint256
from tickets import ETHER, EV_WEI, FUNDS, PAYER, VIEW, at_block, payee, payer

PARAMS = payee().params(PAYER.id, EV_WEI, VIEW, FUNDS)
DEAR = replace(PARAMS, face_value=uint256(10 * ETHER))


def dear(win_prob: int) -> TicketParams:
    """Parameters of a face value that no deposit here covers."""
    return replace(DEAR, win_prob=uint256(win_prob))


# Each is wrong in one way less than the one before it: what is looked at first is named.
@pytest.mark.parametrize(
    ("params", "funds", "count", "reason"),
    [
        (None, Funds(), 99, "ticketParams is nil"),
        (replace(DEAR, expiration_block=0), Funds(), 99, "ticketParams expiration block is 0"),
        (replace(dear(WIN_PROB_MAX), expiration_block=VIEW.block + 1), Funds(), 99, "TicketParams expired"),
        (dear(WIN_PROB_MAX), Funds(), 99, f"ticket faceValue too low faceValue={10 * ETHER}"),
        (dear(WIN_PROB_MAX // 2), Funds(), 99, f"ticket EV {5 * ETHER - 1} > max ticket EV 3000000000000"),
        (
            PARAMS,
            Funds(withdraw_round=VIEW.round + 1),
            99,
            "unable to validate sender: deposit and reserve is set to unlock soon",
        ),
        (PARAMS, Funds(withdraw_round=VIEW.round + 2), 99, "no sender reserve"),
        (PARAMS, Funds(reserve=1), 99, "no sender deposit"),
        (
            PARAMS,
            Funds(deposit=1, reserve=1),
            21,
            "total ticket EV 21000000000000 for 21 tickets > max total ticket EV 20000000000000",
        ),
        (
            PARAMS,
            Funds(deposit=PARAMS.face_wei - 1, reserve=1),
            19,
            f"ticket faceValue {PARAMS.face_wei} > max faceValue {PARAMS.face_wei - 1}",
        ),
        (
            replace(PARAMS, win_prob=uint256(1)),
            Funds(deposit=PARAMS.face_wei, reserve=1),
            1,
            "ticket EV < 1: it would be credited with nothing",
        ),
    ],
)
def test_what_is_refused_first(params: TicketParams | None, funds: Funds, count: int, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        payer().validate(params, VIEW, funds, count)
    assert refused.value.message == reason


def test_what_is_accepted() -> None:
    payer().validate(
        PARAMS, VIEW, FUNDS, 19
    )  # of 20, the last would be over by the rounding of a probability
    payer().validate(replace(PARAMS, win_prob=uint256(0)), VIEW, Funds(), 99)  # free
    payer().validate(replace(PARAMS, expiration_block=VIEW.block + 2), VIEW, FUNDS, 1)


def test_the_recipients_round_stands_and_ours_is_taken_where_it_named_none() -> None:
    assert payer().completed(PARAMS, VIEW) == PARAMS
    for nameless in (
        replace(PARAMS, creation_round=0),
        replace(PARAMS, creation_round_hash=NO_HASH),
        replace(PARAMS, creation_round=0, creation_round_hash=NO_HASH),
    ):
        assert payer().completed(nameless, VIEW) == PARAMS


def test_nonces_begin_at_1_and_end_at_the_limit() -> None:
    one = payer()
    assert [ticket.nonce for ticket in one.issue(PARAMS, 3)] == [1, 2, 3]
    one.take(one.issued(PARAMS, 3, VIEW))
    assert [ticket.nonce for ticket in one.issue(PARAMS, 2)] == [4, 5]
    assert one.left(PARAMS) == 597
    assert not one.wants_new_params(PARAMS, VIEW, 597)
    assert one.wants_new_params(PARAMS, VIEW, 598)
    for count in (0, 598):
        with pytest.raises(Refused, match="leave 597 tickets"):
            one.issue(PARAMS, count)


def test_new_parameters_are_asked_for_before_the_old_expire() -> None:
    one, last = payer(params_blocks_low=5), PARAMS.expiration_block
    assert not one.wants_new_params(PARAMS, at_block(VIEW, last - 5), 1)
    assert one.wants_new_params(PARAMS, at_block(VIEW, last - 4), 1)


def test_a_nonce_is_used_once() -> None:
    one = payer()
    fact = one.issued(PARAMS, 3, VIEW)
    one.take(fact)
    with pytest.raises(Broken, match="made twice"):
        one.take(fact)


def test_streams_are_forgotten_and_no_more_than_the_limit() -> None:
    one, asked = payer(streams_max=2), payee()
    streams = [asked.params(PAYER.id, EV_WEI, VIEW, FUNDS) for _ in range(3)]
    for params in streams[:2]:
        one.take(one.issued(params, 1, VIEW))
    assert one.left(streams[2]) == 0
    later = at_block(VIEW, streams[0].expiration_block)
    new = asked.params(PAYER.id, EV_WEI, later, FUNDS)
    one.take(replace(one.issued(streams[1], 1, later), expiration_block=later.block + 1))
    assert one.left(new) == 600
    with pytest.raises(Refused, match="expired"):
        one.validate(streams[0], VIEW, FUNDS, 1)  # though the chain seems to stand further back
