"""Workers' own ledgers as the auditor folds them, and whether their orchestrators' books say the same.

What a worker counted, and what it was shown signed, never exceeds what its orchestrator booked for it;
after everything ended and an account was stated, both have one sum. Nobody honest is left. "wages" is the rule.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from shoal.ids import NodeId
from shoal.sim.evidence import UNCHECKED, Evidence, Finding, Journal
from shoal.sim.orchestrator_books import OrchestratorBooks
from shoal.wire.words import Account
from shoal.work.account import account_bytes
from shoal.worker.earnings import Counted, EarningsState, Forgiven, Found, Left, Stated


class Standing(Struct):
    """How one worker stands with one orchestrator, by its own facts."""

    jobs: int = 0
    counted: int = 0
    stated: int = 0
    paid: int = 0
    found: dict[int, int] = {}


class WorkerBooks:
    """One worker, folded."""

    def __init__(self, journal: Journal, evidence: Evidence, findings: list[Finding]) -> None:
        self.node = journal.node
        self.standings: dict[NodeId, Standing] = {}
        self._evidence = evidence
        self._findings = findings
        if journal.state is not None:
            self._take_snapshot(journal.state)
        for _, _, fact in journal.facts:
            match fact:
                case Counted():
                    self._counted(fact)
                case Stated():
                    self._stated(fact.orchestrator, fact.account)
                case Found():
                    self._found(fact)
                case Left():
                    self._find(fact.orchestrator, f"it was left, and nobody here cheats: {fact.cause}")
                case Forgiven():
                    self._find(fact.orchestrator, "it was forgiven, and nobody asked for that")

    def _find(self, orchestrator: str, text: str) -> None:
        self._findings.append(Finding("wages", f"{self.node} {orchestrator}", text))

    def _standing(self, orchestrator: NodeId) -> Standing:
        return self.standings.setdefault(orchestrator, Standing())

    def _take_snapshot(self, state: Struct) -> None:
        assert isinstance(state, EarningsState)
        for node, record in state.records.items():
            found = dict.fromkeys(record.found, 0)
            standing = Standing(
                record.jobs, record.counted_wei, record.stated_wei, record.announced_wei, found
            )
            self.standings[node] = standing

    def _counted(self, fact: Counted) -> None:
        standing, earned = self._standing(fact.orchestrator), int.from_bytes(fact.earned)
        if fact.jobs < standing.jobs or earned < standing.counted:
            self._find(fact.orchestrator, f"{earned} wei of {fact.jobs} jobs were counted after {standing}")
        standing.jobs, standing.counted = fact.jobs, earned

    def _stated(self, orchestrator: NodeId, account: Account) -> None:
        standing = self._standing(orchestrator)
        earned, paid = int.from_bytes(account.earned), int.from_bytes(account.paid)
        if earned < standing.stated or paid < standing.paid or paid > earned:
            self._find(orchestrator, f"an account of {earned} wei, {paid} paid, was taken after {standing}")
        if self._evidence.verify is None:
            self._findings.append(Finding(UNCHECKED, self.node, "who signed the accounts"))
        elif not self._evidence.verify(
            orchestrator, account_bytes(orchestrator, self.node, account), account.signature
        ):
            self._find(orchestrator, "an account was taken that it did not sign")
        standing.stated, standing.paid = earned, paid

    def _found(self, fact: Found) -> None:
        standing = self._standing(fact.orchestrator)
        if fact.number in standing.found:
            self._find(fact.orchestrator, f"payment {fact.number} was found twice")
        standing.found[fact.number] = int.from_bytes(fact.wei)


def compare_wages(
    workers: Mapping[str, WorkerBooks],
    orchestrators: Mapping[str, OrchestratorBooks],
    findings: list[Finding],
) -> None:
    """Each worker's sums beside its orchestrator's: all that it earned there, and all that it was paid."""
    for name, worker in workers.items():
        for node, standing in worker.standings.items():
            where = f"{name} {node}"
            books = orchestrators.get(node)
            if books is None:
                findings.append(Finding(UNCHECKED, where, "there is no journal of this orchestrator"))
                continue
            earned, paid = books.earned.get(name, 0), books.wages_paid.get(name, 0)
            if standing.counted > earned:
                text = f"{standing.counted} wei were counted, and {earned} booked"
                findings.append(Finding("wages", where, text))
            if standing.stated > earned:
                text = f"{standing.stated} wei were stated, and {earned} booked"
                findings.append(Finding("wages", where, text))
            if standing.paid > paid:
                text = f"{standing.paid} wei were announced, and {paid} paid"
                findings.append(Finding("wages", where, text))
