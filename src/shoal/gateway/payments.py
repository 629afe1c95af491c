"""How the gateway pays ahead: it asks for terms, has tickets signed, and sees that they are booked.

Nothing is paid for a job: tickets buy credit, in blocks, before it runs out, and
accepted answers use it up. Tickets leave only when their nonces are on disk as
used. An orchestrator that trusts us is not paid ahead, and nothing of this happens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from shoal.errors import Refused, Untrusted
from shoal.gateway.books import Books
from shoal.gateway.config import Rules
from shoal.gateway.events import (
    ForgivenessAsked,
    SenderKnown,
    SigningFailed,
    SignTickets,
    TicketsSigned,
)
from shoal.gateway.purse import Booked, Estranged, Forgiven, Tendered
from shoal.gateway.settlement import tender_key
from shoal.ids import NodeId
from shoal.machine import Alarm, Deliver, Event, Retire, Send, Value
from shoal.money.funds import UNSEEN, ChainSeen, ChainView, Funds, FundsSeen
from shoal.money.payer import Payer
from shoal.money.ticket import Payment, TicketParams
from shoal.money.wei import Wei
from shoal.units import Instant, later
from shoal.wire import words

#: What an orchestrator is told to ask for again, if it is slow to answer or the signer to sign.
ASK_AGAIN_MS = 2_000
PUT_DOWN = "put money down: shoal wallet fund --deposit AMOUNT --reserve AMOUNT"


class Payments(Books):
    """The books, and what is paid ahead."""

    __slots__ = (
        "_asked",
        "_differs",
        "_doubted",
        "_funds_seen",
        "_pipelines",
        "_said",
        "_signing",
        "_terms",
        "_wanted",
        "chain",
        "funds",
        "unpaid_because",
    )

    def __init__(self, rules: Rules, payer: Payer | None) -> None:
        """Without a `payer` nobody is dealt with who wants to be paid ahead."""
        super().__init__(rules, payer)
        self.chain: ChainView = UNSEEN
        self.funds = Funds()
        #: False until our own money was looked at: before that nothing is said of it.
        self._funds_seen = False
        self._terms: dict[NodeId, TicketParams] = {}
        #: Since when terms, or signatures, are awaited.
        self._asked: dict[NodeId, Instant] = {}
        self._signing: dict[NodeId, Instant] = {}
        #: What the last job needed that was to go there: what is paid is paid for that, as far as anybody can say.
        self._pipelines: dict[NodeId, str] = {}
        #: The largest job that waits for credit there.
        self._wanted: dict[NodeId, Wei] = {}
        #: Who said that our credit does not cover a job for which it is enough by our books, and when.
        self._doubted: dict[NodeId, Instant] = {}
        #: Since when an orchestrator's word of our credit has been too low.
        self._differs: dict[NodeId, Instant] = {}
        #: Why somebody is not paid though we want to deal with them.
        self.unpaid_because: dict[NodeId, str] = {}
        #: ... as it was said last: it is not said again until they are paid.
        self._said: dict[NodeId, str] = {}

    # Before and after a job is placed

    def affords(self, node: NodeId, wei: Wei, pipeline: str, now: Instant) -> bool:
        """Whether a job of this price may go there now; if not, see to it that it soon may."""
        if node in self.purse.prepaid:
            self._pipelines[node] = pipeline
        if self.purse.affords(node, wei):
            return True
        self._wanted[node] = max(wei, self._wanted.get(node, Wei(0)))
        self.pay(node, now)
        return False

    def pay(self, node: NodeId, now: Instant) -> None:
        """Pay ahead what is lacking there: a block of credit at a time, each asked for, signed and sent in turn."""
        lacking = self._lacking(node)
        if not lacking or node not in self.purse.prepaid or node in self.purse.estranged:
            return
        if self.payer is None:
            self._cannot(node, "it wants to be paid ahead, and this gateway has no chain to pay on")
            return
        if not self.payer.me:
            self.unpaid_because[node] = "the signer has not said yet whose tickets it signs"
            return
        if not self._funds_seen or self._waits(self._signing, node, now):
            return
        params = self._terms.get(node)
        if (
            params is None
            or self.payer.wants_new_params(params, self.chain, 1)
            or self._is_small(params, lacking)
        ):
            self._ask(node, lacking, now)
            if params is None or not self.payer.left(params) or self.payer.expired(params, self.chain):
                return
        self._sign(node, params, lacking, now)

    def _lacking(self, node: NodeId) -> Wei:
        wanted = self._wanted.get(node, Wei(0)) if self.queue else Wei(0)  # whoever wanted it may be gone
        return self.purse.lacks(node, wanted)

    def _is_small(self, params: TicketParams, lacking: Wei) -> bool:
        """True if larger tickets would do: a payment is one signature where trust is old, many where it is young."""
        return params.ev_wei * self.rules.tickets_per_payment < min(lacking, self.rules.ticket_ev_wei_max)

    def _sign(self, node: NodeId, params: TicketParams, lacking: Wei, now: Instant) -> None:
        payer = self.payer
        assert payer is not None
        ev_wei = params.ev_wei
        most = min(self.rules.tickets_per_payment_max, payer.rules.total_ev_wei_max // max(1, ev_wei))
        count = min(-(-lacking // max(1, ev_wei)), max(1, most), payer.left(params))
        try:
            payer.validate(params, self.chain, self.funds, count)
        except Refused as error:
            self._terms.pop(node, None)
            lacks = not (self.funds.deposit and self.funds.reserve)
            self._cannot(node, error.message + (f"; {PUT_DOWN}" if lacks else ""))
            return
        self._signing[node] = now
        self.emit(SignTickets(node, params, payer.issue(params, count)))

    def _cannot(self, node: NodeId, why: str) -> None:
        self.unpaid_because[node] = why
        if self._said.get(node) != why:
            self._said[node] = why
            self.emit(Alarm(f"{node} is not paid, so it gets no jobs: {why}"))

    def _ask(self, node: NodeId, wei: Wei, now: Instant) -> None:
        """Ask what tickets should be like: each worth what is wanted, as far as its recipient and we allow."""
        if self.payer is not None and not self._waits(self._asked, node, now):
            self._asked[node] = now
            worth = Wei(min(wei, self.rules.ticket_ev_wei_max))
            self.emit(Send(node, words.TermsAsked(self.payer.me, worth)))

    @staticmethod
    def _waits(since: Mapping[NodeId, Instant], node: NodeId, now: Instant) -> bool:
        began = since.get(node)
        return began is not None and now < later(began, ASK_AGAIN_MS)

    def look_for_credit(self, now: Instant) -> None:
        """Open jobs may have ended for less than they might have cost: see whom that lets be chosen again.

        Who cannot be is not looked at by anybody else: so whatever got lost on the way to a payment is made up for.
        """
        for node, wei in list(self._wanted.items()):
            if not self.purse.affords(node, wei):
                self.pay(node, now)
            elif not self._doubts(node, now):
                del self._wanted[node]
                self.relieved(node)

    def turned_down(self, node: NodeId, wei: Wei, now: Instant) -> None:
        """By its books an orchestrator is not paid for a job of this price: leave it alone until it may be.

        It may not have booked yet what was sent: it looks for a stranger's money on chain first, as it does for
        everybody's once it is restarted. Or it holds for a job that we know the end of.
        """
        self._doubted[node] = now
        self._wanted[node] = max(wei, self._wanted.get(node, Wei(0)))
        self.strapped(node)

    def _doubts(self, node: NodeId, now: Instant) -> bool:
        since = self._doubted.get(node)
        if since is None:
            return False
        if not self.purse.unheard(node) and now >= later(since, self.rules.busy_pause_ms):
            del self._doubted[node]
            return False
        return True

    def strapped(self, node: NodeId) -> None:
        """Our credit with an orchestrator is not enough: nobody needs to look there."""

    def relieved(self, node: NodeId) -> None:
        """There is credit again: whoever waits for it may look."""

    def wants_payment(self, node: NodeId, prepaid: bool) -> None:
        """An orchestrator says whether it wants to be paid ahead."""
        if prepaid:
            self.purse.prepaid.add(node)
        elif node in self.purse.prepaid:
            self.purse.prepaid.discard(node)
            self.relieved(node)

    def reconcile(self, node: NodeId, said: Wei, price: Wei, now: Instant) -> None:
        """An orchestrator has said what our credit is, this price taken off: part with it if that stays too low."""
        differs = self.purse.differs(node, said, price)
        if not differs:
            self._differs.pop(node, None)
            return
        since = self._differs.setdefault(node, now)
        if now < later(since, self.rules.differ_ms) or node in self.purse.estranged:
            return
        cause = f"it says that our credit is {said} wei, and by our books that is {differs} wei too little"
        self.estrange(node, cause, now, wei=differs)

    def estrange(self, node: NodeId, cause: str, now: Instant, *, wei: Wei = Wei(0)) -> None:
        """Deal with an orchestrator no more. What it got of us is lost, and stays in the books."""
        if node in self.purse.estranged:
            return
        self.decide(Estranged(node, cause, wei), now)
        self.emit(Alarm(f"{node} gets no more jobs: {cause}"))

    # What comes in

    def take_tickets(self, event: TicketsSigned, now: Instant) -> None:
        """Tickets are signed: note them, send them, and have more signed if more is lacking."""
        node, params = event.orchestrator, event.params
        if self.payer is None or node not in self._signing or node in self.purse.estranged:
            return
        # Of what was signed slowly less may be needed by now, or nothing: it was asked for again meanwhile.
        needed = -(-self._lacking(node) // max(1, params.ev_wei))
        tickets = event.tickets[:needed]
        if not tickets:
            del self._signing[node]
            return
        try:
            self.payer.validate(params, self.chain, self.funds, len(tickets))
            issued = self.payer.issued(params, len(tickets), self.chain)
        except Refused:
            return
        if tickets[0].nonce != issued.first:
            return  # so late that others were issued in their place
        del self._signing[node]
        self.unpaid_because.pop(node, None)
        self._said.pop(node, None)
        payment = Payment(params, self.payer.me, tickets)
        number = self.purse.next_number(node)
        worth, pipeline = Wei(payment.ev_wei), self._pipelines.get(node, "")
        self.decide(Tendered(node, number, issued, payment, worth, pipeline), now)
        self.look_for_credit(now)
        self.pay(node, now)

    def _on_signing_failed(self, event: SigningFailed, now: Instant) -> None:
        """Leave it alone for a moment: it is asked again when somebody wants to be paid."""
        self._cannot(event.orchestrator, event.fault.message)

    def _on_sender_known(self, event: SenderKnown, now: Instant) -> None:
        """Terms are for one sender's tickets: with another, all is asked anew."""
        if self.payer is not None and event.sender != self.payer.me:
            self.payer.me = event.sender
            self.funds, self._funds_seen = Funds(), False
            self._terms.clear()
            self._signing.clear()
            self.unpaid_because.clear()

    def _on_chain_seen(self, event: ChainSeen, now: Instant) -> None:
        self.chain = event.view
        self.unpaid_because.clear()
        for node, params in list(self._terms.items()):
            if self.payer is not None and self.payer.wants_new_params(params, self.chain, 1):
                self._ask(node, Wei(params.ev_wei), now)

    def _on_funds_seen(self, event: FundsSeen, now: Instant) -> None:
        if self.payer is not None and event.sender == self.payer.me:
            self.funds, self._funds_seen = event.funds, True
            self.unpaid_because.clear()

    def _on_forgiveness_asked(self, event: ForgivenessAsked, now: Instant) -> None:
        if event.orchestrator in self.purse.estranged:
            self._differs.pop(event.orchestrator, None)
            self.decide(Forgiven(event.orchestrator), now)
            self.relieved(event.orchestrator)

    def _hear_terms(self, peer: NodeId, word: words.Terms, now: Instant) -> None:
        self._asked.pop(peer, None)
        if word.params is None:
            self._terms.pop(peer, None)
            self._cannot(peer, word.fault.message if word.fault else "it names no terms")
            return
        if self.payer is None or word.params.recipient != peer:
            raise Untrusted(f"{peer} names terms that nobody asked for")
        self._terms[peer] = self.payer.completed(word.params, self.chain)
        self.pay(peer, now)

    def hear_credited(self, peer: NodeId, word: words.Credited, now: Instant) -> None:
        """It has booked a payment: all of it, or not."""
        sent = self.purse.is_unheard(peer, word.number)
        if sent is None:
            self.emit(Retire(tender_key(peer, word.number)))
            return
        self.decide(Booked(peer, word.number, Wei(max(0, min(word.wei, sent)))), now)
        self._doubted.pop(peer, None)
        if word.wei >= sent:
            return
        self._terms.pop(peer, None)
        why = word.fault.message if word.fault is not None else "it does not say why"
        self.emit(Alarm(f"{peer} has booked {word.wei} of {sent} wei that we paid: {why}"))
        if self.purse.is_lossy(peer):
            self.estrange(
                peer, f"it has not booked {self.purse.lost(peer)} wei of our tickets; now {why}", now
            )
        else:
            self.pay(peer, now)

    # The books

    def _tendered(self, fact: Tendered, now: Instant) -> None:
        if self.payer is not None:
            self.payer.take(fact.issued)
        self.purse.tendered(fact)
        node, number = fact.orchestrator, fact.number
        word = words.Tender(number, fact.payment, fact.pipeline)
        self.emit(Deliver(tender_key(node, number), node, word))

    def _booked(self, fact: Booked, now: Instant) -> None:
        self.purse.booked(fact)
        self.emit(Retire(tender_key(fact.orchestrator, fact.number)))

    def _estranged(self, fact: Estranged, now: Instant) -> None:
        self.purse.estrange(fact)

    def _forgiven(self, fact: Forgiven, now: Instant) -> None:
        self.purse.forgiven(fact)

    payment_handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        SenderKnown: _on_sender_known,
        SigningFailed: _on_signing_failed,
        ChainSeen: _on_chain_seen,
        FundsSeen: _on_funds_seen,
        ForgivenessAsked: _on_forgiveness_asked,
    }

    payment_words: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        words.Terms: _hear_terms,
    }

    fact_handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        **Books.fact_handlers,
        Tendered: _tendered,
        Booked: _booked,
        Estranged: _estranged,
        Forgiven: _forgiven,
    }
