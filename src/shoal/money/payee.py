"""The side that is paid: asks for tickets, judges them, and never takes one twice.

`judge` decides and changes nothing; what it decides becomes a fact, and `take`
applies that. A number to draw with is never stored: it is found again from its
seed by a secret that must outlive every restart.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from hashlib import sha256

from msgspec import Struct

from shoal.errors import Broken, Failed, NoCredit, Refused, Untrusted
from shoal.ids import NodeId
from shoal.machine import Fact
from shoal.money.funds import ChainView, Funds
from shoal.money.nonces import Nonces, Range, ranges_of
from shoal.money.ticket import (
    NO_HASH,
    WIN_PROB_MAX,
    Address,
    Hash,
    Height,
    SignedNonce,
    SignedTicket,
    TicketHasher,
    TicketParams,
    Uint256,
    WinningTicket,
    address_bytes,
    drawn,
    personal_hash,
    rand_hash,
    uint256,
)
from shoal.money.wei import Price

GWEI = 10**9
NOBODY = NodeId("0x" + 40 * "0")
#: Between our own nodes the price stands in the terms, not in the parameters.
NO_PRICE = Price(0)


class PayeeRules(Struct, frozen=True, kw_only=True):
    """What a recipient asks for and how far it goes. The defaults are Livepeer's where it has one."""

    #: What redeeming one ticket takes: 1,200,000 on a second layer.
    redeem_gas: int = 350_000
    #: How many times its redemption's cost a ticket pays, and how many times its worth where that is more.
    redeem_cost_multiple: int = 100
    ev_multiple: int = 100
    #: A face value that pays for a redemption at this price is good, however dear gas is now.
    gas_price_usual_wei: int = 3 * GWEI
    #: 0: as much as the sender's funds allow.
    face_wei_max: int = 0
    #: For how many blocks parameters hold.
    params_blocks: int = 40
    #: New parameters are due when fewer than this many blocks or nonces are left.
    params_blocks_low: int = 10
    nonces_low: int = 150
    nonces_max: int = 600
    #: How many times its pending winners a sender's deposit must be to count as enough for all of them.
    deposit_pending_ratio: int = 3
    #: For how many rounds the contract takes a ticket.
    validity_rounds: int = 2
    #: What a sender's pending winners may come to beyond our share of its reserve: the most that it can cheat us of.
    float_wei_max: int = 10**17
    senders_max: int = 10_000
    params_per_sender_max: int = 64
    tickets_per_payment_max: int = 600


class Fault(StrEnum):
    """Why a ticket is not taken; in the contract's words where it would say the same."""

    SENDER = "ticket sender is null address"
    RECIPIENT = "ticket recipient is not this node"
    UNLOCKED = "sender is unlocked"
    UNLOCKS_SOON = "deposit and reserve is set to unlock soon"
    AUX_DATA = "invalid length for ticket auxData: must be 64 bytes"
    ROUND_HASH = "ticket creationRoundBlockHash invalid for creationRound"
    ROUND_EXPIRED = "ticket is expired"
    RAND = "recipientRand does not match recipientRandHash"
    PARAMS_EXPIRED = "TicketParams expired"
    NONCE = "ticket is used"
    NONCES = "too many nonces for these TicketParams"
    SIGNATURE_LENGTH = "INVALID_SIGNATURE_LENGTH"
    SIGNATURE = "invalid signature over ticket hash"
    NO_FUNDS = "sender deposit and reserve are zero"
    FUNDS = "sender deposit and reserve do not cover the ticket"
    FLOAT = "sender has too much in winning tickets that are not redeemed yet"
    SENDERS = "too many senders"
    PARAMS = "too many TicketParams of this sender are in use"
    TICKETS = "too many tickets in one payment"


class TicketsTaken(Fact, frozen=True):
    """Tickets of one sender under one set of parameters were accepted."""

    sender: Address
    recipient_rand_hash: Hash
    expiration_block: Height
    #: Where the chain stood: parameters that had expired by then are forgotten, and refused for ever.
    block: Height
    nonces: tuple[Range, ...]
    credit: Uint256
    winners: tuple[WinningTicket, ...] = ()

    @property
    def credit_wei(self) -> int:
        """What the sender's account is credited with."""
        return int.from_bytes(self.credit)


class WinnerSettled(Fact, frozen=True):
    """A winning ticket was redeemed for good, or given up: it is pending no more."""

    sender: Address
    ticket_hash: Hash


class Refusal(Struct, frozen=True, gc=False):
    """A ticket that is not taken, and why."""

    nonce: int
    fault: Fault


class Judged(Struct, frozen=True):
    """What follows from a payment: the fact to let happen if any ticket is good, and what is wrong with the rest."""

    taken: TicketsTaken | None
    refusals: tuple[Refusal, ...] = ()

    @property
    def credit_wei(self) -> int:
        """What the good tickets are worth."""
        return self.taken.credit_wei if self.taken else 0

    @property
    def winners(self) -> tuple[WinningTicket, ...]:
        """The tickets that won."""
        return self.taken.winners if self.taken else ()

    @property
    def fault(self) -> Fault | None:
        """The first thing that is wrong."""
        return self.refusals[0].fault if self.refusals else None


class SeenParams(Struct, frozen=True, array_like=True):
    """The nonces seen under one set of parameters, for a snapshot."""

    recipient_rand_hash: Hash
    expiration_block: Height
    nonces: tuple[Range, ...]


class SeenSender(Struct, frozen=True, array_like=True):
    """A sender as a snapshot has it."""

    sender: Address
    params: tuple[SeenParams, ...]
    pending: tuple[WinningTicket, ...]


class PayeeBook(Struct, frozen=True, array_like=True):
    """Everything that a payee must not forget."""

    block: Height = 0
    senders: tuple[SeenSender, ...] = ()


class _Seen:
    """What is remembered of one set of parameters."""

    __slots__ = ("expiration_block", "nonces")

    def __init__(self, expiration_block: int, nonces: Nonces) -> None:
        self.expiration_block = expiration_block
        self.nonces = nonces


class _Sender:
    """What is remembered of one sender."""

    __slots__ = ("params", "pending", "pending_wei")

    def __init__(self) -> None:
        self.params: dict[bytes, _Seen] = {}
        self.pending: dict[bytes, WinningTicket] = {}
        self.pending_wei = 0


class Payee:
    """A recipient of tickets."""

    def __init__(
        self,
        me: NodeId,
        rules: PayeeRules,
        *,
        secret: bytes,
        draw_seed: Callable[[], bytes],
        recover: Callable[[bytes, bytes], NodeId],
    ) -> None:
        """`draw_seed` gives 32 random bytes; `recover` the signer of a hash, or raises `Untrusted`."""
        self.me = me
        self.rules = rules
        self._secret = secret
        self._draw_seed = draw_seed
        self._recover = recover
        self._senders: dict[NodeId, _Sender] = {}
        #: The highest block that a taken ticket was judged at.
        self._block = 0

    def params(
        self, sender: NodeId, ev_wei: int, view: ChainView, funds: Funds, *, price: Price = NO_PRICE
    ) -> TicketParams:
        """What tickets of this sender must look like, each worth about `ev_wei`. Raises `Refused` if it cannot pay."""
        raise NotImplementedError

    def judge(
        self,
        params: TicketParams,
        sender: NodeId,
        tickets: Sequence[SignedNonce],
        view: ChainView,
        funds: Funds,
        *,
        price: Price = NO_PRICE,
    ) -> Judged:
        """Which tickets of a payment are good: fresh, and such that the contract would pay them if they won."""
        raise NotImplementedError

    def take(self, fact: TicketsTaken | WinnerSettled) -> None:
        """Let a fact happen. Raises `Broken`, and changes nothing, if a ticket would be taken twice."""
        raise NotImplementedError

    def wants_new_params(self, params: TicketParams, sender: NodeId, view: ChainView) -> bool:
        """True when it is time to give this sender others: these expire soon, or their nonces run out."""
        raise NotImplementedError

    def pending(self, sender: NodeId) -> tuple[WinningTicket, ...]:
        """Winners of this sender that are neither redeemed nor given up."""
        raise NotImplementedError

    def dump(self) -> PayeeBook:
        """Everything durable, for a snapshot."""
        raise NotImplementedError

    def load(self, book: PayeeBook) -> None:
        """Take a snapshot's state in place of the empty one."""
        raise NotImplementedError
