"""An orchestrator's books: its tasks and its money, as the facts tell them.

A fact depends on earlier facts alone, so that a replay arrives where the live
machine was. Nothing is decided here; every handler raises before it changes
anything, or not at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import ClassVar

from msgspec import Struct

from shoal.errors import Broken, Cancelled, Expired
from shoal.ids import NodeId
from shoal.machine import Event, Machine, Quarantined
from shoal.money.ledger import Book, Ledger
from shoal.money.payee import Payee, PayeeBook, WinnerSettled
from shoal.money.wei import Wei
from shoal.orchestrator.config import Rules
from shoal.orchestrator.holdings import Holdings
from shoal.orchestrator.payroll import PayoutEnded, PayoutPlanned, Payroll, PayrollState, wages
from shoal.orchestrator.relay import Relay
from shoal.orchestrator.till import TICKETS, Paid, Till, TillState
from shoal.units import Instant, later
from shoal.work.lease import Lease, Leases
from shoal.work.task import LEASED, Acknowledged, Earned, Leased, Released, Task, task_id

OWN = "own"
#: How streams end that nobody here broke off.
UNFINISHED = (Cancelled.code, Expired.code)


class State(Struct, frozen=True):
    """What a snapshot holds."""

    tasks: tuple[Task, ...] = ()
    ended: tuple[str, ...] = ()
    book: Book = Book()
    till: TillState = TillState()
    payee: PayeeBook = PayeeBook()
    payroll: PayrollState = PayrollState()


class Books(Machine[State]):
    """All tasks with their leases and holds."""

    __slots__ = (
        "_answered",
        "_charged",
        "_ended",
        "_payee_book",
        "_relays",
        "holdings",
        "leases",
        "ledger",
        "payee",
        "payroll",
        "rules",
        "tasks",
        "till",
    )

    facts = (
        *(Leased, Earned, Released, Quarantined, Paid, WinnerSettled, PayoutPlanned, PayoutEnded),
        Acknowledged,
    )
    state = State

    def __init__(self, rules: Rules, payee: Payee | None = None) -> None:
        super().__init__(rules.tick_ms)
        self.rules = rules
        self.tasks: dict[str, Task] = {}
        self.ledger = Ledger(default_floor=Wei(-rules.gateway_credit_wei))
        #: Payments ahead; and who judges their tickets, if there is a chain to be paid on.
        self.till = Till()
        self.payee = payee
        #: What it knew: kept while there is no chain, for when there is one again.
        self._payee_book = PayeeBook()
        self.payroll = Payroll(self.ledger)
        self.leases = Leases()
        self.holdings = Holdings()
        #: What passes through of running attempts: volatile, and forgotten with its task.
        self._relays: dict[str, Relay] = {}
        #: Whose answer has been sent on, and what it costs: the gateway alone decides how it ends. Volatile too.
        self._answered: dict[str, Wei] = {}
        #: ... and what that is together for each gateway: as good as charged.
        self._charged: dict[NodeId, Wei] = {}
        self._ended: deque[str] = deque()

    def _leased(self, fact: Leased, now: Instant) -> None:
        task = Task(fact, now, later(now, fact.deadline_ms))
        name = task.id
        if name in self.tasks:
            raise Broken(f"task {name} is leased twice")
        hold = fact.price.cost(fact.spec.units_max)
        self.ledger.pend(name, account(fact.gateway), hold)
        self.tasks[name] = task
        self._grant(name, task, later(now, self.rules.lease_ms))

    def _grant(self, name: str, task: Task, until: Instant) -> None:
        lease, need = task.lease, task.need
        self.leases.grant(Lease(name, lease.epoch, lease.worker, need, until))
        self.holdings.add(lease.gateway, need)

    def _acknowledged(self, fact: Acknowledged, now: Instant) -> None:
        name = task_id(fact.job, fact.epoch)
        self.tasks[name] = self.tasks[name].move(fact, now)

    def _earned(self, fact: Earned, now: Instant) -> None:
        name = task_id(fact.job, fact.epoch)
        task = self.tasks[name]
        moved = task.move(fact, now)
        wei, share = Wei(fact.wei - task.wei), Wei(fact.share - task.share)
        credits = {OWN: Wei(wei - share), wages(task.lease.worker): share}
        if task.phase is LEASED:
            self.ledger.post(name, credits)
        else:
            self.ledger.transfer(account(fact.gateway), credits)
            self.makes_good(fact.gateway, wei)
        if share:
            self.payroll.credit(task.lease.worker, task.lease.payout, now)
        self._end(name, task, moved)

    def _released(self, fact: Released, now: Instant) -> None:
        name = task_id(fact.job, fact.epoch)
        self._let_go(name, self.tasks[name], fact, now)

    def _paid(self, fact: Paid, now: Instant) -> None:
        if self.payee is not None and fact.taken is not None:
            self.payee.take(fact.taken)
        self.till.take(fact)
        if fact.wei:
            self.ledger.transfer(TICKETS, {account(fact.gateway): fact.wei})

    def _quarantined(self, fact: Quarantined, now: Instant) -> None:
        live = {lease.task: self.tasks[lease.task] for lease in self.leases}
        for name, task in live.items():
            if task.lease.job == fact.job:
                self._let_go(name, task, fact, now)

    def _let_go(self, name: str, task: Task, fact: Released | Quarantined, now: Instant) -> None:
        moved = task.move(fact, now)
        self.ledger.void(name)
        self._end(name, task, moved)

    def _end(self, name: str, was: Task, task: Task) -> None:
        self.tasks[name] = task
        self.leases.end(name)
        relay = self._relays.pop(name, None)
        wei = self._unanswer(name, was.lease.gateway)
        if not wei and relay is not None and (task.fault is None or task.fault.code in UNFINISHED):
            wei = task.lease.price.cost(min(relay.passed, task.lease.spec.units_max))
        if wei:
            self.remember(was.lease.gateway, wei, task.wei)
        if was.phase is LEASED:
            self.holdings.remove(task.lease.gateway, task.need)
            self._ended.append(name)
            if len(self._ended) > self.rules.ended_tasks_max:
                del self.tasks[self._ended.popleft()]

    def _answer(self, name: str, gateway: NodeId, wei: Wei) -> None:
        """An attempt has answered, at this price."""
        self._answered[name] = wei
        self._charged[gateway] = Wei(self._charged.get(gateway, 0) + wei)

    def _unanswer(self, name: str, gateway: NodeId) -> Wei:
        """An attempt that had answered is over, or its answer may be lost; what it would have cost."""
        wei = self._answered.pop(name, Wei(0))
        if wei:
            self._charged[gateway] = Wei(self._charged[gateway] - wei)
        return wei

    def doubt_answers(self, gateway: NodeId, now: Instant) -> None:
        """What was passed on may be lost with a gateway's last connection: only who answered can say it again."""
        for name in [name for name in self._answered if self.tasks[name].lease.gateway == gateway]:
            self._unanswer(name, gateway)
            lease = self.leases[name]
            self.leases.until(name, max(lease.until, later(now, self.rules.reconnect_ms)))

    def remember(self, gateway: NodeId, wei: Wei, paid: Wei) -> None:
        """An answer at this price, or what was sent of one, was paid: all of it, in part, or not at all."""

    def makes_good(self, gateway: NodeId, wei: Wei) -> None:
        """So much is paid after all."""

    # The host

    def check(self) -> None:
        """Raise `Broken` unless tasks, leases and holds tell one story, and no worker is overfull."""
        self.ledger.check()
        self.payroll.check()
        live = {task.id for task in self.tasks.values() if task.phase is LEASED}
        if live != {lease.task for lease in self.leases}:
            raise Broken("the leases and the live tasks differ")
        self.holdings.check((self.tasks[name].lease.gateway, self.tasks[name].need) for name in live)
        if live != set(self.ledger.holds):
            raise Broken("the holds and the live tasks differ")

    def dump(self) -> State:
        """Everything durable."""
        payee = self._payee_book if self.payee is None else self.payee.dump()
        tasks, ended = tuple(self.tasks.values()), tuple(self._ended)
        return State(tasks, ended, self.ledger.dump(), self.till.dump(), payee, self.payroll.dump())

    def load(self, state: State) -> None:
        """Take a snapshot's state; the leases follow from the tasks."""
        self.tasks = {task.id: task for task in state.tasks}
        self._ended = deque(state.ended)
        self.ledger.load(state.book)
        self.till.load(state.till)
        self.payroll.load(state.payroll)
        self._payee_book = state.payee
        if self.payee is not None:
            self.payee.load(state.payee)
        for name, task in self.tasks.items():
            if task.phase is LEASED:
                self._grant(name, task, task.deadline)

    def busy(self) -> bool:
        """True while leases live."""
        return len(self.leases) > 0

    fact_handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        Leased: _leased,
        Acknowledged: _acknowledged,
        Earned: _earned,
        Released: _released,
        Quarantined: _quarantined,
        Paid: _paid,
    }


def account(gateway: NodeId) -> str:
    """A gateway's account in the ledger."""
    return f"gateway:{gateway}"
