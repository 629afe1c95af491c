"""What a recipient asks of a sender's tickets: how much they pay, how often they win, which number they draw with.

Every formula is Livepeer's, so that either side may be one of theirs.
"""

from __future__ import annotations

import hmac
from math import gcd

from msgspec import Struct

from shoal.errors import NoCredit
from shoal.ids import NodeId
from shoal.money.funds import Funds
from shoal.money.ticket import WIN_PROB_MAX, TicketHasher, TicketParams, Uint256, address_bytes, rand_hash
from shoal.money.wei import Price

GWEI = 10**9
#: Between our own nodes the price stands in the terms of the account, not in the tickets.
NO_PRICE = Price(0)


class PayeeRules(Struct, frozen=True, kw_only=True):
    """What a recipient asks for and how far it goes. The defaults are Livepeer's where it has one."""

    #: What redeeming one ticket takes: 1,200,000 on a second layer.
    redeem_gas: int = 350_000
    #: How many times its redemption's cost a ticket pays, and how many times its worth where that is more.
    redeem_cost_multiple: int = 100
    ev_multiple: int = 100
    #: A face value that pays for a redemption at this price will do, however dear gas is now.
    gas_price_usual_wei: int = 3 * GWEI
    #: 0: as much as the sender's funds allow.
    face_wei_max: int = 0
    #: For how many blocks parameters hold.
    params_blocks: int = 40
    #: For how many tickets.
    nonces_max: int = 600
    #: A deposit of so many times the pending winners covers them all.
    deposit_pending_ratio: int = 3
    #: For how many rounds the contract takes a ticket.
    validity_rounds: int = 2
    #: What a sender's pending winners may come to beyond our share of its reserve: the most it can cheat us of.
    float_wei_max: int = 10**17
    senders_max: int = 10_000
    params_per_sender_max: int = 64
    tickets_per_payment_max: int = 600


def float_wei(funds: Funds, pool_size: int, pending_wei: int, *, deposit_pending_ratio: int) -> int:
    """How much one ticket of this sender may pay: our share of its reserve, less what is pending unless its
    deposit covers that several times over."""
    share = funds.reserve_share(pool_size)
    if pending_wei > 0 and funds.deposit < deposit_pending_ratio * pending_wei:
        return share - pending_wei
    return share


def face_value_wei(ev_wei: int, gas_price_wei: int, float_max_wei: int, rules: PayeeRules) -> int:
    """What a ticket pays. Raises `NoCredit` if the sender's funds do not allow for enough."""
    if ev_wei == 0:
        return 0
    redemption_wei = rules.redeem_gas * gas_price_wei
    face_wei = redemption_wei * rules.redeem_cost_multiple
    if face_wei < ev_wei:
        face_wei = ev_wei * rules.ev_multiple
    face_wei = min(face_wei, float_max_wei)
    if rules.face_wei_max > 0:
        face_wei = min(face_wei, rules.face_wei_max)
    too_dear = face_wei < redemption_wei and face_wei < rules.redeem_gas * rules.gas_price_usual_wei
    if face_wei < ev_wei or too_dear:
        raise NoCredit(
            f"insufficient sender reserve: tickets of {ev_wei} wei on average would have to pay "
            f"at least {max(ev_wei, redemption_wei)} wei, and its funds allow {max(0, float_max_wei)}"
        )
    return face_wei


def win_prob_of(face_wei: int, ev_wei: int) -> int:
    """How often a ticket of this face value wins, in parts of `WIN_PROB_MAX`, so that it is worth `ev_wei`."""
    if face_wei == 0:
        return 0
    if face_wei == ev_wei:
        return WIN_PROB_MAX
    share, rest = divmod(WIN_PROB_MAX, face_wei)
    return min(ev_wei * (share + 1 if rest else share), WIN_PROB_MAX)


def recipient_rand(secret: bytes, params: TicketParams, sender: NodeId, price: Price) -> Uint256:
    """The number to draw with, found again from what the sender sends back: nobody stores it.

    It depends on everything that the parameters promise, so none of that can be changed.
    """
    divisor = gcd(price.wei, price.per_units)
    said = (
        _minimal(int.from_bytes(params.seed)),
        address_bytes(sender),
        _minimal(params.face_wei),
        _minimal(int.from_bytes(params.win_prob)),
        _minimal(params.expiration_block),
        _minimal(price.wei // divisor),
        _minimal(price.per_units // divisor),
        params.aux_data,
    )
    return hmac.digest(secret, b"".join(said), "sha256")


class Draw:
    """What all tickets of one sender under one set of parameters have in common, worked out once."""

    __slots__ = ("ev_wei", "face_wei", "hash_of", "holds", "rand", "win_prob")

    def __init__(self, secret: bytes, params: TicketParams, sender: NodeId, price: Price) -> None:
        self.rand = recipient_rand(secret, params, sender, price)
        #: Whether these parameters are ours, for this sender, and unchanged.
        self.holds = rand_hash(self.rand) == params.recipient_rand_hash
        self.hash_of = TicketHasher(params.ticket(sender, 0))
        self.face_wei = params.face_wei
        self.ev_wei = params.ev_wei
        self.win_prob = int.from_bytes(params.win_prob)


def _minimal(number: int) -> bytes:
    """Big-endian without leading zeros; nothing for 0."""
    return number.to_bytes((number.bit_length() + 7) // 8)
