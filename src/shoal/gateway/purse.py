"""What this gateway has paid each orchestrator ahead, and how much it dares to.

Credit with an orchestrator is what the tickets it got are worth, less what was
paid for accepted work: the gateway's ledger has it as the orchestrator's balance,
below zero. A stranger is paid ahead for one job at a time; whoever delivers is
paid ahead for more, but never for more than it has ever delivered.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from shoal.gateway.config import Rules
from shoal.gateway.settlement import lost_to, seller, tickets_to
from shoal.ids import NodeId
from shoal.machine import Fact
from shoal.money.ledger import Ledger
from shoal.money.payer import TicketsIssued
from shoal.money.ticket import Payment
from shoal.money.wei import Wei


class Tendered(Fact, frozen=True):
    """Tickets go to an orchestrator: its credit, and nonces that are used up, whatever becomes of them."""

    orchestrator: NodeId
    number: int
    issued: TicketsIssued
    payment: Payment
    wei: Wei
    pipeline: str = ""


class Booked(Fact, frozen=True):
    """An orchestrator has booked a payment; what it did not take is lost."""

    orchestrator: NodeId
    number: int
    wei: Wei


class Estranged(Fact, frozen=True):
    """An orchestrator's books do not fit ours: it gets no more jobs until somebody says otherwise.

    `wei` is by how much our credit is lower by its books.
    """

    orchestrator: NodeId
    cause: str
    wei: Wei = Wei(0)


class Forgiven(Fact, frozen=True):
    """It gets jobs again: somebody has looked into the matter. By what the books differed is written off."""

    orchestrator: NodeId


class PurseState(Struct, frozen=True):
    """What a snapshot holds."""

    numbers: dict[NodeId, int] = {}
    tickets: dict[NodeId, int] = {}
    unheard: dict[NodeId, dict[int, Wei]] = {}
    estranged: dict[NodeId, str] = {}
    losses: dict[NodeId, int] = {}
    differences: dict[NodeId, Wei] = {}


class Purse:
    """Credit and trust by orchestrator. Who does not ask to be paid ahead appears in none of this."""

    def __init__(self, rules: Rules, ledger: Ledger) -> None:
        self._rules = rules
        self._ledger = ledger
        #: Payments and tickets sent so far, those that nobody has booked yet, and whom we deal with no more.
        self._numbers: dict[NodeId, int] = {}
        self._tickets: dict[NodeId, int] = {}
        self._unheard: dict[NodeId, dict[int, Wei]] = {}
        self.estranged: dict[NodeId, str] = {}
        #: By how much our credit was lower by their books.
        self._differences: dict[NodeId, Wei] = {}
        #: How many payments were not booked in full.
        self._losses: dict[NodeId, int] = {}
        #: What the open attempts there may cost together.
        self._committed: dict[NodeId, Wei] = {}
        #: Who takes no job without credit: what it said last.
        self.prepaid: set[NodeId] = set()

    # Attempts

    def commit(self, node: NodeId, wei: Wei) -> None:
        """An attempt begins there that may cost so much."""
        self._committed[node] = Wei(self._committed.get(node, 0) + wei)

    def release(self, node: NodeId, wei: Wei) -> None:
        """It has ended."""
        self._committed[node] = Wei(self._committed.get(node, 0) - wei)

    def committed(self, node: NodeId) -> Wei:
        """What the open attempts there may cost together."""
        return self._committed.get(node, Wei(0))

    def commitments(self) -> Collection[tuple[NodeId, Wei]]:
        """The same for everybody with whom there ever was an attempt."""
        return self._committed.items()

    # Credit

    def credit(self, node: NodeId) -> Wei:
        """What we have left there, open attempts not counted; below 0 what we owe."""
        return Wei(-self._ledger.balances.get(seller(node), 0))

    def delivered(self, node: NodeId) -> Wei:
        """What it has been paid for accepted work, ever."""
        balances = self._ledger.balances
        return Wei(balances.get(tickets_to(node), 0) + balances.get(seller(node), 0) - self.lost(node))

    def lost(self, node: NodeId) -> Wei:
        """What it got and did not book, ever."""
        return Wei(-self._ledger.balances.get(lost_to(node), 0))

    def is_lossy(self, node: NodeId) -> bool:
        """Whether it has lost more tickets than it delivered work; a few payments may go wrong for anybody."""
        return self._losses.get(node, 0) > self._rules.losses_max and self.lost(node) > self.limit(node)

    def affords(self, node: NodeId, wei: Wei) -> bool:
        """Whether a job of this price may go there now."""
        if node in self.estranged:
            return False
        return node not in self.prepaid or self.credit(node) - self.committed(node) >= wei

    def limit(self, node: NodeId) -> Wei:
        """What its open jobs may cost together, one alone may cost more: what it has delivered, up to a most."""
        return Wei(min(self.delivered(node), self._rules.credit_max_wei))

    def lacks(self, node: NodeId, wanted: Wei) -> Wei:
        """What to pay now, so that a job of the wanted price can go there; 0 if nothing is to be paid.

        Beside what open jobs may cost, whoever has delivered holds up to a block of credit, filled up when
        half of it is left: so one payment covers many small jobs.
        """
        limit, committed, credit = self.limit(node), self.committed(node), self.credit(node)
        needed = Wei(committed + wanted)
        if committed and needed > limit:
            needed = Wei(0)  # let it deliver first
        block = min(self._rules.credit_block_wei, max(0, limit - committed))
        if credit >= max(needed, committed + block // 2):
            return Wei(0)
        return Wei(max(needed, committed + block) - credit)

    def unheard(self, node: NodeId) -> Wei:
        """What was sent and not yet booked there."""
        return Wei(sum(self._unheard.get(node, {}).values()))

    def next_number(self, node: NodeId) -> int:
        """The number of the next payment there."""
        return self._numbers.get(node, 0) + 1

    def sent(self, node: NodeId) -> int:
        """How many tickets it was sent, ever."""
        return self._tickets.get(node, 0)

    # What has happened

    def tendered(self, fact: Tendered) -> None:
        """Its credit is there, though it has not heard of it."""
        node = fact.orchestrator
        self._ledger.transfer(seller(node), {tickets_to(node): fact.wei})
        self._numbers[node] = fact.number
        self._tickets[node] = self.sent(node) + len(fact.payment.tickets)
        self._unheard.setdefault(node, {})[fact.number] = fact.wei

    def booked(self, fact: Booked) -> bool:
        """It has heard of a payment; False if that was known."""
        unheard = self._unheard.get(fact.orchestrator, {})
        wei = unheard.pop(fact.number, None)
        if wei is None:
            return False
        if not unheard:
            self._unheard.pop(fact.orchestrator, None)
        if fact.wei < wei:
            self._losses[fact.orchestrator] = self._losses.get(fact.orchestrator, 0) + 1
            self._ledger.transfer(
                lost_to(fact.orchestrator), {seller(fact.orchestrator): Wei(wei - fact.wei)}
            )
        return True

    def is_unheard(self, node: NodeId, number: int) -> Wei | None:
        """What a payment was worth that has not been booked there; None if it has, or was never sent."""
        return self._unheard.get(node, {}).get(number)

    def estrange(self, fact: Estranged) -> None:
        """It is dealt with no more."""
        self.estranged[fact.orchestrator] = fact.cause
        self._differences[fact.orchestrator] = fact.wei

    def forgiven(self, fact: Forgiven) -> None:
        """It is dealt with again: else by the same difference it would soon not be."""
        node = fact.orchestrator
        self.estranged.pop(node, None)
        wei = self._differences.pop(node, Wei(0))
        if wei:
            self._ledger.transfer(lost_to(node), {seller(node): wei})

    # Reconciliation

    def differs(self, node: NodeId, said: Wei, price: Wei) -> Wei:
        """By how much an orchestrator's word of our credit is too low, once the job in hand has cost its price.

        What it has not heard of does not count, nor what open attempts may cost: it may have booked their answers
        before we did. The job in hand is one of those: so in a quiet hour one job's price is forgiven, and no more.
        """
        least = self.credit(node) - price - self.unheard(node) - self.committed(node)
        return Wei(max(0, least - said))

    # The host

    def dump(self) -> PurseState:
        """Everything durable."""
        return PurseState(
            dict(self._numbers),
            dict(self._tickets),
            {node: dict(sent) for node, sent in self._unheard.items()},
            dict(self.estranged),
            dict(self._losses),
            dict(self._differences),
        )

    def load(self, state: PurseState) -> None:
        """Take a snapshot's state."""
        self._numbers = dict(state.numbers)
        self._tickets = dict(state.tickets)
        self._unheard = {node: dict(sent) for node, sent in state.unheard.items()}
        self.estranged = dict(state.estranged)
        self._losses = dict(state.losses)
        self._differences = dict(state.differences)
