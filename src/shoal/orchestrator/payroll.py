"""The payroll: where each worker is paid, since when it is owed, and what it has been paid so far.

What a worker is owed stands in the ledger, under `wages(worker)`; a batch that is
under way has its money in `PAYING`, and it ends on chain or comes back.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Broken
from shoal.ids import NodeId
from shoal.machine import Fact
from shoal.money.ledger import Ledger
from shoal.money.ticket import Hash, Uint256, uint256
from shoal.money.wei import Wei
from shoal.units import Instant
from shoal.wire.words import Remittance

#: Where the money of a batch is until the chain has it, and where it is then.
PAYING, CHAIN = "paying", "chain"
#: So many of a worker's payments are remembered.
REMITTANCES_MAX = 16


def wages(worker: NodeId) -> str:
    """A worker's account in the ledger: what it is owed and not being paid."""
    return f"worker:{worker}"


class Due(Struct, frozen=True, array_like=True):
    """What one worker gets in a batch, and where."""

    worker: NodeId
    payout: NodeId
    wei: Uint256

    @property
    def whole_wei(self) -> Wei:
        """The amount as a number."""
        return Wei(int.from_bytes(self.wei))


class PayoutPlanned(Fact, frozen=True):
    """These workers are to be paid by this redeemer, all at once. A number is used once."""

    number: int
    batch: Hash
    redeemer: NodeId
    dues: tuple[Due, ...]


class PayoutEnded(Fact, frozen=True):
    """The chain has the batch, by this transaction; or, without one, it never will, and everything is owed again."""

    number: int
    transaction: str
    why: str = ""


class Wage(Struct, frozen=True, array_like=True):
    """One worker as it is paid."""

    payout: NodeId
    #: When the first of what it is owed now was earned.
    since: Instant
    paid: Uint256 = uint256(0)
    remittances: tuple[Remittance, ...] = ()

    @property
    def paid_wei(self) -> Wei:
        """All that it ever got, on chain."""
        return Wei(int.from_bytes(self.paid))


class PayrollState(Struct, frozen=True):
    """What a snapshot holds."""

    number: int = 0
    under_way: PayoutPlanned | None = None
    wages: dict[NodeId, Wage] = {}


class Payroll:
    """Everybody who has earned something here."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.number = 0
        self.under_way: PayoutPlanned | None = None
        self.wages: dict[NodeId, Wage] = {}
        #: Who has earned something and not been told of it since.
        self.unstated: set[NodeId] = set()
        #: False if nobody was owed anything when that was last looked at.
        self.owing = True

    def owed(self, worker: NodeId) -> Wei:
        """What a worker is owed, what is under way left out."""
        return Wei(self._ledger.balances.get(wages(worker), 0))

    def earned(self, worker: NodeId) -> Wei:
        """All that a worker has ever earned here."""
        return Wei(self.owed(worker) + self._under_way(worker) + self.paid(worker))

    def paid(self, worker: NodeId) -> Wei:
        """All that a worker was ever paid, on chain."""
        wage = self.wages.get(worker)
        return wage.paid_wei if wage is not None else Wei(0)

    def _under_way(self, worker: NodeId) -> int:
        if self.under_way is None:
            return 0
        return sum(due.whole_wei for due in self.under_way.dues if due.worker == worker)

    # What has happened

    def credit(self, worker: NodeId, payout: NodeId, now: Instant) -> None:
        """A worker has earned something, to be paid there."""
        wage = self.wages.get(worker)
        if wage is None:
            self.wages[worker] = Wage(payout, now)
        elif wage.payout != payout:
            self.wages[worker] = replace(wage, payout=payout)
        self.unstated.add(worker)
        self.owing = True

    def plan(self, fact: PayoutPlanned, now: Instant) -> None:
        """The money of a batch is set apart."""
        if self.under_way is not None or fact.number <= self.number:
            raise Broken(f"batch {fact.number} is planned, and {self.number} was the last")
        if any(due.whole_wei > self.owed(due.worker) for due in fact.dues):
            raise Broken(f"batch {fact.number} pays more than is owed")
        for due in fact.dues:
            self._ledger.transfer(wages(due.worker), {PAYING: due.whole_wei})
            self.wages[due.worker] = replace(self.wages[due.worker], since=now)
        self.number, self.under_way = fact.number, fact

    def end(self, fact: PayoutEnded) -> PayoutPlanned:
        """A batch has ended; what it was."""
        plan = self.under_way
        if plan is None or plan.number != fact.number:
            raise Broken(f"batch {fact.number} has ended, and it is not under way")
        self.under_way = None
        for due in plan.dues:
            if not fact.transaction:
                self._ledger.transfer(PAYING, {wages(due.worker): due.whole_wei})
                continue
            self._ledger.transfer(PAYING, {CHAIN: due.whole_wei})
            wage = self.wages[due.worker]
            remittance = Remittance(fact.number, due.wei, fact.transaction)
            self.wages[due.worker] = replace(
                wage,
                paid=uint256(wage.paid_wei + due.whole_wei),
                remittances=(*wage.remittances, remittance)[-REMITTANCES_MAX:],
            )
        return plan

    # The host

    def check(self) -> None:
        """Raise `Broken` unless the money under way is that of the batch under way."""
        planned = sum(due.whole_wei for due in self.under_way.dues) if self.under_way is not None else 0
        if self._ledger.balances.get(PAYING, 0) != planned:
            raise Broken(
                f"{self._ledger.balances.get(PAYING, 0)} wei are under way, and {planned} are planned"
            )

    def dump(self) -> PayrollState:
        """Everything durable."""
        return PayrollState(self.number, self.under_way, dict(self.wages))

    def load(self, state: PayrollState) -> None:
        """Take a snapshot's state."""
        self.number, self.under_way, self.wages = state.number, state.under_way, dict(state.wages)
