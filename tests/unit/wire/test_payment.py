"""Payments as Livepeer's nodes send them: the very bytes, and what is refused."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shoal.errors import Untrusted
from shoal.ids import NodeId
from shoal.money.refusal import Fault
from shoal.money.ticket import NO_HASH, Payment, SignedNonce, TicketParams, uint256
from shoal.money.wei import Price
from shoal.wire import net
from shoal.wire.payment import params_in, params_out, payment_in, payment_out
from shoal.wire.protobuf import decode, encode
from tickets import EV_WEI, FUNDS, PAYER, VIEW, drawn_up, payee

PARAMS = TicketParams(
    NodeId("0x" + "aa" * 20), uint256(256), uint256(0), b"\x04" * 32, uint256(5), 300, 7, b"\x02" * 32
)
PAYMENT = Payment(
    PARAMS, NodeId("0x" + "bb" * 20), (SignedNonce(1, b"\x09" * 65), SignedNonce(300, b"\x08" * 65))
)
#: Field by field, by hand: tag, length, content.
BYTES = (
    "0a40"  # ticket_params
    + ("0a14" + "aa" * 20)  # recipient
    + "12020100"  # face_value: 256; win_prob is 0, and so nothing
    + ("2220" + "04" * 32)  # recipient_rand_hash
    + "2a0105"  # seed
    + "3202012c"  # expiration_block: 300
    + ("1214" + "bb" * 20)  # sender
    + ("1a24" + "0807" + "1220" + "02" * 32)  # expiration_params
    + ("2245" + "0801" + "1241" + "09" * 65)  # ticket_sender_params
    + ("2246" + "08ac02" + "1241" + "08" * 65)
    + ("2a04" + "0803" + "1004")  # expected_price: 3 for 4
)


def test_the_bytes() -> None:
    written = payment_out(PAYMENT, Price(3, 4)).hex()
    size = (len("0a14" + "aa" * 20 + "12020100" + "2220" + "04" * 32 + "2a0105" + "3202012c")) // 2
    assert written == BYTES.replace("0a40", f"0a{size:02x}", 1)
    assert payment_in(bytes.fromhex(written)) == (PAYMENT, PAYMENT.sender, Price(3, 4))


def test_parameters_travel_both_ways() -> None:
    params = payee().params(PAYER.id, EV_WEI, VIEW, FUNDS)
    assert params_in(params_out(params)) == params
    again = decode(net.TicketParams, encode(params_out(params)))
    assert params_in(again) == params
    nameless = replace(again, expiration_params=None)
    assert params_in(nameless) == replace(params, creation_round=0, creation_round_hash=NO_HASH)


def test_a_payment_in_their_form_is_judged_like_one_in_ours() -> None:
    one, price = payee(), Price(6, 4)
    params = one.params(PAYER.id, EV_WEI, VIEW, FUNDS, price=price)
    sent = payment_out(Payment(params, PAYER.id, drawn_up(PAYER, params, range(1, 4))), price)
    came, sender, expected = payment_in(sent)
    assert came is not None
    assert expected is not None
    judged = one.judge(came.params, sender, came.tickets, VIEW, FUNDS, price=expected)
    assert (judged.fault, judged.credit_wei) == (None, 3 * EV_WEI)
    cheaper = one.judge(came.params, sender, came.tickets, VIEW, FUNDS, price=Price(1))
    assert cheaper.fault == Fault.RAND


def test_a_payment_without_tickets_says_who_and_at_what_price() -> None:
    sent = encode(net.Payment(sender=b"\xbb" * 20, expected_price=net.PriceInfo(1, 2)))
    assert payment_in(sent) == (None, PAYMENT.sender, Price(1, 2))


GOOD = decode(net.Payment, payment_out(PAYMENT, Price(3, 4)))
TERMS = GOOD.ticket_params or net.TicketParams()


@pytest.mark.parametrize(
    "spoiled",
    [
        replace(GOOD, sender=b"\xbb" * 19),
        replace(GOOD, sender=b""),
        replace(GOOD, ticket_params=None),
        replace(GOOD, ticket_params=replace(TERMS, recipient=b"")),
        replace(GOOD, ticket_params=replace(TERMS, face_value=b"\1" * 33)),
        replace(GOOD, ticket_params=replace(TERMS, recipient_rand_hash=b"\1" * 31)),
        replace(GOOD, ticket_params=replace(TERMS, expiration_block=b"\xff" * 8)),
        replace(GOOD, expiration_params=net.TicketExpirationParams(-1, b"\1" * 32)),
        replace(GOOD, expiration_params=net.TicketExpirationParams(1, b"\1")),
        replace(GOOD, expected_price=net.PriceInfo(-1, 1)),
        replace(GOOD, expected_price=net.PriceInfo(1, 0)),
        replace(GOOD, ticket_sender_params=(net.TicketSenderParams(sig=bytes(65_536)),)),
    ],
)
def test_what_is_no_payment(spoiled: net.Payment) -> None:
    with pytest.raises(Untrusted):
        payment_in(encode(spoiled))
