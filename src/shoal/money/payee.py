"""The side that is paid: asks for tickets, judges them, and never takes one twice.

`judge` decides and changes nothing; what it decides becomes a fact, and `take`
applies that. A number to draw with is never stored: it is found again from its
seed by a secret that must outlive every restart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Broken, Failed, Refused, Untrusted
from shoal.ids import NodeId
from shoal.machine import Fact
from shoal.money.funds import ChainView, Funds
from shoal.money.nonces import Nonces, Range, ranges_of
from shoal.money.refusal import Fault, Refusal, Room
from shoal.money.terms import (
    NO_PRICE,
    Draw,
    PayeeRules,
    face_value_wei,
    float_wei,
    recipient_rand,
    win_prob_of,
)
from shoal.money.ticket import (
    NO_HASH,
    SIGNATURE_BYTES,
    Address,
    Hash,
    Height,
    SignedNonce,
    SignedTicket,
    TicketParams,
    Uint256,
    WinningTicket,
    drawn,
    personal_hash,
    rand_hash,
    uint256,
)
from shoal.money.wei import Price

#: Parameters of which the common work is remembered.
DRAWS_KEPT = 1_024
NOBODY = NodeId("0x" + 40 * "0")


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


class Judged(Struct, frozen=True, gc=False):
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
        self.params: dict[Hash, _Seen] = {}
        self.pending: dict[Hash, WinningTicket] = {}
        self.pending_wei = 0

    def live(self, block: int) -> int:
        """How many parameters have not expired at this block."""
        return sum(seen.expiration_block > block for seen in self.params.values())

    def add(self, winner: WinningTicket) -> None:
        self.pending[winner.ticket_hash] = winner
        self.pending_wei += winner.face_wei

    def settle(self, ticket_hash: Hash) -> None:
        self.pending_wei -= self.pending.pop(ticket_hash).face_wei


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
        #: The same parameters come with payment after payment.
        self._draw = lru_cache(maxsize=DRAWS_KEPT)(partial(Draw, secret))
        self._draw_seed = draw_seed
        self._recover = recover
        self._senders: dict[NodeId, _Sender] = {}
        #: The highest block that a taken ticket was judged at. What had expired then is forgotten, so it is
        #: refused for ever, even if the chain turns out to stand further back.
        self._block = 0

    def params(
        self, sender: NodeId, ev_wei: int, view: ChainView, funds: Funds, *, price: Price = NO_PRICE
    ) -> TicketParams:
        """What tickets of this sender must look like, each worth `ev_wei`. Raises `Refused` if it cannot pay them,
        `Failed` before the chain was seen."""
        if view.round_hash == NO_HASH:
            raise Failed(
                "no round of the chain has been seen yet, so tickets cannot be asked for; try again soon"
            )
        fault = self._unlocking(view, funds)
        if fault or sender == NOBODY:
            raise Refused(f"tickets of {sender} are not accepted: {fault or Fault.SENDER}")
        float_max = float_wei(
            funds,
            view.pool_size,
            self.pending_wei(sender),
            deposit_pending_ratio=self.rules.deposit_pending_ratio,
        )
        face_wei = face_value_wei(ev_wei, view.gas_price_wei, float_max, self.rules)
        params = TicketParams(
            self.me,
            uint256(face_wei),
            uint256(win_prob_of(face_wei, ev_wei)),
            NO_HASH,
            self._draw_seed(),
            max(view.block, self._block) + self.rules.params_blocks,
            view.round,
            view.round_hash,
        )
        rand = recipient_rand(self._secret, params, sender, price)
        return replace(params, recipient_rand_hash=rand_hash(rand))

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
        """Which tickets of a payment are good: fresh, in time, and such that the contract would pay us all of
        their face value if they won. Each is judged by itself; `price` is that of the parameters."""
        fault = self._fault_of_all(params, sender, len(tickets), view, funds)
        if not fault:
            draw = self._draw(params, sender, price)
            if draw.holds:
                return self._judge_each(params, sender, tickets, draw, self._room(sender, view, funds), view)
            fault = Fault.RAND
        return Judged(None, tuple(Refusal(each.nonce, fault) for each in tickets))

    def _fault_of_all(
        self, params: TicketParams, sender: NodeId, count: int, view: ChainView, funds: Funds
    ) -> Fault | None:
        """What is wrong with every ticket of a payment, found before any signature is looked at."""
        if count > self.rules.tickets_per_payment_max:
            return Fault.TICKETS
        if sender == NOBODY:
            return Fault.SENDER
        if params.recipient != self.me:
            return Fault.RECIPIENT
        if params.expiration_block <= max(view.block, self._block):
            return Fault.PARAMS_EXPIRED
        if params.win_prob == NO_HASH:
            return Fault.NO_WIN
        if fault := self._fault_of_memory(params, sender, max(view.block, self._block)):
            return fault
        return self._fault_of_round(params, view) or self._unlocking(view, funds)

    def _fault_of_memory(self, params: TicketParams, sender: NodeId, block: int) -> Fault | None:
        """Whether there is room to remember new parameters, or a new sender, once what has expired is forgotten."""
        known = self._senders.get(sender)
        if known is None:
            limit = self.rules.senders_max
            if len(self._senders) >= limit and limit <= sum(
                bool(each.pending) or each.live(block) > 0 for each in self._senders.values()
            ):
                return Fault.SENDERS
        elif params.recipient_rand_hash not in known.params:
            limit = self.rules.params_per_sender_max
            if len(known.params) >= limit and known.live(block) >= limit:
                return Fault.PARAMS
        return None

    def _fault_of_round(self, params: TicketParams, view: ChainView) -> Fault | None:
        if params.creation_round == 0 and params.creation_round_hash == NO_HASH:
            return Fault.AUX_DATA
        if params.creation_round_hash == NO_HASH or params.creation_round > view.round:
            return Fault.NO_ROUND_HASH
        if params.creation_round == view.round and params.creation_round_hash != view.round_hash:
            return Fault.ROUND_HASH
        if params.creation_round + self.rules.validity_rounds <= view.current_round:
            return Fault.ROUND_EXPIRED
        return None

    def _unlocking(self, view: ChainView, funds: Funds) -> Fault | None:
        if not funds.locked(view.current_round):
            return Fault.UNLOCKED
        if not funds.locked(view.current_round + 1):
            return Fault.UNLOCKS_SOON
        return None

    def _room(self, sender: NodeId, view: ChainView, funds: Funds) -> Room:
        """What the sender's money still covers, and what of it we trust to be there when we come for it."""
        share = funds.reserve_share(view.pool_size)
        pending = self.pending_wei(sender)
        return Room(
            funds.deposit == 0 and funds.reserve == 0,
            funds.deposit + share - pending,
            share + self.rules.float_wei_max - pending,
        )

    def _judge_each(
        self,
        params: TicketParams,
        sender: NodeId,
        tickets: Sequence[SignedNonce],
        draw: Draw,
        room: Room,
        view: ChainView,
    ) -> Judged:
        seen = self._nonces(sender, params)
        taken: set[int] = set()
        winners: list[WinningTicket] = []
        refusals: list[Refusal] = []
        for each in tickets:
            nonce = each.nonce
            if (fault := room.fault(draw.face_wei, len(winners))) is not None:
                pass
            elif nonce in taken or nonce in seen:
                fault = Fault.NONCE
            elif seen.count + len(taken) >= self.rules.nonces_max:
                fault = Fault.NONCES
            else:
                fault = self._fault_of_signature(draw.hash_of(nonce), each.signature, sender)
            if fault is not None:
                refusals.append(Refusal(nonce, fault))
                continue
            taken.add(nonce)
            if drawn(each.signature, draw.rand) < draw.win_prob:
                signed = SignedTicket(params.ticket(sender, nonce), each.signature)
                winners.append(WinningTicket(signed, draw.rand, params.expiration_block))
        if not taken:
            return Judged(None, tuple(refusals))
        fact = TicketsTaken(
            sender,
            params.recipient_rand_hash,
            params.expiration_block,
            view.block,
            ranges_of(taken),
            uint256(draw.ev_wei * len(taken)),
            tuple(winners),
        )
        return Judged(fact, tuple(refusals))

    def _fault_of_signature(self, ticket_hash: Hash, signature: bytes, sender: NodeId) -> Fault | None:
        if len(signature) != SIGNATURE_BYTES:
            return Fault.SIGNATURE_LENGTH
        try:
            return None if self._recover(personal_hash(ticket_hash), signature) == sender else Fault.SIGNATURE
        except Untrusted:
            return Fault.SIGNATURE

    def take(self, fact: TicketsTaken | WinnerSettled) -> None:
        """Let a fact happen. Raises `Broken`, and changes nothing, if a ticket would be taken or settled twice."""
        if isinstance(fact, WinnerSettled):
            if not self.is_pending(fact.sender, fact.ticket_hash):
                raise Broken(f"ticket {fact.ticket_hash.hex()} is settled, but it is not pending")
            self._senders[fact.sender].settle(fact.ticket_hash)
            self._drop_if_empty(fact.sender)
            return
        sender = self._senders.get(fact.sender) or _Sender()
        seen = sender.params.get(fact.recipient_rand_hash) or _Seen(fact.expiration_block, Nonces())
        if fact.expiration_block <= self._block or any(seen.nonces.meets(*each) for each in fact.nonces):
            raise Broken(f"tickets of {fact.sender} are taken twice, or after they were forgotten")
        self._senders[fact.sender] = sender
        sender.params[fact.recipient_rand_hash] = seen
        for first, last in fact.nonces:
            seen.nonces.add(first, last)
        for winner in fact.winners:
            sender.add(winner)
        if fact.block > self._block:
            self._forget(fact.block)

    def pending(self, sender: NodeId) -> tuple[WinningTicket, ...]:
        """Winners of this sender that are neither redeemed nor given up."""
        known = self._senders.get(sender)
        return tuple(known.pending.values()) if known else ()

    def pending_wei(self, sender: NodeId) -> int:
        """What they pay together."""
        known = self._senders.get(sender)
        return known.pending_wei if known else 0

    def is_pending(self, sender: NodeId, ticket_hash: Hash) -> bool:
        """Whether this ticket won and is neither redeemed nor given up."""
        known = self._senders.get(sender)
        return known is not None and ticket_hash in known.pending

    @property
    def senders(self) -> tuple[NodeId, ...]:
        """Everybody of whom anything is remembered."""
        return tuple(self._senders)

    def check(self) -> None:
        """Raise `Broken` if anything remembered contradicts itself or outgrew its limit."""
        if len(self._senders) > self.rules.senders_max:
            raise Broken(f"{len(self._senders)} senders are remembered, at most {self.rules.senders_max}")
        for name, sender in self._senders.items():
            if sender.pending_wei != sum(winner.face_wei for winner in sender.pending.values()):
                raise Broken(f"the pending winners of {name} do not add up")
            if any(seen.nonces.count > self.rules.nonces_max for seen in sender.params.values()):
                raise Broken(f"more nonces of {name} were taken than its parameters allow")
            if len(sender.params) > self.rules.params_per_sender_max:
                raise Broken(f"too many parameters of {name} are remembered")

    def dump(self) -> PayeeBook:
        """Everything durable, for a snapshot."""
        return PayeeBook(
            self._block,
            tuple(
                SeenSender(
                    name,
                    tuple(
                        SeenParams(hash32, seen.expiration_block, seen.nonces.ranges())
                        for hash32, seen in sender.params.items()
                    ),
                    tuple(sender.pending.values()),
                )
                for name, sender in self._senders.items()
            ),
        )

    def load(self, book: PayeeBook) -> None:
        """Take a snapshot's state in place of the empty one."""
        self._block = book.block
        self._senders = {}
        for each in book.senders:
            sender = self._senders[each.sender] = _Sender()
            for params in each.params:
                seen = _Seen(params.expiration_block, Nonces(params.nonces))
                sender.params[params.recipient_rand_hash] = seen
            for winner in each.pending:
                sender.add(winner)

    def _nonces(self, sender: NodeId, params: TicketParams) -> Nonces:
        known = self._senders.get(sender)
        seen = known.params.get(params.recipient_rand_hash) if known else None
        return seen.nonces if seen else Nonces()

    def _forget(self, block: int) -> None:
        """Drop what is refused from here on because it has expired."""
        self._block = block
        for name, sender in list(self._senders.items()):
            for hash32 in [each for each, seen in sender.params.items() if seen.expiration_block <= block]:
                del sender.params[hash32]
            self._drop_if_empty(name)

    def _drop_if_empty(self, name: NodeId) -> None:
        sender = self._senders[name]
        if not sender.params and not sender.pending:
            del self._senders[name]
