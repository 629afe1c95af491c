"""The side that pays: looks at what a payee asks for, and numbers its tickets so that none is made twice.

Nothing here signs: `issue` gives tickets to sign, and a journaled
`TicketsIssued` makes their nonces used before any of them leaves the house.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Broken, Refused
from shoal.ids import NodeId
from shoal.machine import Fact
from shoal.money.funds import ChainView, Funds
from shoal.money.ticket import NO_HASH, NONCE_MAX, Address, Hash, Height, Nonce, Ticket, TicketParams


class PayerRules(Struct, frozen=True, kw_only=True):
    """What a sender agrees to. The defaults are Livepeer's where it has one."""

    ticket_ev_wei_max: int = 3 * 10**12
    total_ev_wei_max: int = 20 * 10**12
    deposit_multiplier: int = 1
    #: Parameters count as expired this many blocks before they do.
    expiry_buffer_blocks: int = 1
    #: How many tickets a payee takes under one set of parameters.
    nonces_max: int = 600
    #: New parameters are due when fewer than this many blocks are left.
    params_blocks_low: int = 5
    #: Sets of parameters in use at once.
    streams_max: int = 10_000


class TicketsIssued(Fact, frozen=True):
    """Nonces were used for tickets to a recipient."""

    recipient: Address
    recipient_rand_hash: Hash
    expiration_block: Height
    #: Where the chain stood: parameters that had expired by then are forgotten, and used no more.
    block: Height
    first: Nonce
    count: int


class Stream(Struct, frozen=True, array_like=True, gc=False):
    """The next nonce under one set of parameters."""

    recipient_rand_hash: Hash
    expiration_block: Height
    next_nonce: int


class PayerBook(Struct, frozen=True, array_like=True):
    """Everything that a payer must not forget."""

    block: Height = 0
    streams: tuple[Stream, ...] = ()


class Payer:
    """A sender of tickets."""

    def __init__(self, me: NodeId, rules: PayerRules) -> None:
        self.me = me
        self.rules = rules
        self._streams: dict[bytes, Stream] = {}
        #: The highest block that tickets were issued at.
        self._block = 0

    def validate(self, params: TicketParams | None, view: ChainView, funds: Funds, count: int) -> None:
        """Raise `Refused` if `count` tickets under these parameters must not be made. `funds` are our own."""
        raise NotImplementedError

    def completed(self, params: TicketParams, view: ChainView) -> TicketParams:
        """The parameters to make tickets of: with our own round where the recipient named none."""
        raise NotImplementedError

    def left(self, params: TicketParams) -> int:
        """How many tickets can still be made under these parameters."""
        raise NotImplementedError

    def wants_new_params(self, params: TicketParams, view: ChainView, count: int) -> bool:
        """True when it is time to ask for others: these expire soon, or leave fewer than `count` tickets."""
        raise NotImplementedError

    def issue(self, params: TicketParams, count: int) -> tuple[Ticket, ...]:
        """The next tickets, to be signed; `issued` is the fact that makes them used."""
        raise NotImplementedError

    def issued(self, params: TicketParams, count: int, view: ChainView) -> TicketsIssued:
        """The fact that goes with `issue`: let it happen before a ticket is sent."""
        raise NotImplementedError

    def take(self, fact: TicketsIssued) -> None:
        """Let a fact happen. Raises `Broken`, and changes nothing, if a nonce would be used twice."""
        raise NotImplementedError

    def dump(self) -> PayerBook:
        """Everything durable, for a snapshot."""
        raise NotImplementedError

    def load(self, book: PayerBook) -> None:
        """Take a snapshot's state in place of the empty one."""
        raise NotImplementedError
