"""A gateway's facts as the auditor folds them: every job, every hold, every wei, added up anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from shoal.gateway.books import State
from shoal.gateway.purse import Booked, Estranged, Forgiven, Tendered
from shoal.machine import Fact, Quarantined
from shoal.money.wei import Wei
from shoal.sim.credit import PaidAhead, Stake, Tender
from shoal.sim.evidence import UNCHECKED, Evidence, Finding, Journal, amounts
from shoal.sim.job_entries import OPEN, JobEntry, Paid, Running
from shoal.wire.words import Fault
from shoal.work.lifecycle import (
    Abandoned,
    Accepted,
    Acknowledged,
    Answered,
    Bound,
    Fallen,
    Hedged,
    Job,
    Placed,
    Returned,
    Withdrawn,
)
from shoal.work.seal import signed_bytes

NO_FAULT = Fault("", "")


class GatewayBooks:
    """One gateway, folded."""

    def __init__(self, journal: Journal, evidence: Evidence, findings: list[Finding]) -> None:
        self.node = journal.node
        self.jobs: dict[str, JobEntry] = {}
        self.holds: dict[str, int] = {}
        self.balances: dict[str, int] = {}
        self.paid: dict[tuple[str, int], Paid] = {}
        #: Attempts that broke off, and were paid for as far as they had come.
        self.spilt: set[tuple[str, int]] = set()
        #: Attempts of which something was acknowledged, and nothing was paid: who had them.
        self.unpaid: dict[tuple[str, int], str] = {}
        self.ahead = PaidAhead()
        #: What each orchestrator was paid for accepted work.
        self._delivered: dict[str, int] = {}
        self._issued: dict[bytes, int] = {}
        #: By how much those we parted with said that our credit was lower.
        self._differences: dict[str, int] = {}
        #: True if the facts begin at the first: then what is not here never was.
        self.whole = True
        self._keys: dict[tuple[str, str], tuple[str, int]] = {}
        self._evidence = evidence
        self._findings = findings
        self._state(journal)
        self._fold(journal)
        self._close(journal)

    def _find(self, rule: str, job: str, text: str) -> None:
        self._findings.append(Finding(rule, f"{self.node} {job}".strip(), text))

    # Reading

    def _state(self, journal: Journal) -> None:
        """Begin where a snapshot ends."""
        if journal.state is None:
            return
        assert isinstance(journal.state, State)
        self.whole = False
        self._find(UNCHECKED, "", "the journal begins with a snapshot: what was before is taken on trust")
        self.balances = amounts(journal.state.book.balances)
        self.holds = {name: int(wei) for name, (_, wei) in journal.state.book.holds.items()}
        for job in journal.state.jobs:
            entry = self.jobs[job.id] = JobEntry(
                job.client,
                job.spec.pipeline,
                job.spec.model,
                job.spec.units_max,
                job.request,
                job.limit.wei,
                job.limit.per_units,
                job.hold,
                job.key,
                job.accepted_at,
                job.phase.value,
                job.epoch,
                job.orchestrator,
                job.price.wei,
                job.price.per_units,
                issued=len(job.attempts),
                units=job.units,
                wei=job.wei,
                fee=job.fee,
                answer=job.answer,
            )
            if job.hedge:
                second = job.attempt(job.hedge)
                price = second.price
                entry.hedge = Running(job.hedge, second.orchestrator, price.wei, price.per_units)
            self._take_spilt(job)
            if job.key:
                self._keys[job.client, job.key] = (job.id, job.accepted_at)
            entry.acknowledged = entry.acknowledged_max = job.acknowledged
            if job.wei:
                self._pay(job.id, entry, job.units, job.wei, job.receipt.worker if job.receipt else "")

    def _take_spilt(self, job: Job) -> None:
        """The attempts of a job that broke off, and were paid for as far as they had come."""
        for attempt in job.attempts:
            if attempt.wei and not (attempt.epoch == job.epoch and job.wei):
                price, name = attempt.price, (job.id, attempt.epoch)
                self.spilt.add(name)
                self.paid[name] = Paid(
                    attempt.orchestrator,
                    attempt.wei,
                    attempt.units,
                    price.wei,
                    price.per_units,
                    job.request,
                    "",
                )

    def _fold(self, journal: Journal) -> None:
        expected = 0
        for number, at, fact in journal.facts:
            if expected and number != expected:
                self._find("I1", "", f"fact {number} follows fact {expected - 1}")
            elif not expected and number != 1 and journal.state is None:
                self.whole = False
                self._find(UNCHECKED, "", f"the journal begins at fact {number}, without a snapshot")
            expected = number + 1
            fold = self._FOLDS.get(type(fact))
            if fold is not None:
                fold(self, fact, at)

    def _entry(self, job: str, epoch: int, phases: tuple[str, ...], fact: Fact) -> JobEntry | None:
        entry = self.jobs.get(job)
        what = type(fact).__name__
        if entry is None:
            if self.whole:
                self._find("I1", job, f"{what} of a job that was never accepted")
            else:
                self._find(UNCHECKED, "", "some facts are of jobs from before the journal begins")
            return None
        if entry.phase not in phases:
            rule = "I2" if isinstance(fact, Answered) else "I1"
            self._find(rule, job, f"{what} while it is {entry.phase}")
        second = entry.hedge.epoch if entry.hedge is not None else entry.epoch
        if epoch >= 0 and epoch not in (entry.epoch, second):
            self._find("I2", job, f"{what} under epoch {epoch}, and {entry.epoch} is the live one")
        return entry

    def _accepted(self, fact: Accepted, at: int) -> None:
        if fact.job in self.jobs:
            self._find("I1", fact.job, "accepted twice")
        self.jobs[fact.job] = JobEntry(
            fact.client,
            fact.spec.pipeline,
            fact.spec.model,
            fact.spec.units_max,
            fact.request,
            fact.limit.wei,
            fact.limit.per_units,
            fact.hold,
            fact.key,
            at,
        )
        self.holds[fact.job] = fact.hold
        if fact.key:
            job, since = self._keys.get((fact.client, fact.key), ("", 0))
            if job and at < since + self._evidence.key_window_ms:
                self._find("I6", fact.job, f"key {fact.key!r} of {fact.client} made job {job} before")
            self._keys[fact.client, fact.key] = (fact.job, at)
        if fact.placed is not None:
            self._placed(fact.placed, at)

    def _placed(self, fact: Placed, at: int) -> None:
        entry = self._entry(fact.job, -1, ("queued",), fact)
        if entry is not None:
            entry.phase, entry.acknowledged = "running", 0
            entry.stand_by(self._begun(entry, fact))

    def _hedged(self, fact: Hedged, at: int) -> None:
        entry = self._entry(fact.job, -1, ("running",), fact)
        if entry is None:
            return
        if entry.hedge is not None:
            self._find("I2", fact.job, f"attempt {fact.epoch} beside {entry.epoch} and {entry.hedge.epoch}")
        entry.hedge = self._begun(entry, fact)

    def _begun(self, entry: JobEntry, fact: Bound) -> Running:
        if fact.epoch != entry.issued + 1:
            self._find("I2", fact.job, f"epoch {fact.epoch} follows epoch {entry.issued}")
        if fact.price.wei * entry.limit_units > entry.limit_wei * fact.price.per_units:
            self._find("I2", fact.job, "placed at more than the client's limit")
        entry.issued = fact.epoch
        return Running(fact.epoch, fact.orchestrator, fact.price.wei, fact.price.per_units)

    def _fallen(self, fact: Fallen, at: int) -> None:
        entry = self._entry(fact.job, fact.epoch, ("running",), fact)
        if entry is None:
            return
        if entry.hedge is None:
            self._find("I2", fact.job, f"attempt {fact.epoch} fell, and no other runs")
        elif fact.epoch == entry.epoch:
            entry.stand_by(entry.hedge)
        entry.hedge = None

    def _acknowledged(self, fact: Acknowledged, at: int) -> None:
        entry = self._entry(fact.job, fact.epoch, ("running",), fact)
        if entry is None:
            return
        if fact.units <= entry.acknowledged:
            self._find("I2", fact.job, f"{fact.units} units acknowledged after {entry.acknowledged}")
        entry.acknowledged = fact.units
        entry.acknowledged_max = max(entry.acknowledged_max, fact.units)

    def _returned(self, fact: Returned, at: int) -> None:
        entry = self._entry(fact.job, fact.epoch, ("running",), fact)
        if entry is None:
            return
        entry.phase = "queued"
        if entry.hedge is not None:
            self._find("I2", fact.job, f"it waits, and attempt {entry.hedge.epoch} runs")
        if fact.units not in (0, entry.owed):
            self._find("I2", fact.job, f"{fact.units} units paid, and {entry.owed} were acknowledged")
        if fact.wei != entry.cost(fact.units):
            self._find("I2", fact.job, f"{fact.wei} wei for {fact.units} units, not {entry.cost(fact.units)}")
        if fact.wei:
            self._add("spilt", -fact.wei)
            self._add(f"orchestrator:{entry.orchestrator}", fact.wei)
            self._deliver(entry.orchestrator, fact.wei)
            self.spilt.add((fact.job, fact.epoch))
            self._pay(fact.job, entry, fact.units, fact.wei, "")
        elif entry.cost(entry.owed):
            self.unpaid[fact.job, fact.epoch] = entry.orchestrator

    def _answered(self, fact: Answered, at: int) -> None:
        entry = self._entry(fact.job, fact.epoch, ("running",), fact)
        if entry is not None:
            if entry.hedge is not None and fact.epoch == entry.hedge.epoch:
                entry.stand_by(entry.hedge)
            self._end(fact.job, entry, "done", fact)
            entry.answer = fact.answer
            self._judge_receipt(fact, entry)
            self._pay(fact.job, entry, entry.units, entry.wei, fact.receipt.worker)

    def _withdrawn(self, fact: Withdrawn, at: int) -> None:
        entry = self._entry(fact.job, fact.epoch, OPEN, fact)
        if entry is None:
            return
        self._end_unanswered(fact.job, entry, "cancelled", fact)

    def _end_unanswered(self, job: str, entry: JobEntry, phase: str, fact: Withdrawn | Abandoned) -> None:
        """What was acknowledged is paid, however an attempt ends that its orchestrator did not give up."""
        running = entry.phase == "running"
        if fact.wei and not running:
            self._find("I2", job, f"{fact.wei} wei for a job that did not run")
        if running and fact.units < entry.owed:
            self._find("I2", job, f"{phase} with {fact.units} units, and {entry.owed} were acknowledged")
        self._end(job, entry, phase, fact)
        if fact.wei:
            self._pay(job, entry, entry.units, entry.wei, "")

    def _abandoned(self, fact: Abandoned | Quarantined, at: int) -> None:
        if isinstance(fact, Quarantined):
            self._find("bug", fact.job, f"set aside: {fact.cause}")
            if fact.job not in self.jobs or self.jobs[fact.job].phase not in OPEN:
                return
        entry = self._entry(fact.job, -1, OPEN, fact)
        if entry is None:
            return
        if isinstance(fact, Quarantined):
            owed = entry.owed if entry.phase == "running" else 0
            fact = Abandoned(fact.job, NO_FAULT, owed, Wei(entry.cost(owed)))
        self._end_unanswered(fact.job, entry, "failed", fact)

    # Money

    def _end(self, job: str, entry: JobEntry, phase: str, fact: Answered | Withdrawn | Abandoned) -> None:
        """A job's one end: its hold is used once, and what it costs is what its units cost."""
        entry.phase, entry.hedge = phase, None
        hold = self.holds.pop(job, None)
        if hold is None:
            self._find("I3", job, f"{phase}, and its hold is not open")
        entry.units, entry.wei, entry.fee = fact.units, fact.wei, fact.fee
        cost = entry.cost(fact.units)
        if fact.wei != cost:
            self._find("I2", job, f"{fact.wei} wei for {fact.units} units that cost {cost}")
        if not 0 <= fact.units <= entry.units_max:
            self._find("I2", job, f"{fact.units} units, and at most {entry.units_max} were agreed")
        if fact.fee < 0 or fact.wei + fact.fee > entry.hold:
            self._find("I3", job, f"{fact.wei} + {fact.fee} wei from a hold of {entry.hold}")
        self._add(f"client:{entry.client}", -fact.wei - fact.fee)
        self._add(f"orchestrator:{entry.orchestrator}", fact.wei)
        self._deliver(entry.orchestrator, fact.wei)
        self._add("fees", fact.fee)

    # Money ahead

    def _deliver(self, orchestrator: str, wei: int) -> None:
        self._delivered[orchestrator] = self._delivered.get(orchestrator, 0) + wei

    def _tendered(self, fact: Tendered, at: int) -> None:
        node, issued, ahead = fact.orchestrator, fact.issued, self.ahead
        where = f"{node} payment {fact.number}"
        if (node, fact.number) in ahead.tenders:
            self._find("I4", where, "sent twice")
        nonces = tuple(ticket.nonce for ticket in fact.payment.tickets)
        if nonces != tuple(range(issued.first, issued.first + issued.count)):
            self._find(
                "I4", where, f"nonces {nonces}, and {issued.count} from {issued.first} on were used up"
            )
        if issued.first != self._issued.get(issued.recipient_rand_hash, 1) and self.whole:
            self._find("I4", where, f"nonces from {issued.first} on are used again, or some were left out")
        self._issued[issued.recipient_rand_hash] = issued.first + issued.count
        params = fact.payment.params
        if fact.wei != params.ev_wei * len(nonces) or params.recipient != node:
            self._find("credit", where, f"{fact.wei} wei for {len(nonces)} tickets of {params.ev_wei} wei")
        ahead.tenders[node, fact.number] = Tender(
            fact.payment.sender, params.recipient_rand_hash, nonces, params.ev_wei, fact.wei
        )
        ahead.sent[node] = ahead.sent.get(node, 0) + fact.wei
        self._add(f"orchestrator:{node}", -fact.wei)
        self._add(f"tickets:{node}", fact.wei)
        delivered = self._delivered.get(node, 0)
        credit = ahead.sent[node] - ahead.lost.get(node, 0) - delivered
        ahead.stakes.append(Stake(node, fact.number, credit, delivered, params.ev_wei))
        if node in ahead.estranged:
            self._find("exposure", where, f"it is paid, and it was parted with: {ahead.estranged[node]}")

    def _booked(self, fact: Booked, at: int) -> None:
        node, ahead = fact.orchestrator, self.ahead
        where = f"{node} payment {fact.number}"
        tender = ahead.tenders.get((node, fact.number))
        if tender is None or tender.booked is not None:
            self._find("credit" if self.whole else UNCHECKED, where, "booked twice, or never sent")
            return
        tender.booked = fact.wei
        if not 0 <= fact.wei <= tender.wei:
            self._find("credit", where, f"{fact.wei} wei booked of {tender.wei}")
        lost = tender.wei - fact.wei
        ahead.lost[node] = ahead.lost.get(node, 0) + lost
        self._add(f"lost:{node}", -lost)
        self._add(f"orchestrator:{node}", lost)

    def _estranged(self, fact: Estranged, at: int) -> None:
        self.ahead.estranged[fact.orchestrator] = fact.cause
        self._differences[fact.orchestrator] = fact.wei

    def _forgiven(self, fact: Forgiven, at: int) -> None:
        node = fact.orchestrator
        self.ahead.estranged.pop(node, None)
        wei = self._differences.pop(node, 0)
        self._add(f"lost:{node}", -wei)
        self._add(f"orchestrator:{node}", wei)

    def one_job(self, orchestrator: str, prices: dict[tuple[str, str], tuple[int, int]]) -> int:
        """The most that one of its jobs may cost at an orchestrator, by what was ever asked there."""
        most = 0
        for job in self.jobs.values():
            price = prices.get(
                (orchestrator, f"{job.pipeline}/{job.model}"), (job.limit_wei, job.limit_units)
            )
            most = max(most, -(-job.units_max * price[0] // price[1]))
        return most

    def _add(self, account: str, wei: int) -> None:
        self.balances[account] = self.balances.get(account, 0) + wei

    def _pay(self, job: str, entry: JobEntry, units: int, wei: int, worker: str) -> None:
        if (job, entry.epoch) in self.paid:
            self._find("I2", job, f"attempt {entry.epoch} is paid twice")
        self.paid[job, entry.epoch] = Paid(
            entry.orchestrator,
            wei,
            units,
            entry.price_wei,
            entry.price_units,
            entry.request,
            worker,
        )

    def _judge_receipt(self, fact: Answered, entry: JobEntry) -> None:
        receipt = fact.receipt
        says = (receipt.job, receipt.epoch, receipt.orchestrator, receipt.units, receipt.wei)
        if says != (fact.job, fact.epoch, entry.orchestrator, fact.units, fact.wei):
            self._find("I2", fact.job, f"the receipt is for something else: {says}")
        if (receipt.pipeline, receipt.model) != (entry.pipeline, entry.model):
            self._find("I2", fact.job, f"the receipt is for {receipt.pipeline} {receipt.model}")
        if (receipt.request, receipt.answer) != (entry.request, fact.answer):
            self._find("I2", fact.job, "the receipt is for another request or answer")
        verify = self._evidence.verify
        if verify is None:
            self._find(UNCHECKED, "", "the receipts' signatures")
        elif not verify(receipt.orchestrator, signed_bytes(receipt), receipt.signature):
            self._find("I2", fact.job, f"{receipt.orchestrator} did not sign the receipt")

    def _close(self, journal: Journal) -> None:
        if sum(self.balances.values()):
            self._find("I3", "", f"the balances sum to {sum(self.balances.values())}")
        if self._evidence.drained:
            for job in self.holds:
                self._find("I3", job, "its hold is open after everything ended")
            for job, entry in self.jobs.items():
                if entry.phase in OPEN:
                    self._find("I1", job, f"it is {entry.phase} after everything ended")
        if journal.closing is not None:
            assert isinstance(journal.closing, State)
            self._compare(journal.closing)

    def _compare(self, state: State) -> None:
        """The machine's own state, against what the facts say."""
        if {name: int(wei) for name, (_, wei) in state.book.holds.items()} != self.holds:
            self._find("I3", "", "the machine's holds are not what the facts say")
        if amounts(state.book.balances) != amounts(self.balances):
            self._find("I3", "", "the machine's balances are not what the facts say")
        for kept in state.jobs:
            known = self.jobs.get(kept.id)
            if known is None or known.phase != kept.phase.value:
                self._find("I1", kept.id, f"the machine says {kept.phase.value}, and the facts do not")

    _FOLDS: ClassVar[dict[type[Fact], Callable[..., None]]] = {
        Accepted: _accepted,
        Placed: _placed,
        Hedged: _hedged,
        Fallen: _fallen,
        Acknowledged: _acknowledged,
        Returned: _returned,
        Answered: _answered,
        Withdrawn: _withdrawn,
        Abandoned: _abandoned,
        Quarantined: _abandoned,
        Tendered: _tendered,
        Booked: _booked,
        Estranged: _estranged,
        Forgiven: _forgiven,
    }
