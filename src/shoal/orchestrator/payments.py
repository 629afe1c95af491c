"""How the orchestrator is paid ahead: the terms it names, the tickets it takes, and what credit is left.

Who is not trusted has a job taken on only if credit covers its price, beside
that of its open jobs. Every receipt says what is left; both sides can compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from msgspec import Struct

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.machine import Effect, Event, Send, Value
from shoal.money.funds import UNSEEN, ChainSeen, ChainView, Funds, FundsSeen
from shoal.money.payee import Payee
from shoal.money.ticket import NO_HASH
from shoal.money.wei import WEI_MAX, Price, Wei
from shoal.orchestrator.books import Books, account
from shoal.orchestrator.config import Rules
from shoal.orchestrator.till import Entry, Paid
from shoal.units import Instant
from shoal.wire import words
from shoal.wire.faults import fault_of
from shoal.wire.pipelines import PIPELINES
from shoal.work.queue import Need

NOTHING_AHEAD = words.Fault(Refused.code, "nothing is paid ahead here")


class Watch(Effect, frozen=True):
    """Look at a sender's money on the chain from now on, and say `FundsSeen`."""

    sender: NodeId


class Conduct(Struct):
    """What became of the answers that a gateway got since we started, those of streams that it ended included.

    `unpaid` are those not paid in full.
    """

    paid_wei: int = 0
    unpaid_wei: int = 0
    unpaid: int = 0


class Payments(Books):
    """The books, and what is paid ahead."""

    __slots__ = ("_asking", "_conducts", "_funds", "_tendered", "chain")

    def __init__(self, rules: Rules, payee: Payee | None) -> None:
        """Without a `payee` everybody is trusted as far as `gateway_credit_wei` goes."""
        super().__init__(rules, payee)
        self.chain: ChainView = UNSEEN
        self._funds: dict[NodeId, Funds] = {}
        #: Who has asked for terms before their sender's money was looked at.
        self._asking: dict[NodeId, words.TermsAsked] = {}
        #: ... and who has paid before that: the last payment of each, which waits for it.
        self._tendered: dict[NodeId, words.Tender] = {}
        #: How gateways have dealt with answers since we started.
        self._conducts: dict[NodeId, Conduct] = {}

    # Who may have a job

    def price(self, need: Need) -> Price:
        """What is asked for a work unit of this."""
        pipeline, model = need
        prices = self.rules.prices
        return prices.get(f"{pipeline}/{model}") or prices.get(pipeline) or PIPELINES[pipeline].price

    def prepaid(self, gateway: NodeId) -> bool:
        """Whether a gateway has to pay ahead."""
        return self.payee is not None and gateway not in self.rules.trusted

    def unpaid(self, gateway: NodeId, wei: Wei) -> str:
        """Why a gateway gets no job that may cost so much; "" if it does. A client may come to read it."""
        free = self.ledger.available(account(gateway))
        if not self.prepaid(gateway):
            return "" if wei <= free else "its gateway owes too much here already"
        if wei > free - self.rules.gateway_credit_wei:
            return "its gateway's credit here does not cover this"
        if self.is_taken_from(gateway):
            return "most of what was answered to its gateway since we started was never paid"
        return ""

    # What is left

    def conduct(self, gateway: NodeId) -> Conduct:
        """What became of a gateway's answers since we started."""
        return self._conducts.get(gateway) or Conduct()

    def remember(self, gateway: NodeId, wei: Wei, paid: Wei) -> None:
        """An answer at this price, or what was sent of one, was paid: all of it, in part, or not at all."""
        conduct = self._conducts.setdefault(gateway, Conduct())
        conduct.paid_wei += paid
        if paid < wei:
            conduct.unpaid += 1
            conduct.unpaid_wei += wei - paid

    def makes_good(self, gateway: NodeId, wei: Wei) -> None:
        """So much is paid after all. How many answers came to nothing stays: by the wei they weigh less."""
        conduct = self._conducts.get(gateway)
        if conduct is not None and conduct.unpaid:
            conduct.unpaid_wei -= min(wei, conduct.unpaid_wei)
            conduct.paid_wei += wei

    def is_taken_from(self, gateway: NodeId) -> bool:
        """Whether a gateway keeps answers that it does not pay: some are nobody's fault, most never are."""
        conduct = self._conducts.get(gateway)
        return (
            conduct is not None
            and self.prepaid(gateway)
            and conduct.unpaid > self.rules.unpaid_answers_max
            and conduct.unpaid_wei > conduct.paid_wei
        )

    def credit(self, gateway: NodeId) -> Wei:
        """What a gateway has left here, all that was answered taken off; below 0 what it owes."""
        left = self.ledger.balances.get(account(gateway), 0) - self._charged.get(gateway, 0)
        return Wei(max(-WEI_MAX, min(left, WEI_MAX)))

    def pending_winners(self) -> int:
        """How many tickets have won that are neither redeemed nor given up."""
        return sum(len(self.payee.pending(sender)) for sender in self.payee.senders) if self.payee else 0

    # What comes in

    def _on_chain_seen(self, event: ChainSeen, now: Instant) -> None:
        self.chain = event.view
        self._take_up_waiting(now)

    def _on_funds_seen(self, event: FundsSeen, now: Instant) -> None:
        assert self.payee is not None
        self._funds.pop(event.sender, None)
        self._funds[event.sender] = event.funds
        if len(self._funds) > self.payee.rules.senders_max:  # anybody may ask for terms in anybody's name
            del self._funds[next(iter(self._funds))]
        self._take_up_waiting(now)

    def _sees(self, sender: NodeId) -> Funds | None:
        """A sender's money, once both the chain and that were looked at; until then nothing is judged by it."""
        return self._funds.get(sender) if self.chain.round_hash != NO_HASH else None

    def _take_up_waiting(self, now: Instant) -> None:
        for gateway, asked in [item for item in self._asking.items() if self._sees(item[1].sender)]:
            del self._asking[gateway]
            self._name_terms(gateway, asked)
        for gateway, tender in list(self._tendered.items()):
            if self._sees(tender.payment.sender):
                del self._tendered[gateway]
                self._hear_tender(gateway, tender, now)

    def forget_waiting(self, gateway: NodeId) -> None:
        """It is gone; what it paid it says again when it is back."""
        self._asking.pop(gateway, None)
        self._tendered.pop(gateway, None)

    def _hear_terms_asked(self, peer: NodeId, word: words.TermsAsked, now: Instant) -> None:
        if self.payee is None:
            self.emit(Send(peer, words.Terms(None, NOTHING_AHEAD)))
        elif self._sees(word.sender) is not None:
            self._name_terms(peer, word)
        elif self._asking.get(peer, word).sender == word.sender:
            self._asking[peer] = word
            self.emit(Watch(word.sender))
        # Else it waits for another sender's money: one look at the chain at a time for each gateway, which asks again.

    def _name_terms(self, gateway: NodeId, asked: words.TermsAsked) -> None:
        assert self.payee is not None
        worth = max(self.rules.ticket_ev_wei_min, min(asked.wei, self.rules.ticket_ev_wei_max))
        try:
            params = self.payee.params(asked.sender, worth, self.chain, self._funds[asked.sender])
        except Refused as error:
            self.emit(Send(gateway, words.Terms(None, fault_of(error))))
        else:
            self.emit(Send(gateway, words.Terms(params)))

    def _hear_tender(self, peer: NodeId, word: words.Tender, now: Instant) -> None:
        booked = self.till.booked(peer, word.number)
        if booked is not None:
            self._answer_tender(peer, word.number, booked)
            return
        if self.payee is None:
            self.emit(Send(peer, words.Credited(word.number, Wei(0), NOTHING_AHEAD)))
            return
        payment = word.payment
        funds = self._sees(payment.sender)
        if funds is None:  # we were restarted since terms were named
            self._tendered[peer] = word
            self.emit(Watch(payment.sender))
            return
        judged = self.payee.judge(payment.params, payment.sender, payment.tickets, self.chain, funds)
        # A no is remembered as well: its gateway takes it for final.
        entry = Entry(Wei(judged.credit_wei), judged.fault or "")
        self.decide(Paid(peer, word.number, entry.wei, judged.taken, entry.fault, word.pipeline), now)
        self._answer_tender(peer, word.number, entry)

    def _answer_tender(self, gateway: NodeId, number: int, booked: Entry) -> None:
        fault = words.Fault(Refused.code, booked.fault) if booked.fault else None
        self.emit(Send(gateway, words.Credited(number, booked.wei, fault)))

    payment_handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        ChainSeen: _on_chain_seen,
        FundsSeen: _on_funds_seen,
    }

    payment_words: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        words.TermsAsked: _hear_terms_asked,
        words.Tender: _hear_tender,
    }
