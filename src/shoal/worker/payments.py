"""How the worker sees to it that it is paid: it counts, compares, and leaves who does not keep up.

No job waits for any of this: counting is a sum in memory, written down a moment
later. An orchestrator that owes as much as the worker lets it gets no more jobs
done until it pays; one that owes so for long, or whose signed words do not fit
what the worker did itself, is left until somebody forgives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from msgspec import Struct

from shoal.errors import Broken, Untrusted
from shoal.ids import Digest, NodeId
from shoal.machine import Alarm, Effect, Event, Fact, Machine, Send, Value
from shoal.money.ticket import Hash, Uint256
from shoal.money.wei import Wei, part
from shoal.units import Instant, later
from shoal.wire import words
from shoal.work.account import account_bytes, batch_id
from shoal.work.receipt import NO_ANSWER, Terms
from shoal.work.seal import signed_bytes
from shoal.worker.config import Rules
from shoal.worker.earnings import BOOKED, Earnings, EarningsState, Forgiven, Found, Left, Stated

#: Whether a node made this signature over these bytes.
Verify = Callable[[NodeId, bytes, bytes], bool]


class ForgivenessAsked(Event, frozen=True):
    """The worker's owner wants an orchestrator back."""

    orchestrator: NodeId


class PaymentFound(Event, frozen=True):
    """The chain shows that we were paid so much in a batch, deep enough."""

    orchestrator: NodeId
    number: int
    wei: Uint256


class FindPayment(Effect, frozen=True):
    """Look on chain for what a batch paid us, and say `PaymentFound` if it did."""

    orchestrator: NodeId
    number: int
    batch: Hash
    transaction: str


class Claim(Value, frozen=True):
    """An answer of ours that was paid for: what its receipt must say."""

    terms: Terms
    units: int
    answer: Digest
    run_ms: int
    #: What we got for it, and our part of what was paid.
    wei: Wei
    share_ppm: int

    def fits(self, receipt: words.Receipt, worker: NodeId) -> bool:
        """True if this is the receipt for it, whoever signed that."""
        if receipt.worker != worker:
            return False
        whole = self.terms.fits(receipt, self.units, self.answer, self.run_ms)
        return whole or self._fits_unanswered(receipt)

    def _fits_unanswered(self, receipt: words.Receipt) -> bool:
        """Our answer came too late; we got our part of what had been acknowledged, or what was paid beyond it later."""
        paid = receipt.units > 0 and part(receipt.wei, self.share_ppm) <= self.wei
        return paid and self.terms.fits(receipt, receipt.units, NO_ANSWER, 0)


class Exposure(Struct, gc=False):
    """What an orchestrator owes, and what its open jobs may add to that; and since when something is wrong."""

    owed: int = 0
    open: int = 0
    #: It gets no jobs done: for good, or until this has sunk.
    left: bool = False
    paused: bool = False
    owing_since: Instant | None = None
    short_since: Instant | None = None
    asked_at: Instant = Instant(0)
    #: Receipts in a row that were asked for and not shown.
    unshown: int = 0


class Payments(Machine[EarningsState]):
    """What was earned, from whom, and whether to go on."""

    facts: ClassVar[tuple[type[Fact], ...]] = tuple(BOOKED)
    state = EarningsState

    def __init__(
        self,
        rules: Rules,
        *,
        node: NodeId,
        verify: Verify,
        payout: NodeId = NodeId(""),
        draw: Callable[[], int] | None = None,
        sees_chain: bool = False,
    ) -> None:
        """`draw` gives random numbers, for nobody to know which receipt we ask for; every so manieth without it."""
        super().__init__(rules.tick_ms)
        self.rules = rules
        self.node = node
        self.payout = payout
        self.sees_chain = sees_chain
        self.earnings = Earnings()
        self._verify = verify
        self._draw = draw
        self._exposures: dict[NodeId, Exposure] = {}
        self._claims: dict[NodeId, Claim] = {}
        self._to_claim = rules.receipts_every
        self._count_at = Instant(0)
        self._find_at = Instant(0)
        #: True while something is to be counted, watched or found.
        self._unsettled = False

    # Before a job, and after it

    def exposure(self, peer: NodeId) -> Exposure:
        """What stands open with an orchestrator."""
        found = self._exposures.get(peer)
        if found is None:
            found = self._exposures[peer] = Exposure()
            self._weigh(peer, found)
        return found

    def objection(self, peer: NodeId, word: words.Job, most: Wei) -> str:
        """Why this job is not worth doing; "" if it is, and then the most it can bring stands open."""
        rules, exposure = self.rules, self.exposure(peer)
        if exposure.left:
            return "this worker has left its orchestrator"
        if word.share_ppm < rules.share_ppm_min:
            return f"this worker wants {rules.share_ppm_min} millionths of the price, not {word.share_ppm}"
        if word.payout != self.payout:
            return "this worker is to be paid elsewhere"
        if exposure.owed + exposure.open + most > rules.float_wei and peer not in rules.trusted:
            self._pause(peer, exposure)
            return "this worker is owed too much"
        exposure.open += most
        return ""

    def works_for(self, peer: NodeId) -> bool:
        """Whether an orchestrator can have anything at all."""
        exposure = self.exposure(peer)
        return not (exposure.left or exposure.paused)

    def settle(self, peer: NodeId, most: Wei, due: Wei, wei: Wei | None) -> None:
        """A job has ended, and `due` would be its whole wage: it was paid, perhaps with 0, or was not."""
        exposure = self._exposures[peer]
        exposure.open -= most
        tally = self.earnings.tallies.get(peer) or self.earnings.tally(peer)
        if wei is not None:
            tally.jobs += 1
            tally.wei += wei
            exposure.owed += wei
            due = Wei(due - wei)
        if due > 0:
            tally.unpaid += due
        self._unsettled = True

    def wants_receipt(self) -> bool:
        """Whether to ask for the receipt of this paid answer: now and then, and nobody knows when."""
        self._to_claim -= 1
        every = self.rules.receipts_every
        if self._to_claim > 0 or not every:
            return False
        self._to_claim = every if self._draw is None else 1 + self._draw() % (2 * every)
        return True

    def claim(self, claim: Claim) -> None:
        """See the receipt that went out with an answer."""
        peer = claim.terms.orchestrator
        if peer in self._claims:
            self._not_shown(peer)
        self._claims[peer] = claim
        self.emit(Send(peer, words.ReceiptAsked(claim.terms.job, claim.terms.epoch)))

    def _not_shown(self, peer: NodeId) -> None:
        self._claims.pop(peer, None)
        self.exposure(peer).unshown += 1

    # What orchestrators say

    def ask_for_account(self, peer: NodeId, now: Instant) -> None:
        """Have an orchestrator say how we stand, if we ever stood anywhere."""
        if peer in self.earnings.records:
            self.exposure(peer).asked_at = now
            self.emit(Send(peer, words.AccountAsked()))

    def _hear_account(self, peer: NodeId, word: words.Account, now: Instant) -> None:
        if not self._verify(peer, account_bytes(peer, self.node, word), word.signature):
            raise Untrusted(f"{peer} sends an account that it has not signed")
        earnings, exposure = self.earnings, self.exposure(peer)
        earned, paid = Wei(int.from_bytes(word.earned)), Wei(int.from_bytes(word.paid))
        record = earnings.record(peer)
        if earned < earnings.earned(peer) or paid < record.announced_wei:
            self._unsettled = True  # an old word that was overtaken; or it takes something back
            if exposure.short_since is None:
                exposure.short_since = now
                self.ask_for_account(peer, now)
            elif later(exposure.short_since, self.rules.differ_ms) <= now:
                least = earnings.earned(peer)
                self._leave(peer, f"it says that we earned {earned} wei, and we earned {least} there", now)
            return
        exposure.short_since = None
        if record.account is None or (earned, paid) != (record.stated_wei, record.announced_wei):
            self.decide(Stated(peer, word, self.sees_chain), now)
        # What was settled while we were away we could not count. What is open may be in this sum, and come again.
        lost = earned - exposure.open - earnings.counted(peer)
        if lost > 0:
            earnings.tally(peer).wei += lost
            self._unsettled = True
        self._weigh(peer, exposure)
        self._find(peer)

    def _hear_receipt(self, peer: NodeId, word: words.ReceiptShown, now: Instant) -> None:
        claim = self._claims.get(peer)
        if claim is None or (claim.terms.job, claim.terms.epoch) != (word.job, word.epoch):
            return
        if word.receipt is None:
            self._not_shown(peer)
            return
        del self._claims[peer]
        self.exposure(peer).unshown = 0
        if not claim.fits(word.receipt, self.node):
            self._leave(peer, f"its receipt for job {word.job} is not for what we did", now)
        elif not self._verify(peer, signed_bytes(word.receipt), word.receipt.signature):
            self._leave(peer, f"its receipt for job {word.job} is not signed by it", now)

    # What the chain and the owner say

    def _find(self, peer: NodeId) -> None:
        """Look for payments that were announced and not yet seen."""
        record = self.earnings.record(peer)
        if not self.sees_chain or record.account is None:
            return
        for each in record.account.remittances:
            if each.number not in record.found:
                self._unsettled = True
                batch = batch_id(peer, each.number)
                self.emit(FindPayment(peer, each.number, batch, each.transaction))

    def _on_payment_found(self, event: PaymentFound, now: Instant) -> None:
        peer = event.orchestrator
        if event.number not in self.earnings.record(peer).found:
            self.decide(Found(peer, event.number, event.wei), now)
            self._weigh(peer, self.exposure(peer))

    def _on_forgiveness_asked(self, event: ForgivenessAsked, now: Instant) -> None:
        peer = event.orchestrator
        if peer not in self.earnings.records and peer not in self.earnings.tallies:
            return
        if peer in self.earnings.tallies:
            self.decide(self.earnings.count(peer), now)
        self.decide(Forgiven(peer), now)
        exposure = self.exposure(peer)
        exposure.paused, exposure.owing_since, exposure.short_since, exposure.unshown = False, None, None, 0
        self._weigh(peer, exposure)
        self.changed_mind(peer)

    # Now and then

    def look_at_earnings(self, now: Instant) -> None:
        """Write down what was counted, and see who owes too much, or has shown too little."""
        if not self._unsettled:
            return
        if self._count_at <= now:
            self._count_at = later(now, self.rules.count_ms)
            for peer in sorted(self.earnings.tallies):
                self.decide(self.earnings.count(peer), now)
                self._weigh(peer, self.exposure(peer))
        if self._find_at <= now:
            self._find_at = later(now, self.rules.find_ms)
            for peer in sorted(self.earnings.records):
                self._find(peer)
        self._unsettled = bool(self.earnings.tallies) or (self.sees_chain and self._missing())
        for peer, exposure in list(self._exposures.items()):
            self._unsettled |= self._judge(peer, exposure, now)

    def take_up_earnings(self) -> None:
        """After a restart: say again whom we have left, and go on with the rest."""
        self._unsettled = bool(self.earnings.records)
        for peer, record in self.earnings.records.items():
            if record.left:
                self.emit(
                    Alarm(f"{peer} gets no work: {record.left}; `shoal worker forgive {peer}` takes it back")
                )

    def _missing(self) -> bool:
        """True while a payment was announced that the chain has not shown."""
        accounts = ((record, record.account) for record in self.earnings.records.values())
        return any(
            each.number not in record.found
            for record, account in accounts
            if account is not None
            for each in account.remittances
        )

    def _judge(self, peer: NodeId, exposure: Exposure, now: Instant) -> bool:
        """Leave an orchestrator for good reason, or resume; True if it is to be looked at again."""
        rules = self.rules
        if exposure.left:
            return False
        if exposure.unshown >= rules.unshown_max:
            self._leave(peer, f"it did not show {exposure.unshown} receipts in a row", now)
            return False
        if exposure.short_since is not None and later(exposure.asked_at, rules.differ_ms) <= now:
            self.ask_for_account(peer, now)
        if peer in rules.trusted:
            return exposure.short_since is not None
        return self._judge_debts(peer, exposure, now) or exposure.short_since is not None

    def _judge_debts(self, peer: NodeId, exposure: Exposure, now: Instant) -> bool:
        rules = self.rules
        unpaid = self.earnings.unpaid(peer)
        if unpaid > rules.float_wei + part(self.earnings.earned(peer), rules.unpaid_ppm_max):
            self._leave(peer, f"it took answers worth {unpaid} wei and did not pay for them", now)
            return False
        if exposure.paused and 4 * (exposure.owed + exposure.open) <= 3 * rules.float_wei:
            exposure.paused = False
            self.changed_mind(peer)
        if not exposure.paused and exposure.owed <= rules.float_wei:
            exposure.owing_since = None
            return False
        if exposure.owing_since is None:
            exposure.owing_since = now
        if later(exposure.owing_since, rules.owing_ms) <= now:
            self._leave(peer, f"it owes {exposure.owed} wei, and has not paid for {rules.owing_ms} ms", now)
            return False
        return True

    def _weigh(self, peer: NodeId, exposure: Exposure) -> None:
        exposure.owed = self.earnings.owed(peer, on_chain=self.sees_chain)
        exposure.left = bool(self.earnings.record(peer).left)

    def _pause(self, peer: NodeId, exposure: Exposure) -> None:
        if not exposure.paused:
            exposure.paused = self._unsettled = True
            self.changed_mind(peer)

    def _leave(self, peer: NodeId, cause: str, now: Instant) -> None:
        if not self.earnings.record(peer).left:
            if peer in self.earnings.tallies:
                self.decide(self.earnings.count(peer), now)
            self.decide(Left(peer, cause), now)
            self._weigh(peer, self.exposure(peer))
            self.emit(
                Alarm(f"{peer} gets no more work: {cause}; `shoal worker forgive {peer}` takes it back")
            )
            self.changed_mind(peer)

    def changed_mind(self, peer: NodeId) -> None:
        """What an orchestrator can have is other than before."""

    @property
    def unsettled(self) -> bool:
        """True while money has to be looked at."""
        return self._unsettled

    # The books

    def check_exposures(self, wages: Iterable[tuple[NodeId, Wei]]) -> None:
        """Raise `Broken` unless what stands open is what the open jobs can bring."""
        open_wages: dict[NodeId, int] = {}
        for peer, most in wages:
            open_wages[peer] = open_wages.get(peer, 0) + most
        if any(each.open != open_wages.get(peer, 0) for peer, each in self._exposures.items()):
            raise Broken("what the open jobs can bring and what stands open differ")

    def _book(self, fact: Fact, now: Instant) -> None:
        BOOKED[type(fact)](self.earnings, fact)

    def dump(self) -> EarningsState:
        """Everything durable."""
        return self.earnings.dump()

    def load(self, state: EarningsState) -> None:
        """Take a snapshot's state."""
        self.earnings.load(state)

    payment_handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        PaymentFound: _on_payment_found,
        ForgivenessAsked: _on_forgiveness_asked,
        **dict.fromkeys(BOOKED, _book),
    }

    payment_words: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        words.Account: _hear_account,
        words.ReceiptShown: _hear_receipt,
    }
