"""An orchestrator's facts as the auditor folds them: every attempt, every slot, every share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from msgspec import Struct

from shoal.errors import Cancelled, Expired
from shoal.machine import Fact, Quarantined
from shoal.money.payee import WinnerSettled
from shoal.orchestrator.books import State
from shoal.orchestrator.payroll import CHAIN, PAYING, PayoutEnded, PayoutPlanned, PayrollState
from shoal.orchestrator.till import TICKETS, Paid
from shoal.sim.credit import Booking
from shoal.sim.evidence import UNCHECKED, Evidence, Finding, Journal, amounts
from shoal.work.task import Acknowledged, Earned, Leased, Released

MILLION = 1_000_000
#: Why an attempt may end that is not its seller's fault: then what was acknowledged is paid.
NOBODYS = (Cancelled.code, Expired.code)


class TaskEntry(Struct):
    """An attempt as the facts tell it."""

    gateway: str
    worker: str
    pipeline: str
    model: str
    units_max: int
    request: str
    price_wei: int
    price_units: int
    share_ppm: int
    phase: str = "leased"
    units: int = 0
    wei: int = 0
    share: int = 0
    acknowledged: int = 0
    #: It is earned, and its gateway has yet to say a word.
    unsaid: bool = False

    @property
    def owed(self) -> int:
        """The units that are paid unless this orchestrator gives the attempt up."""
        return min(self.acknowledged, self.units_max)


class OrchestratorBooks:
    """One orchestrator, folded."""

    def __init__(self, journal: Journal, evidence: Evidence, findings: list[Finding]) -> None:
        self.node = journal.node
        self.tasks: dict[tuple[str, int], TaskEntry] = {}
        self.holds: dict[tuple[str, int], int] = {}
        self.balances: dict[str, int] = {}
        #: What was paid ahead, by gateway and number.
        self.bookings: dict[tuple[str, int], Booking] = {}
        #: Winners that are pending no more; batches, and by which transaction each was paid ("" for none).
        self.settled: set[bytes] = set()
        self.payouts: dict[int, PayoutPlanned] = {}
        self.paid_out: dict[int, str] = {}
        #: What each worker has earned, and been paid, ever.
        self.earned: dict[str, int] = {}
        self.wages_paid: dict[str, int] = {}
        #: True if the facts begin at the first: then what is not here never was.
        self.whole = True
        self._live: dict[tuple[str, str, str], int] = {}
        #: True if the balances are known from the beginning on.
        self._grounded = True
        self._evidence = evidence
        self._findings = findings
        if evidence.slots is None:
            self._find(UNCHECKED, "", "how many slots each worker has")
        self._state(journal)
        self._fold(journal)
        self._close(journal)

    def _find(self, rule: str, task: str, text: str) -> None:
        self._findings.append(Finding(rule, f"{self.node} {task}".strip(), text))

    def batches(self) -> list[tuple[bytes, dict[str, int], str | None]]:
        """Every batch: what it pays where, and by which transaction it was paid; None while that is not known."""
        found = []
        for number, plan in self.payouts.items():
            dues: dict[str, int] = {}
            for due in plan.dues:
                dues[due.payout] = dues.get(due.payout, 0) + due.whole_wei
            found.append((plan.batch, dues, self.paid_out.get(number)))
        return found

    # Reading

    def _state(self, journal: Journal) -> None:
        if journal.state is None:
            return
        assert isinstance(journal.state, State)
        self.whole = False
        self._find(UNCHECKED, "", "the journal begins with a snapshot: what was before is taken on trust")
        self.balances = amounts(journal.state.book.balances)
        self._take_payroll(journal.state.payroll)
        for task in journal.state.tasks:
            self._take_lease(task.lease)
            entry = self.tasks[task.lease.job, task.lease.epoch]
            if task.phase.value != "leased":
                self._free(task.lease.job, task.lease.epoch, entry)
            entry.phase, entry.units, entry.wei = task.phase.value, task.units, task.wei
            entry.share, entry.acknowledged = task.share, task.acknowledged
            entry.unsaid = task.fault is not None

    def _take_payroll(self, payroll: PayrollState) -> None:
        for worker, wage in payroll.wages.items():
            self.wages_paid[worker] = wage.paid_wei
            self.earned[worker] = wage.paid_wei + self.balances.get(f"worker:{worker}", 0)
        if (plan := payroll.under_way) is not None:
            self.payouts[plan.number] = plan
            for due in plan.dues:
                self.earned[due.worker] += due.whole_wei

    def _fold(self, journal: Journal) -> None:
        expected = 0
        for number, at, fact in journal.facts:
            if expected and number != expected:
                self._find("I1", "", f"fact {number} follows fact {expected - 1}")
            elif not expected and number != 1 and journal.state is None:
                self.whole = self._grounded = False
                self._find(UNCHECKED, "", f"the journal begins at fact {number}, without a snapshot")
            expected = number + 1
            fold = self._FOLDS.get(type(fact))
            if fold is not None:
                fold(self, fact, at)

    def _entry(self, job: str, epoch: int, phases: tuple[str, ...], fact: Fact) -> TaskEntry | None:
        entry = self.tasks.get((job, epoch))
        what = type(fact).__name__
        if entry is None:
            if self.whole:
                self._find("I2", f"{job}/{epoch}", f"{what} of an attempt that was never leased")
            else:
                self._find(UNCHECKED, "", "some facts are of attempts from before the journal begins")
            return None
        if entry.phase not in phases:
            self._find("I2", f"{job}/{epoch}", f"{what} while it is {entry.phase}")
        return entry

    def _leased(self, fact: Leased, at: int) -> None:
        if (fact.job, fact.epoch) in self.tasks:
            self._find("I2", f"{fact.job}/{fact.epoch}", "leased twice")
        self._take_lease(fact)
        slot = (fact.worker, fact.spec.pipeline, fact.spec.model)
        slots = self._evidence.slots
        if slots is not None:
            most = slots.get((fact.worker, (fact.spec.pipeline, fact.spec.model)), 0)
            if self._live[slot] > most:
                self._find("I5", f"{fact.job}/{fact.epoch}", f"{self._live[slot]} leases on {most} of {slot}")

    def _take_lease(self, fact: Leased) -> None:
        entry = self.tasks[fact.job, fact.epoch] = TaskEntry(
            fact.gateway,
            fact.worker,
            fact.spec.pipeline,
            fact.spec.model,
            fact.spec.units_max,
            fact.request,
            fact.price.wei,
            fact.price.per_units,
            fact.share_ppm,
        )
        self.holds[fact.job, fact.epoch] = _cost(entry, fact.spec.units_max)
        slot = (fact.worker, fact.spec.pipeline, fact.spec.model)
        self._live[slot] = self._live.get(slot, 0) + 1

    def _free(self, job: str, epoch: int, entry: TaskEntry) -> None:
        self._live[entry.worker, entry.pipeline, entry.model] -= 1
        if self.holds.pop((job, epoch), None) is None:
            self._find("I3", f"{job}/{epoch}", "it ended, and its hold is not open")

    def _acknowledged(self, fact: Acknowledged, at: int) -> None:
        entry = self._entry(fact.job, fact.epoch, ("leased",), fact)
        if entry is None:
            return
        if fact.units <= entry.acknowledged:
            text = f"{fact.units} units acknowledged after {entry.acknowledged}"
            self._find("I2", f"{fact.job}/{fact.epoch}", text)
        entry.acknowledged = fact.units

    def _earned(self, fact: Earned, at: int) -> None:
        phases = ("leased", "released", "earned") if self._is_more(fact) else ("leased", "released")
        entry = self._entry(fact.job, fact.epoch, phases, fact)
        if entry is None:
            return
        where = f"{fact.job}/{fact.epoch}"
        if entry.phase == "leased":
            self._free(fact.job, fact.epoch, entry)
            if fact.units < entry.owed:
                self._find("I2", where, f"{fact.units} units booked, and {entry.owed} were acknowledged")
        if fact.fault is not None and fact.units != entry.owed:
            self._find(
                "I2", where, f"{fact.units} units booked by itself, and {entry.owed} were acknowledged"
            )
        cost = _cost(entry, fact.units)
        if fact.wei != cost or not 0 <= fact.units <= entry.units_max:
            self._find("I2", where, f"{fact.wei} wei for {fact.units} of {entry.units_max} units: {cost}")
        if fact.share != fact.wei * entry.share_ppm // MILLION:
            self._find("I2", where, f"{fact.share} of {fact.wei} wei is not {entry.share_ppm} millionths")
        if fact.gateway != entry.gateway:
            self._find("I2", where, f"{fact.gateway} pays for an attempt of {entry.gateway}")
        wei, share = fact.wei - entry.wei, fact.share - entry.share
        entry.phase, entry.units, entry.wei = "earned", fact.units, fact.wei
        entry.share, entry.unsaid = fact.share, fact.fault is not None
        self._add(f"gateway:{entry.gateway}", -wei)
        self._add(f"worker:{entry.worker}", share)
        self.earned[entry.worker] = self.earned.get(entry.worker, 0) + share
        self._add("own", wei - share)

    def _is_more(self, fact: Earned) -> bool:
        """Whether a gateway's word brings more than what was booked without one."""
        entry = self.tasks.get((fact.job, fact.epoch))
        return entry is not None and entry.unsaid and fact.fault is None and fact.wei > entry.wei

    def _released(self, fact: Released, at: int) -> None:
        entry = self._entry(fact.job, fact.epoch, ("leased",), fact)
        if entry is not None:
            self._free(fact.job, fact.epoch, entry)
            entry.phase = "released"
            if _cost(entry, entry.owed) and fact.fault.code in NOBODYS:
                text = f"{fact.fault.code}, and {entry.owed} units were acknowledged"
                self._find("I2", f"{fact.job}/{fact.epoch}", text)

    def _quarantined(self, fact: Quarantined, at: int) -> None:
        self._find("bug", fact.job, f"set aside: {fact.cause}")
        for (job, epoch), entry in self.tasks.items():
            if job == fact.job and entry.phase == "leased":
                self._free(job, epoch, entry)
                entry.phase = "released"

    def _paid(self, fact: Paid, at: int) -> None:
        where = f"{fact.gateway} payment {fact.number}"
        if (fact.gateway, fact.number) in self.bookings:
            self._find("I4", where, "booked twice")
        taken = fact.taken
        if taken is None:
            if fact.wei:
                self._find("I4", where, f"{fact.wei} wei booked for no ticket")
            return
        self.bookings[fact.gateway, fact.number] = Booking(
            taken.sender, taken.recipient_rand_hash, taken.nonces, fact.wei, taken.winners
        )
        if fact.wei != taken.credit_wei:
            self._find("I4", where, f"{fact.wei} wei booked for tickets that are worth {taken.credit_wei}")
        self._add(TICKETS, -fact.wei)
        self._add(f"gateway:{fact.gateway}", fact.wei)

    def _winner_settled(self, fact: WinnerSettled, at: int) -> None:
        if fact.ticket_hash in self.settled:
            self._find("I4", f"ticket {fact.ticket_hash.hex()[:16]}", "settled twice")
        self.settled.add(fact.ticket_hash)

    def _payout_planned(self, fact: PayoutPlanned, at: int) -> None:
        where = f"payout {fact.number}"
        if fact.number in self.payouts:
            self._find("I4", where, "planned twice")
        self.payouts[fact.number] = fact
        for due in fact.dues:
            if due.whole_wei > self.balances.get(f"worker:{due.worker}", 0):
                rule = "I3" if self._grounded else UNCHECKED
                self._find(rule, where, f"pays {due.worker} more than it is owed")
            self._add(f"worker:{due.worker}", -due.whole_wei)
            self._add(PAYING, due.whole_wei)

    def _payout_ended(self, fact: PayoutEnded, at: int) -> None:
        plan = self.payouts.get(fact.number)
        if plan is None or fact.number in self.paid_out:
            self._find(
                "I4" if self.whole else UNCHECKED, f"payout {fact.number}", "ended twice, or never begun"
            )
            return
        self.paid_out[fact.number] = fact.transaction
        for due in plan.dues:
            self._add(PAYING, -due.whole_wei)
            self._add(CHAIN if fact.transaction else f"worker:{due.worker}", due.whole_wei)
            if fact.transaction:
                self.wages_paid[due.worker] = self.wages_paid.get(due.worker, 0) + due.whole_wei

    def _add(self, account: str, wei: int) -> None:
        self.balances[account] = self.balances.get(account, 0) + wei

    def _close(self, journal: Journal) -> None:
        if sum(self.balances.values()):
            self._find("I3", "", f"the balances sum to {sum(self.balances.values())}")
        if self._evidence.drained:
            for job, epoch in self.holds:
                self._find("I3", f"{job}/{epoch}", "its hold is open after everything ended")
        if journal.closing is None:
            return
        state = journal.closing
        assert isinstance(state, State)
        holds = {f"{job}/{epoch}": wei for (job, epoch), wei in self.holds.items()}
        if {name: int(wei) for name, (_, wei) in state.book.holds.items()} != holds:
            self._find("I3", "", "the machine's holds are not what the facts say")
        if amounts(state.book.balances) != amounts(self.balances):
            self._find("I3", "", "the machine's balances are not what the facts say")

    _FOLDS: ClassVar[dict[type[Fact], Callable[..., None]]] = {
        Leased: _leased,
        Acknowledged: _acknowledged,
        Earned: _earned,
        Released: _released,
        Quarantined: _quarantined,
        Paid: _paid,
        WinnerSettled: _winner_settled,
        PayoutPlanned: _payout_planned,
        PayoutEnded: _payout_ended,
    }


def _cost(entry: TaskEntry, units: int) -> int:
    return -(-units * entry.price_wei // entry.price_units)
