"""Tickets: the hashes, the signature and the winning rule that the contract goes by."""

from __future__ import annotations

import pytest

from shoal.errors import Refused, Untrusted
from shoal.ids import NodeId
from shoal.money.keccak import keccak256
from shoal.money.ticket import (
    NO_HASH,
    WIN_PROB_MAX,
    Payment,
    SignedNonce,
    SignedTicket,
    Ticket,
    TicketParams,
    aux_data,
    payment,
    personal_hash,
    uint256,
    worth_wei,
)
from shoal.wire.codec import Coder
from tickets import EV_WEI, FUNDS, PAYEE, PAYER, VIEW, payee

NOBODY = NodeId("0x" + 40 * "0")
TICKETS = Coder(Ticket)


def blank(*, face: int = 0, win_prob: int = 0, nonce: int = 0) -> Ticket:
    return Ticket(NOBODY, NOBODY, uint256(face), uint256(win_prob), nonce, NO_HASH, b"")


@pytest.mark.parametrize(
    ("ticket", "digest"),
    [
        (blank(nonce=2**32 - 1), "e1393fc7f6de093780674022f96cb8e3872235167d037c04d554e58c0e63d280"),
        (blank(nonce=1), "ce0918ba94518293e9712effbe5fca4f1f431089833a5b8c257cb1e024595f68"),
        (blank(face=1, win_prob=500), "87ef13f2d37e4d5352a01d3c77b8179d80e0887f1953bfabfd0bfd7b0f689ddd"),
        (blank(face=500, win_prob=1), "aa4b35071043587992ac8b9dd1b2cf1d8311130e6458cf0b2342484e21af5f5b"),
    ],
)
def test_hashes_that_others_get_too(ticket: Ticket, digest: str) -> None:
    assert ticket.ticket_hash.hex() == digest


def test_what_is_signed_is_the_hash_as_a_personal_message() -> None:
    ticket = blank(nonce=1)
    assert ticket.signed_hash == personal_hash(ticket.ticket_hash)
    assert ticket.signed_hash == keccak256(b"\x19Ethereum Signed Message:\n32" + ticket.ticket_hash)


def test_a_round_is_two_words_and_no_round_is_none() -> None:
    assert aux_data(0, NO_HASH) == b""
    assert aux_data(0, b"\1" * 32) == bytes(32) + b"\1" * 32
    assert aux_data(7, NO_HASH) == bytes(31) + b"\7" + bytes(32)


def test_a_draw_wins_below_its_probability_and_not_at_it() -> None:
    drawn = int.from_bytes(keccak256(b"s" * 65 + b"r" * 32))
    for win_prob, wins in ((drawn, False), (drawn + 1, True), (0, False), (WIN_PROB_MAX, True)):
        assert blank(win_prob=win_prob).wins(b"s" * 65, b"r" * 32) == wins


def test_a_ticket_is_worth_whole_wei_rounded_down() -> None:
    assert worth_wei(uint256(10), uint256(WIN_PROB_MAX)) == 10
    assert worth_wei(uint256(10), uint256(WIN_PROB_MAX - 1)) == 9
    assert worth_wei(uint256(WIN_PROB_MAX), uint256(WIN_PROB_MAX)) == WIN_PROB_MAX


def test_a_payment_is_its_tickets_shorter() -> None:
    params = payee().params(PAYER.id, EV_WEI, VIEW, FUNDS)
    whole = tuple(SignedTicket(params.ticket(PAYER.id, nonce), b"s" * 65) for nonce in (1, 2, 9))
    short = payment(params, PAYER.id, whole)
    assert short == Payment(params, PAYER.id, tuple(SignedNonce(nonce, b"s" * 65) for nonce in (1, 2, 9)))
    assert short.signed_tickets() == whole
    assert short.ev_wei == 3 * params.ev_wei == 3 * EV_WEI


@pytest.mark.parametrize("number", [-1, 2**256])
def test_amounts_that_do_not_fit(number: int) -> None:
    with pytest.raises(Refused, match="256 bits"):
        uint256(number)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"recipient": NodeId(PAYEE.id.upper())},
        {"recipient": NodeId(PAYEE.id + "\n")},
        {"face_value": b"\1"},
        {"nonce": 2**32},
        {"nonce": -1},
        {"recipient_rand_hash": bytes(31)},
        {"aux_data": bytes(65)},
    ],
)
def test_what_is_no_ticket_is_not_read_as_one(spoiled: dict[str, object]) -> None:
    fields = {name: getattr(blank(), name) for name in Ticket.__struct_fields__}
    assert TICKETS.decode(TICKETS.encode(Ticket(**fields))) == blank()
    with pytest.raises(Untrusted):
        TICKETS.decode(TICKETS.encode(Ticket(**fields | spoiled)))


def test_parameters_name_everything_in_their_tickets() -> None:
    params = TicketParams(
        PAYEE.id,
        uint256(5),
        uint256(6),
        b"h" * 32,
        b"s" * 32,
        99,
        creation_round=3,
        creation_round_hash=b"b" * 32,
    )
    assert params.ticket(PAYER.id, 4) == Ticket(
        PAYEE.id, PAYER.id, uint256(5), uint256(6), 4, b"h" * 32, uint256(3) + b"b" * 32
    )
