"""What a signer decides: which tickets may be signed, and that they are counted before they are.

It holds no key. A ticket is signed only when the fact that counts it is on disk,
so no crash gives anybody more than the limits say; at worst it takes a little away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Failed, Refused, ShoalError
from shoal.ids import NodeId
from shoal.machine import Absent, Event, Fact, Machine, Restarted, Tick
from shoal.money.funds import UNSEEN, ChainSeen, ChainView, Funds, FundsSeen
from shoal.money.nonces import Range, ranges_of
from shoal.money.payer import FIRST_NONCE, Payer, PayerBook, TicketsIssued
from shoal.money.ticket import Hash, TicketParams, Uint256, uint256
from shoal.signer.events import Answer, PaymentAsked, TicketsAsked
from shoal.signer.live import Bill, Plan, plan
from shoal.signer.refusals import RefreshNeeded
from shoal.signer.rules import Rules, allowed_payees
from shoal.signer.sessions import Session, Sessions
from shoal.signer.spending import Spending, Spent, cost_wei
from shoal.signer.streams import Stream, Streams
from shoal.units import SECOND_MS, Instant
from shoal.wire.faults import fault_of
from shoal.wire.signing import NONCES_MAX


class Allowed(Fact, frozen=True):
    """Tickets may be signed, under nonces of their sender's choice: they are counted."""

    stream: Hash
    ranges: tuple[Range, ...]
    wei: Uint256


class Paid(Fact, frozen=True):
    """Tickets may be signed for live work, and a state is handed out."""

    session: str
    sequence: int
    issued: TicketsIssued
    wei: Uint256


class SignerState(Struct, frozen=True):
    """What a snapshot holds."""

    spent: Spent = Spent()
    streams: tuple[Stream, ...] = ()
    sessions: tuple[Session, ...] = ()
    payer: PayerBook = PayerBook()


class SignerMachine(Machine[SignerState]):
    """Decides for one key."""

    facts = (Allowed, Paid)
    state = SignerState

    def __init__(self, rules: Rules, me: NodeId) -> None:
        """Raises `Refused` if a rule makes no sense."""
        super().__init__(SECOND_MS)
        self.rules = rules
        self.payees = allowed_payees(rules)
        self.spending = Spending(rules)
        self.streams = Streams(rules.streams_max)
        self.sessions = Sessions(rules)
        self.payer = Payer(me, rules.payer)
        self.chain: ChainView = UNSEEN
        self.funds: Funds | None = None

    # What is asked

    def _on_tickets_asked(self, event: TicketsAsked, now: Instant) -> None:
        params = event.params
        stream = params.ticket(self.payer.me, 0).ticket_hash
        unsigned = self.streams.unsigned(stream, event.nonces)
        try:
            self._require_nonces(event.nonces)
            wei = self._require_allowed(params, len(event.nonces), len(unsigned), now)
        except (Refused, Failed) as error:
            self._refuse(event.ask, error)
            return
        if unsigned:
            self.decide(Allowed(stream, ranges_of(unsigned), uint256(wei)), now)
        self.emit(Answer(event.ask, params, event.nonces))

    def _on_payment_asked(self, event: PaymentAsked, now: Instant) -> None:
        bill = event.bill
        try:
            planned = self.plan(bill, now)
            wei = self._require_allowed(bill.params, planned.count, planned.count, now)
        except (Refused, Failed) as error:
            self._refuse(event.ask, error)
            return
        issued = self.payer.issued(bill.params, planned.count, self.chain)
        state = replace(
            planned.state,
            stream=bill.params.recipient_rand_hash.hex(),
            nonce=issued.first + issued.count - 1,
            auth_expiry=event.auth_expiry,
            auth_id=event.auth_id,
        )
        self.decide(Paid(state.id, state.sequence, issued, uint256(wei)), now)
        nonces = tuple(range(issued.first, issued.first + issued.count))
        self.emit(Answer(event.ask, bill.params, nonces, state))

    def plan(self, bill: Bill, now: Instant) -> Plan:
        """What a live payment comes to, as things stand. Raises one of our errors if it cannot be made."""
        if self.funds is None:
            raise Failed("the signer has not seen the chain yet; try again in a moment")
        if bill.state is None:
            self.sessions.require_room(now)
        else:
            self.sessions.require(bill.state.id, bill.state.sequence, now)
        if self.payer.expired(bill.params, self.chain):
            raise RefreshNeeded("refresh session for remote signer: its TicketParams have expired")
        if bill.params.expiration_block > self.chain.block + self.rules.params_blocks_max:
            raise Refused(f"these TicketParams hold for more than {self.rules.params_blocks_max} blocks")
        most = self.rules.prices_max.get(bill.kind)
        planned = plan(bill, now, own_max=most, tickets_max=self.rules.tickets_per_request_max)
        if self.payer.left(bill.params) < planned.count:
            raise RefreshNeeded("refresh session for remote signer: its TicketParams are used up")
        self.payer.validate(bill.params, self.chain, self.funds, planned.count)
        self._require_allowed(bill.params, planned.count, planned.count, now)
        return planned

    def _require_nonces(self, nonces: tuple[int, ...]) -> None:
        if len(nonces) > self.rules.tickets_per_request_max:
            raise Refused(f"the signer signs {self.rules.tickets_per_request_max} tickets at once at most")
        if not all(FIRST_NONCE <= nonce <= NONCES_MAX for nonce in nonces):
            raise Refused(f"nonces go from {FIRST_NONCE} to {NONCES_MAX}: then new TicketParams are due")
        if len(set(nonces)) < len(nonces):
            raise Refused("a nonce is named twice")

    def _require_allowed(self, params: TicketParams, count: int, unsigned: int, now: Instant) -> int:
        """What counts of `count` tickets. Raises `Refused` if a limit would be passed."""
        rules, each = self.rules, cost_wei(params)
        if self.payees and params.recipient not in self.payees:
            raise Refused(f"the signer may not pay {params.recipient}: it is not in rules.payees")
        if each > rules.ticket_ev_wei_max:
            raise Refused(
                f"a ticket is worth more than the signer's {rules.ticket_ev_wei_max} wei (rules.ticket_ev_wei_max)"
            )
        if params.face_wei > rules.ticket_face_wei_max:
            raise Refused(
                f"a ticket pays more than the signer's {rules.ticket_face_wei_max} wei (rules.ticket_face_wei_max)"
            )
        if each * count > rules.request_ev_wei_max:
            raise Refused(
                f"tickets are worth more than the signer's {rules.request_ev_wei_max} wei a request "
                "(rules.request_ev_wei_max)"
            )
        self.spending.require(each * unsigned, now)
        return each * unsigned

    def _refuse(self, ask: int, error: ShoalError) -> None:
        self.emit(Answer(ask, fault=fault_of(error)))

    # What comes in

    def _on_chain_seen(self, event: ChainSeen, now: Instant) -> None:
        self.chain = event.view

    def _on_funds_seen(self, event: FundsSeen, now: Instant) -> None:
        if event.sender == self.payer.me:
            self.funds = event.funds

    def _on_nothing(self, event: Event, now: Instant) -> None:
        """Nothing here goes by the time alone."""

    # What is so

    def _allowed(self, fact: Allowed, now: Instant) -> None:
        self.spending.spend(int.from_bytes(fact.wei), now)
        self.streams.take(
            fact.stream, (nonce for first, last in fact.ranges for nonce in range(first, last + 1))
        )

    def _paid(self, fact: Paid, now: Instant) -> None:
        self.payer.take(fact.issued)
        self.spending.spend(int.from_bytes(fact.wei), now)
        self.sessions.take(fact.session, fact.sequence, now)

    # The host

    def busy(self) -> bool:
        """Nobody here waits for a moment to come."""
        return False

    def check(self) -> None:
        """What was spent adds up."""
        self.spending.check()

    def dump(self) -> SignerState:
        """Everything durable, for a snapshot."""
        return SignerState(self.spending.dump(), self.streams.dump(), self.sessions.dump(), self.payer.dump())

    def load(self, state: SignerState) -> None:
        """Take a snapshot's state in place of the empty one."""
        self.spending.load(state.spent)
        self.streams.load(state.streams)
        self.sessions.load(state.sessions)
        self.payer.load(state.payer)

    handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        TicketsAsked: _on_tickets_asked,
        PaymentAsked: _on_payment_asked,
        ChainSeen: _on_chain_seen,
        FundsSeen: _on_funds_seen,
        Allowed: _allowed,
        Paid: _paid,
        Restarted: _on_nothing,
        Tick: _on_nothing,
        Absent: _on_nothing,
    }
