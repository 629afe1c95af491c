"""How the orchestrator pays its workers, and what it tells them of that.

What is owed goes out in batches, each a fact before the redeemer hears of it;
its money is set apart until the chain has it, or it is owed again. Every worker
gets signed sums of what it has earned and been paid; no two of them contradict.
Tickets that won go to the same redeemer, until it says what became of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from msgspec.structs import replace

from shoal.errors import Untrusted
from shoal.ids import NodeId
from shoal.machine import Alarm, Connected, Deliver, Disconnected, Event, Retire, Send, Value
from shoal.money.payee import Payee, WinnerSettled
from shoal.money.ticket import WinningTicket, uint256
from shoal.money.wei import Wei
from shoal.orchestrator.config import Rules
from shoal.orchestrator.payments import Payments
from shoal.orchestrator.payroll import Due, PayoutEnded, PayoutPlanned
from shoal.orchestrator.till import Paid
from shoal.units import Instant, later
from shoal.wire import words
from shoal.work.account import account_bytes, batch_id

#: Signs bytes with this node's key.
Sign = Callable[[bytes], bytes]

#: How the redeemer ends a batch or a ticket; whatever else it says is on the way there.
CONFIRMED, REFUSED = "confirmed", "refused"


class Payouts(Payments):
    """What is paid ahead, and what is paid out."""

    __slots__ = ("_floats", "_pay_at", "_sign", "_state_at", "_stated_at", "node", "payouts", "redeemers")

    def __init__(self, rules: Rules, payee: Payee | None, *, node: NodeId, sign: Sign) -> None:
        super().__init__(rules, payee)
        self.node = node
        self._sign = sign
        self.redeemers: set[NodeId] = set()
        #: Of the workers that are here: where each is paid, and how much may be owed to it.
        self.payouts: dict[NodeId, NodeId] = {}
        self._floats: dict[NodeId, Wei] = {}
        self._stated_at: dict[NodeId, Instant] = {}
        self._state_at = Instant(0)
        self._pay_at = Instant(0)

    # Workers

    def meet_worker(self, worker: NodeId, now: Instant) -> None:
        """A worker is here: tell it how its account stands, if it has one."""
        if worker in self.payroll.wages:
            self._state(worker, now)

    def heed_terms(self, worker: NodeId, word: words.Offers) -> bool:
        """A worker's terms; False if they are not ours."""
        self._floats[worker] = word.float_wei
        self.payouts[worker] = word.payout
        fair = word.share_ppm_min <= self.rules.share_ppm
        if not fair:
            self.emit(
                Alarm(
                    f"{worker} is given no jobs: it wants {word.share_ppm_min} millionths of each price, and "
                    f"rules.share_ppm is {self.rules.share_ppm}"
                )
            )
        return fair

    def _state(self, worker: NodeId, now: Instant) -> None:
        """Tell a worker all that it has earned and been paid."""
        self.payroll.unstated.discard(worker)
        self._stated_at[worker] = now
        wage = self.payroll.wages.get(worker)
        account = words.Account(
            uint256(self.payroll.earned(worker)),
            wage.paid if wage is not None else uint256(0),
            wage.remittances if wage is not None else (),
        )
        signature = self._sign(account_bytes(self.node, worker, account))
        self.emit(Send(worker, replace(account, signature=signature)))

    def _hear_account_asked(self, peer: NodeId, word: words.AccountAsked, now: Instant) -> None:
        asked_at = self._stated_at.get(peer)
        if asked_at is None or later(asked_at, self.rules.account_ms_min) <= now:
            self._state(peer, now)

    # Batches

    @property
    def restless(self) -> bool:
        """True while somebody is to be paid one day, or told of its account."""
        pays = self.payroll.owing and self.payroll.under_way is None and bool(self.rules.redeemer)
        return pays or not self.payroll.unstated.isdisjoint(self._floats)

    def look_at_wages(self, now: Instant) -> None:
        """State accounts that are due, and plan a batch if anybody has waited long enough or is owed enough."""
        if self._state_at <= now:
            self._state_at = later(now, self.rules.account_ms)
            for worker in sorted(self.payroll.unstated & self._floats.keys()):
                self._state(worker, now)
        if self._pay_at <= now and self.rules.redeemer and self.payroll.under_way is None:
            self._pay_at = later(now, self.rules.payout_look_ms)
            self._plan(now)

    def _plan(self, now: Instant) -> None:
        owed = {worker: self.payroll.owed(worker) for worker in self.payroll.wages}
        self.payroll.owing = any(owed.values())
        dues = [self._due(worker, wei) for worker, wei in owed.items() if self._is_due(worker, wei, now)]
        if dues:
            dues.sort(key=lambda due: due.whole_wei, reverse=True)
            number = self.payroll.number + 1
            batch = batch_id(self.node, number)
            chosen = tuple(dues[: self.rules.payees_max])
            self.decide(PayoutPlanned(number, batch, self.rules.redeemer, chosen), now)

    def _is_due(self, worker: NodeId, owed: Wei, now: Instant) -> bool:
        """Whether a worker is owed so much, for so long or by its own terms, that the way to the chain is worth it."""
        rules = self.rules
        if owed < max(1, rules.payout_dust_wei):
            return False
        enough = min(rules.payout_min_wei, self._floats.get(worker, rules.payout_min_wei) // 2)
        return owed >= enough or later(self.payroll.wages[worker].since, rules.payout_ms) <= now

    def _due(self, worker: NodeId, wei: Wei) -> Due:
        return Due(worker, self.payroll.wages[worker].payout or worker, uint256(wei))

    def _hear_paid_out(self, peer: NodeId, word: words.PaidOut, now: Instant) -> None:
        plan = self.payroll.under_way
        if plan is None or plan.batch != word.batch:
            return
        if plan.redeemer != peer:
            raise Untrusted(f"{peer} speaks of batch {plan.number}, which {plan.redeemer} was given")
        if word.state == CONFIRMED:
            self.decide(PayoutEnded(plan.number, word.transaction), now)
            for due in plan.dues:
                self._state(due.worker, now)
        elif word.state == REFUSED:
            self.decide(PayoutEnded(plan.number, "", word.why), now)
            self._pay_at = later(now, self.rules.payout_again_ms)
            self.emit(Alarm(f"{len(plan.dues)} workers were not paid, and still are owed: {word.why}"))

    def _payout_planned(self, fact: PayoutPlanned, now: Instant) -> None:
        self.payroll.plan(fact, now)
        payees = tuple(words.Payee(due.payout, due.wei) for due in fact.dues)
        word = words.Payout(fact.batch, payees)
        self.emit(Deliver(payout_key(fact.number), fact.redeemer, word))

    def _payout_ended(self, fact: PayoutEnded, now: Instant) -> None:
        self.payroll.end(fact)
        self.payroll.owing = True
        self.emit(Retire(payout_key(fact.number)))

    # Tickets that won

    def _paid(self, fact: Paid, now: Instant) -> None:
        super()._paid(fact, now)
        if fact.taken is not None:
            self._hand_over(fact.taken.winners, fact.pipeline)

    def _hand_over(self, winners: tuple[WinningTicket, ...], pipeline: str = "") -> None:
        if self.rules.redeemer:
            for winner in winners:
                key = winner_key(winner.ticket_hash)
                self.emit(Deliver(key, self.rules.redeemer, words.Winner(winner, pipeline)))

    def hand_over_again(self) -> None:
        """After a restart: whoever redeems now gets every ticket of which nothing is settled."""
        if self.payee is not None:
            for sender in self.payee.senders:
                self._hand_over(self.payee.pending(sender))

    def _hear_redemption(self, peer: NodeId, word: words.Redemption, now: Instant) -> None:
        if peer != self.rules.redeemer:
            raise Untrusted(f"{peer} speaks of tickets, and {self.rules.redeemer or 'nobody'} redeems them")
        if word.state not in (CONFIRMED, REFUSED):
            return
        senders = self.payee.senders if self.payee is not None else ()
        sender = next((each for each in senders if self._is_pending(each, word.ticket)), None)
        if sender is None:
            self.emit(Retire(winner_key(word.ticket)))
            return
        self.decide(WinnerSettled(sender, word.ticket), now)
        if word.state == REFUSED:
            self.emit(Alarm(f"a winning ticket of {sender} brings nothing: {word.why}"))

    def _is_pending(self, sender: NodeId, ticket: bytes) -> bool:
        return self.payee is not None and self.payee.is_pending(sender, ticket)

    def _winner_settled(self, fact: WinnerSettled, now: Instant) -> None:
        if self.payee is not None:
            self.payee.take(fact)
        self.emit(Retire(winner_key(fact.ticket_hash)))

    # Peers

    def meet_redeemer(self, event: Connected) -> None:
        """A redeemer is here; what waits for it is said by the outbox."""
        self.redeemers.add(event.peer)

    def part(self, event: Disconnected) -> None:
        """A redeemer or a worker is gone."""
        self.redeemers.discard(event.peer)
        self.payouts.pop(event.peer, None)
        self._floats.pop(event.peer, None)

    fact_handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        **Payments.fact_handlers,
        Paid: _paid,
        PayoutPlanned: _payout_planned,
        PayoutEnded: _payout_ended,
        WinnerSettled: _winner_settled,
    }

    worker_words: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        words.AccountAsked: _hear_account_asked,
    }

    redeemer_words: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        words.PaidOut: _hear_paid_out,
        words.Redemption: _hear_redemption,
    }


def payout_key(number: int) -> str:
    """A batch's name in the outbox."""
    return f"payout/{number}"


def winner_key(ticket_hash: bytes) -> str:
    """A winning ticket's name in the outbox."""
    return f"winner/{ticket_hash.hex()}"
