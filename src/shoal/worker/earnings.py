"""What each orchestrator has earned this worker, has paid it, and owes: the worker's own ledger.

Every sum is a total since the beginning, so what is lost on the way is made good
by the next word. A worker counts what it can prove itself (`counted`), and keeps
what each orchestrator has signed (`account`); of the two the larger is owed.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from shoal.ids import NodeId
from shoal.machine import Fact
from shoal.money.ticket import Hash, Uint256, uint256
from shoal.money.wei import Wei
from shoal.wire.words import Account

#: Payments whose transactions are remembered as found, a few more than an account names.
FOUND_MAX = 32


class Counted(Fact, frozen=True):
    """So much was settled with us, by our own count; so much we answered that nobody paid."""

    orchestrator: NodeId
    jobs: int
    earned: Uint256
    unpaid: Uint256


class Stated(Fact, frozen=True):
    """An orchestrator has signed how our account stands there."""

    orchestrator: NodeId
    account: Account
    #: Whether a payment counts only once we see it on chain.
    on_chain: bool = False


class Found(Fact, frozen=True):
    """The chain shows a payment of this orchestrator's, deep enough."""

    orchestrator: NodeId
    number: int
    wei: Uint256


class Left(Fact, frozen=True):
    """We work for this orchestrator no more, until somebody says otherwise."""

    orchestrator: NodeId
    cause: str


class Forgiven(Fact, frozen=True):
    """We work for it again. Its books count as right, and what it owes is not held against it."""

    orchestrator: NodeId


class Record(Struct, frozen=True, array_like=True):
    """What is known of one orchestrator, on disk."""

    jobs: int = 0
    counted: Uint256 = uint256(0)
    unpaid: Uint256 = uint256(0)
    account: Account | None = None
    on_chain: bool = False
    #: Payments that the chain shows: their numbers, the latest last, and their sum.
    found: tuple[int, ...] = ()
    found_sum: Uint256 = uint256(0)
    #: What was owed up to here is not held against it.
    forgiven: Uint256 = uint256(0)
    left: str = ""

    @property
    def counted_wei(self) -> Wei:
        """What we have counted ourselves."""
        return _wei(self.counted)

    @property
    def unpaid_wei(self) -> Wei:
        """What our answers would have brought that were not accepted."""
        return _wei(self.unpaid)

    @property
    def stated_wei(self) -> Wei:
        """What the orchestrator has signed that we earned."""
        return _wei(self.account.earned) if self.account is not None else Wei(0)

    @property
    def announced_wei(self) -> Wei:
        """What it has signed that it paid."""
        return _wei(self.account.paid) if self.account is not None else Wei(0)

    @property
    def found_wei(self) -> Wei:
        """What of that the chain has shown us."""
        return _wei(self.found_sum)

    @property
    def forgiven_wei(self) -> Wei:
        """Up to where nothing is held against it."""
        return _wei(self.forgiven)


class EarningsState(Struct, frozen=True):
    """What a snapshot holds."""

    records: dict[NodeId, Record] = {}


class Tally(Struct, gc=False):
    """What was counted since it was last written down."""

    jobs: int = 0
    wei: int = 0
    unpaid: int = 0


NEW = Record()


class Earnings:
    """One record an orchestrator, and what is not on disk yet."""

    def __init__(self) -> None:
        self.records: dict[NodeId, Record] = {}
        #: What came in since the last `Counted`: all that a crash can lose, and the next account makes good.
        self.tallies: dict[NodeId, Tally] = {}

    def record(self, node: NodeId) -> Record:
        """What is known of an orchestrator."""
        return self.records.get(node, NEW)

    def tally(self, node: NodeId) -> Tally:
        """Where to count."""
        tally = self.tallies.get(node)
        if tally is None:
            tally = self.tallies[node] = Tally()
        return tally

    def counted(self, node: NodeId) -> Wei:
        """What we have counted ourselves, the latest included."""
        tally = self.tallies.get(node)
        return Wei(self.record(node).counted_wei + (tally.wei if tally is not None else 0))

    def unpaid(self, node: NodeId) -> Wei:
        """What our answers would have brought that were not accepted, the latest included."""
        tally = self.tallies.get(node)
        return Wei(self.record(node).unpaid_wei + (tally.unpaid if tally is not None else 0))

    def earned(self, node: NodeId) -> Wei:
        """What we have earned there: by our count or by its word, whichever is more."""
        return Wei(max(self.counted(node), self.record(node).stated_wei))

    def paid(self, node: NodeId, *, on_chain: bool) -> Wei:
        """What we were paid: by the chain, or by its word where we see no chain."""
        record = self.record(node)
        return record.found_wei if on_chain else record.announced_wei

    def owed(self, node: NodeId, *, on_chain: bool) -> Wei:
        """What it owes, what was forgiven left out; below 0 if it has paid ahead."""
        settled = max(self.paid(node, on_chain=on_chain), self.record(node).forgiven_wei)
        return Wei(self.earned(node) - settled)

    def count(self, node: NodeId) -> Counted:
        """The fact that writes down what was counted."""
        record, tally = self.record(node), self.tallies[node]
        return Counted(
            node,
            record.jobs + tally.jobs,
            uint256(record.counted_wei + tally.wei),
            uint256(record.unpaid_wei + tally.unpaid),
        )

    # What has happened

    def take_counted(self, fact: Counted) -> None:
        """The count is on its way to the disk."""
        self.tallies.pop(fact.orchestrator, None)
        self._change(fact.orchestrator, jobs=fact.jobs, counted=fact.earned, unpaid=fact.unpaid)

    def take_stated(self, fact: Stated) -> None:
        """An account was signed."""
        self._change(fact.orchestrator, account=fact.account, on_chain=fact.on_chain)

    def take_found(self, fact: Found) -> None:
        """A payment was found on chain."""
        record = self.record(fact.orchestrator)
        found = (*record.found, fact.number)[-FOUND_MAX:]
        wei = uint256(record.found_wei + _wei(fact.wei))
        self._change(fact.orchestrator, found=found, found_sum=wei)

    def take_left(self, fact: Left) -> None:
        """We have left."""
        self._change(fact.orchestrator, left=fact.cause)

    def take_forgiven(self, fact: Forgiven) -> None:
        """We are back, and begin with clean hands: its word of the past is ours now."""
        record = self.record(fact.orchestrator)
        earned = max(record.counted_wei, record.stated_wei)
        self._change(
            fact.orchestrator,
            left="",
            counted=uint256(record.stated_wei if record.account is not None else record.counted_wei),
            unpaid=uint256(0),
            forgiven=uint256(earned),
        )

    def _change(self, node: NodeId, **changes: object) -> None:
        self.records[node] = replace(self.record(node), **changes)

    # The host

    def dump(self) -> EarningsState:
        """Everything durable."""
        return EarningsState(dict(self.records))

    def load(self, state: EarningsState) -> None:
        """Take a snapshot's state."""
        self.records = dict(state.records)


def _wei(amount: Uint256 | Hash) -> Wei:
    return Wei(int.from_bytes(amount))
