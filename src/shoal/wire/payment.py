"""Tickets as Livepeer's nodes send them: `net.Payment` and `net.TicketParams`, both ways.

Amounts are big-endian without leading zeros there, addresses 20 bytes. What does not fit our own types is the
sender's fault; whether a signature is good is for the payee to say.
"""

from __future__ import annotations

from msgspec.structs import replace

from shoal.errors import Refused, Untrusted
from shoal.ids import NodeId
from shoal.money.ticket import (
    NO_HASH,
    WORD_BYTES,
    Hash,
    Payment,
    SignedNonce,
    TicketParams,
    Uint256,
    address_bytes,
)
from shoal.money.wei import Price
from shoal.wire import net
from shoal.wire.protobuf import decode, encode

ADDRESS_BYTES = 20
HEIGHT_MAX = 2**63 - 1
#: A payment of 600 tickets has 50 kB.
PAYMENT_BYTES_MAX = 64 * 1024


def params_out(params: TicketParams) -> net.TicketParams:
    """Parameters as an orchestrator's answer holds them."""
    return net.TicketParams(
        recipient=address_bytes(params.recipient),
        face_value=_minimal(params.face_value),
        win_prob=_minimal(params.win_prob),
        recipient_rand_hash=params.recipient_rand_hash,
        seed=_minimal(params.seed),
        expiration_block=_minimal(params.expiration_block.to_bytes(WORD_BYTES)),
        expiration_params=_round_out(params),
    )


def params_in(params: net.TicketParams) -> TicketParams:
    """Parameters out of an orchestrator's answer. Raises `Untrusted` if they cannot be any."""
    return _params(params, params.expiration_params)


def price_out(price: Price) -> net.PriceInfo:
    """A price of any work."""
    return net.PriceInfo(price_per_unit=price.wei, pixels_per_unit=price.per_units)


def price_in(price: net.PriceInfo) -> Price:
    """A price of any work. Raises `Untrusted` if it cannot be one."""
    try:
        return Price(price.price_per_unit, price.pixels_per_unit)
    except Refused as error:
        raise Untrusted(f"a payment names no price: {error}") from error


def payment_out(payment: Payment, price: Price | None) -> bytes:
    """A payment as it stands beside a job; `price` is what the sender expects to pay for it."""
    tickets = tuple(net.TicketSenderParams(each.nonce, each.signature) for each in payment.tickets)
    return encode(
        net.Payment(
            ticket_params=replace(params_out(payment.params), expiration_params=None),
            sender=address_bytes(payment.sender),
            expiration_params=_round_out(payment.params),
            ticket_sender_params=tickets,
            expected_price=price_out(price) if price else None,
        )
    )


def payment_in(data: bytes) -> tuple[Payment | None, NodeId, Price | None]:
    """A payment that came beside a job: its tickets if there are any, its sender, and the price that it expects.

    Raises `Untrusted` if it is none.
    """
    payment = decode(net.Payment, data, bytes_max=PAYMENT_BYTES_MAX)
    sender = _address(payment.sender, "sender")
    price = price_in(payment.expected_price) if payment.expected_price else None
    if payment.ticket_params is None:
        if payment.ticket_sender_params:
            raise Untrusted("a payment has tickets without their parameters")
        return None, sender, price
    params = _params(payment.ticket_params, payment.expiration_params)
    tickets = tuple(SignedNonce(each.sender_nonce, each.sig) for each in payment.ticket_sender_params)
    return Payment(params, sender, tickets), sender, price


def _params(params: net.TicketParams, round_: net.TicketExpirationParams | None) -> TicketParams:
    round_ = round_ or net.TicketExpirationParams()
    if round_.creation_round < 0:
        raise Untrusted("a ticket was made in a round below 0")
    expiration_block = int.from_bytes(_padded(params.expiration_block, "expiration_block"))
    if expiration_block > HEIGHT_MAX:
        raise Untrusted("a ticket's parameters expire at a block that never comes")
    return TicketParams(
        _address(params.recipient, "recipient"),
        _padded(params.face_value, "face_value"),
        _padded(params.win_prob, "win_prob"),
        _hash(params.recipient_rand_hash, "recipient_rand_hash"),
        _padded(params.seed, "seed"),
        expiration_block,
        round_.creation_round,
        _hash(round_.creation_round_block_hash or NO_HASH, "creation_round_block_hash"),
    )


def _round_out(params: TicketParams) -> net.TicketExpirationParams:
    return net.TicketExpirationParams(
        creation_round=params.creation_round, creation_round_block_hash=params.creation_round_hash
    )


def _minimal(number: Uint256) -> bytes:
    return number.lstrip(b"\0")


def _padded(number: bytes, name: str) -> Uint256:
    if len(number) > WORD_BYTES:
        raise Untrusted(f"{name} of a ticket does not fit in {WORD_BYTES} bytes")
    return number.rjust(WORD_BYTES, b"\0")


def _hash(data: bytes, name: str) -> Hash:
    if len(data) != WORD_BYTES:
        raise Untrusted(f"{name} of a ticket has {len(data)} bytes, not {WORD_BYTES}")
    return data


def _address(data: bytes, name: str) -> NodeId:
    if len(data) != ADDRESS_BYTES:
        raise Untrusted(f"{name} of a payment has {len(data)} bytes, not {ADDRESS_BYTES}")
    return NodeId("0x" + data.hex())
