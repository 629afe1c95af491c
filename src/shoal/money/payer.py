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
from shoal.money.ticket import (
    NO_HASH,
    WIN_PROB_MAX,
    Address,
    Hash,
    Height,
    Nonce,
    Ticket,
    TicketParams,
)

FIRST_NONCE = 1


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
        if params is None:
            raise Refused("ticketParams is nil")
        if params.expiration_block == 0:
            raise Refused("ticketParams expiration block is 0")
        if self.expired(params, view):
            raise Refused("TicketParams expired")
        worth = params.face_wei * int.from_bytes(params.win_prob)  # of which WIN_PROB_MAX parts make a wei
        if worth:
            self._validate_worth(params, worth)
            self._validate_funds(view, funds)
            self._validate_sum(params, worth, funds, count)

    def _validate_worth(self, params: TicketParams, worth: int) -> None:
        if worth >= params.face_wei * WIN_PROB_MAX:
            raise Refused(f"ticket faceValue too low faceValue={params.face_wei}")
        if worth > self.rules.ticket_ev_wei_max * WIN_PROB_MAX:
            raise Refused(f"ticket EV {params.ev_wei} > max ticket EV {self.rules.ticket_ev_wei_max}")

    def _validate_funds(self, view: ChainView, funds: Funds) -> None:
        if not funds.locked(view.current_round + 1):
            raise Refused("unable to validate sender: deposit and reserve is set to unlock soon")
        if funds.reserve == 0:
            raise Refused("no sender reserve")
        if funds.deposit == 0:
            raise Refused("no sender deposit")

    def _validate_sum(self, params: TicketParams, worth: int, funds: Funds, count: int) -> None:
        total_max = self.rules.total_ev_wei_max
        if worth * count > total_max * WIN_PROB_MAX:
            total = worth * count // WIN_PROB_MAX
            raise Refused(f"total ticket EV {total} for {count} tickets > max total ticket EV {total_max}")
        face_max = funds.deposit // self.rules.deposit_multiplier
        if params.face_wei > face_max:
            raise Refused(f"ticket faceValue {params.face_wei} > max faceValue {face_max}")
        if params.ev_wei == 0:
            raise Refused("ticket EV < 1: it would be credited with nothing")

    def completed(self, params: TicketParams, view: ChainView) -> TicketParams:
        """The parameters to make tickets of: with our own round where the recipient named none."""
        if params.creation_round != 0 and params.creation_round_hash != NO_HASH:
            return params
        return replace(params, creation_round=view.round, creation_round_hash=view.round_hash)

    def left(self, params: TicketParams) -> int:
        """How many tickets can still be made under these parameters."""
        stream = self._streams.get(params.recipient_rand_hash)
        if stream is None and len(self._streams) >= self.rules.streams_max:
            return 0
        return self.rules.nonces_max - (stream.next_nonce - FIRST_NONCE if stream else 0)

    def expired(self, params: TicketParams, view: ChainView) -> bool:
        """True when it is too late to make tickets of these."""
        return params.expiration_block - self._latest(view) <= self.rules.expiry_buffer_blocks

    def wants_new_params(self, params: TicketParams, view: ChainView, count: int) -> bool:
        """True when it is time to ask for others: these expire soon, or leave fewer than `count` tickets."""
        blocks_left = params.expiration_block - self._latest(view)
        return blocks_left < self.rules.params_blocks_low or self.left(params) < count

    def issue(self, params: TicketParams, count: int) -> tuple[Ticket, ...]:
        """The next tickets, to be signed. Raises `Refused` if these parameters leave fewer."""
        first = self._first(params, count)
        return tuple(params.ticket(self.me, first + step) for step in range(count))

    def issued(self, params: TicketParams, count: int, view: ChainView) -> TicketsIssued:
        """The fact that goes with `issue`: it must happen, and last, before a ticket is sent."""
        first = self._first(params, count)
        return TicketsIssued(
            params.recipient, params.recipient_rand_hash, params.expiration_block, view.block, first, count
        )

    def take(self, fact: TicketsIssued) -> None:
        """Let a fact happen. Raises `Broken`, and changes nothing, if a nonce would be used twice."""
        stream = self._streams.get(fact.recipient_rand_hash)
        if (
            fact.first != (stream.next_nonce if stream else FIRST_NONCE)
            or fact.expiration_block <= self._block
        ):
            raise Broken(f"tickets to {fact.recipient} from nonce {fact.first} on are made twice")
        self._streams[fact.recipient_rand_hash] = Stream(
            fact.recipient_rand_hash, fact.expiration_block, fact.first + fact.count
        )
        if fact.block > self._block:
            self._block = fact.block
            for hash32 in [key for key, each in self._streams.items() if each.expiration_block <= fact.block]:
                del self._streams[hash32]

    def dump(self) -> PayerBook:
        """Everything durable, for a snapshot."""
        return PayerBook(self._block, tuple(self._streams.values()))

    def load(self, book: PayerBook) -> None:
        """Take a snapshot's state in place of the empty one."""
        self._block = book.block
        self._streams = {stream.recipient_rand_hash: stream for stream in book.streams}

    def _latest(self, view: ChainView) -> int:
        return max(view.block, self._block)

    def _first(self, params: TicketParams, count: int) -> int:
        if not 0 < count <= self.left(params):
            raise Refused(
                f"these TicketParams leave {self.left(params)} tickets, not {count}: ask for new ones"
            )
        stream = self._streams.get(params.recipient_rand_hash)
        return stream.next_nonce if stream else FIRST_NONCE
