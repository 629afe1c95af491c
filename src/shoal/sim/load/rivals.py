"""Gateways that choose as others do, over the same words, hosts and orchestrators as ours.

A rival keeps no journal and no money: it answers one question, who gets a job
and when. What the descriptions of others leave open is decided in their favour,
and said where it is decided. A job's client leaves at its deadline.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from random import Random
from typing import ClassVar

from msgspec import Struct

from shoal.errors import Expired, Lost, NoCapacity
from shoal.gateway.events import Submitted
from shoal.ids import JobId, NodeId, digest
from shoal.machine import (
    Absent,
    Connected,
    Deliver,
    Disconnected,
    Effect,
    Event,
    Heard,
    Machine,
    Quarantined,
    Restarted,
    Retire,
    Send,
    Tick,
    Wake,
)
from shoal.money.wei import Price, Wei
from shoal.policy.retries import ATTEMPTS_MAX, began, retryable
from shoal.units import Instant, later
from shoal.wire import words
from shoal.work.queue import Need


class Outcome(Effect, frozen=True, kw_only=True):
    """What became of a job, as its gateway knows it."""

    job: JobId
    accepted: bool
    done: bool = False
    code: str = ""
    retry_after_ms: int = 0
    #: When the attempt that answered, or the last one, was sent off; 0 if none was.
    placed_at: Instant = Instant(0)
    run_ms: int = 0
    attempts: int = 0
    turned_away: int = 0
    failed: int = 0
    wei: int = 0
    orchestrator: NodeId = NodeId("")


class Nothing(Struct, frozen=True):
    """A rival's durable state: there is none."""


class Task(Struct, eq=False):
    """One job on its way."""

    id: JobId
    spec: words.JobSpec
    body: bytes
    limit: Price
    asked_at: Instant
    deadline: Instant
    epoch: int = 0
    #: Who has it now, "" if nobody.
    node: NodeId = NodeId("")
    price: Price = Price(0)
    placed_at: Instant = Instant(0)
    attempts: int = 0
    turned_away: int = 0
    failed: int = 0
    #: Who had it last.
    last: NodeId = NodeId("")

    @property
    def need(self) -> Need:
        """What it takes to run this."""
        return (self.spec.pipeline, self.spec.model)


class Seller(Struct):
    """An orchestrator as a rival knows it."""

    connected: bool = True
    quotes: dict[Need, words.Quote] = {}


class Rival(Machine[Nothing]):
    """The rounds of a job; a rival says what happens at each turn."""

    facts = (Quarantined,)
    state = Nothing

    def __init__(self, rng: Random) -> None:
        super().__init__(tick_ms=1_000)
        self.rng = rng
        self.tasks: dict[JobId, Task] = {}
        self.sellers: dict[NodeId, Seller] = {}
        self._selling: dict[Need, list[NodeId]] = {}
        self._timers: list[tuple[Instant, int, Callable[[Instant], None]]] = []
        self._count = 0

    # What a rival says

    @abstractmethod
    def begin(self, task: Task, now: Instant) -> None:
        """A job has come."""

    @abstractmethod
    def full(self, task: Task, node: NodeId, now: Instant) -> None:
        """An orchestrator turned it away: every slot is taken."""

    @abstractmethod
    def broke(self, task: Task, node: NodeId, fault: words.Fault, now: Instant) -> None:
        """An attempt has failed, or its orchestrator has gone."""

    def answered(self, task: Task, node: NodeId, run_ms: int, now: Instant) -> None:
        """An orchestrator has answered."""

    def left(self, task: Task, node: NodeId, now: Instant) -> None:
        """A job has ended at its deadline; `node` had it, or "" """

    def changed(self, node: NodeId, now: Instant) -> None:
        """An orchestrator has come, gone, or said what it sells."""

    # What a rival does

    def sell(self, need: Need) -> list[NodeId]:
        """Who is connected and sells this, in the order of their names: to be looked at."""
        found = self._selling.get(need)
        if found is None:
            found = sorted(node for node, s in self.sellers.items() if s.connected and need in s.quotes)
            self._selling[need] = found
        return found

    def order(self, task: Task, node: NodeId, now: Instant) -> None:
        """Send a job to an orchestrator."""
        task.epoch += 1
        task.attempts += 1
        task.node = task.last = node
        task.placed_at = now
        task.price = self.sellers[node].quotes[task.need].price
        left_ms = max(0, task.deadline - now)
        body = task.body
        word = words.Job(task.id, task.epoch, task.spec, task.price, left_ms, digest(body), body)
        self.emit(Send(node, word))

    def give_up(self, task: Task, code: str) -> None:
        """Tell the client that there will be no answer."""
        self._end(task, done=False, code=code)

    def after(self, delay_ms: int, call: Callable[[Instant], None], now: Instant) -> None:
        """Do something a while from now."""
        at = later(now, delay_ms)
        self._count += 1
        heappush(self._timers, (at, self._count, call))
        self.emit(Wake(at))

    # The rounds

    def _on_submitted(self, event: Submitted, now: Instant) -> None:
        deadline = later(now, event.deadline_ms)
        task = Task(event.job, event.spec, event.body, event.limit, now, deadline)
        self.tasks[task.id] = task
        self.after(event.deadline_ms, lambda then: self._expire(task, then), now)
        self.begin(task, now)

    def _expire(self, task: Task, now: Instant) -> None:
        if task.id not in self.tasks:
            return
        node = task.node
        if node:
            self._settle(node, words.Cancel(task.id, task.epoch))
            task.failed += 1
        self._end(task, done=False, code=Expired.code)
        self.left(task, node, now)

    def _end(self, task: Task, *, done: bool, code: str = "", run_ms: int = 0, wei: int = 0) -> None:
        del self.tasks[task.id]
        self.emit(
            Outcome(
                job=task.id,
                accepted=True,
                done=done,
                code=code,
                placed_at=task.placed_at,
                run_ms=run_ms,
                attempts=task.attempts,
                turned_away=task.turned_away,
                failed=task.failed,
                wei=wei,
                orchestrator=task.last,
            )
        )

    def _settle(self, peer: NodeId, word: words.Accept | words.Cancel) -> None:
        self.emit(Deliver(_settlement(peer, word.job, word.epoch), peer, word))

    def _running(self, peer: NodeId, job: JobId, epoch: int) -> Task | None:
        task = self.tasks.get(job)
        return task if task is not None and (task.node, task.epoch) == (peer, epoch) else None

    def _on_heard(self, event: Heard, now: Instant) -> None:
        peer, word = event.peer, event.word
        match word:
            case words.Capacity():
                self.sellers[peer].quotes = {(q.pipeline, q.model): q for q in word.quotes}
                self._selling = {}
                self.changed(peer, now)
            case words.Result():
                self._hear_result(peer, word, now)
            case words.Failure():
                self._hear_failure(peer, word, now)
            case words.Settled():
                self.emit(*(Retire(_settlement(peer, each.job, each.epoch)) for each in word.leases))
            case _:
                pass  # leases and heartbeats are for those who look

    def _hear_result(self, peer: NodeId, word: words.Result, now: Instant) -> None:
        task = self._running(peer, word.job, word.epoch)
        if task is None:
            self.emit(Send(peer, words.Cancel(word.job, word.epoch)))
            return
        units = min(word.units, task.spec.units_max)
        wei = task.price.cost(units)
        self._settle(peer, words.Accept(task.id, task.epoch, units, Wei(wei)))
        self._end(task, done=True, run_ms=word.run_ms, wei=wei)
        self.answered(task, peer, word.run_ms, now)

    def _hear_failure(self, peer: NodeId, word: words.Failure, now: Instant) -> None:
        task = self._running(peer, word.job, word.epoch)
        if task is None:
            return
        task.node = NodeId("")
        if began(word.fault):
            task.failed += 1
            self.broke(task, peer, word.fault, now)
        else:
            task.turned_away += 1
            self.full(task, peer, now)

    def _on_connected(self, event: Connected, now: Instant) -> None:
        self.sellers[event.peer] = Seller()
        self._selling = {}

    def _on_disconnected(self, event: Disconnected, now: Instant) -> None:
        self.sellers[event.peer].connected = False
        self._selling = {}
        fault = words.Fault(Lost.code, f"{event.peer} is gone")
        for task in [task for task in self.tasks.values() if task.node == event.peer]:
            self._settle(event.peer, words.Cancel(task.id, task.epoch))
            task.node = NodeId("")
            task.failed += 1
            self.broke(task, event.peer, fault, now)
        self.changed(event.peer, now)

    def _on_tick(self, event: Tick, now: Instant) -> None:
        while self._timers and self._timers[0][0] <= now:
            heappop(self._timers)[2](now)

    def _on_nothing(self, event: Event, now: Instant) -> None:
        """A rival lives as long as its trace."""

    # The host

    def busy(self) -> bool:
        """Timers of its own tell it the time."""
        return False

    def check(self) -> None:
        """There is nothing that must hold."""

    def dump(self) -> Nothing:
        """Nothing is durable."""
        return Nothing()

    def load(self, state: Nothing) -> None:
        """Nothing is durable."""

    handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        Submitted: _on_submitted,
        Connected: _on_connected,
        Disconnected: _on_disconnected,
        Heard: _on_heard,
        Tick: _on_tick,
        Restarted: _on_nothing,
        Absent: _on_nothing,
        Quarantined: _on_nothing,
    }


def _settlement(peer: NodeId, job: JobId, epoch: int) -> str:
    return f"{job}/{epoch}/{peer}/settlement"


class Bound(Rival):
    """Binds every job to an orchestrator the moment it comes; there it waits in line for a slot.

    The line stands at the gateway, so that the orchestrators can be ours: an order goes out when its
    orchestrator has a slot that neither our orders nor others hold. A job that breaks is bound anew, to
    another if there is one, at most as often as ours.
    """

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.lines: dict[tuple[NodeId, Need], deque[Task]] = {}
        self.inside: dict[tuple[NodeId, Need], int] = {}

    @abstractmethod
    def bind(self, sellers: list[NodeId], need: Need) -> NodeId:
        """Choose one of at least one."""

    def begin(self, task: Task, now: Instant) -> None:
        """Bind it."""
        self._bind(task, NodeId(""), now)

    def full(self, task: Task, node: NodeId, now: Instant) -> None:
        """Others were quicker: it stays first in line."""
        self.inside[node, task.need] -= 1
        self.lines[node, task.need].appendleft(task)

    def broke(self, task: Task, node: NodeId, fault: words.Fault, now: Instant) -> None:
        """Bind it anew, unless it has broken too often."""
        self.inside[node, task.need] -= 1
        if task.failed >= ATTEMPTS_MAX or not retryable(fault):
            self.give_up(task, fault.code)
        else:
            self._bind(task, node, now)
        self._serve(node, task.need, now)

    def answered(self, task: Task, node: NodeId, run_ms: int, now: Instant) -> None:
        """Its slot is free."""
        self.inside[node, task.need] -= 1
        self._serve(node, task.need, now)

    def left(self, task: Task, node: NodeId, now: Instant) -> None:
        """Its slot is free, if it had one."""
        if node:
            self.answered(task, node, 0, now)

    def changed(self, node: NodeId, now: Instant) -> None:
        """Those in line may go on; if the orchestrator is gone, they are bound to others."""
        for (bound, need), line in list(self.lines.items()):
            if bound != node:
                continue
            if self.sellers[node].connected:
                self._serve(node, need, now)
            else:
                waiting = [task for task in line if task.id in self.tasks]
                line.clear()
                for task in waiting:
                    self._bind(task, node, now)

    def _bind(self, task: Task, but: NodeId, now: Instant) -> None:
        sellers = self.sell(task.need)
        if not sellers:
            self.give_up(task, NoCapacity.code)
            return
        others = [node for node in sellers if node != but]
        node = self.bind(others or sellers, task.need)
        self.lines.setdefault((node, task.need), deque()).append(task)
        self._serve(node, task.need, now)

    def _serve(self, node: NodeId, need: Need, now: Instant) -> None:
        line = self.lines.get((node, need))
        seller = self.sellers[node]
        quote = seller.quotes.get(need)
        while line and quote is not None and seller.connected:
            if line[0].id not in self.tasks:
                line.popleft()
            elif self.inside.get((node, need), 0) < quote.slots - quote.taken:
                self.inside[node, need] = self.inside.get((node, need), 0) + 1
                self.order(line.popleft(), node, now)
            else:
                return


class BoundInTurn(Bound):
    """Round robin, bound at arrival."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._turns: dict[Need, int] = {}

    def bind(self, sellers: list[NodeId], need: Need) -> NodeId:
        """The next in turn."""
        turn = self._turns[need] = self._turns.get(need, -1) + 1
        return sellers[turn % len(sellers)]


class BoundByLot(Bound):
    """Random, bound at arrival."""

    def bind(self, sellers: list[NodeId], need: Need) -> NodeId:
        """Anybody."""
        return self.rng.choice(sellers)


class Insistent(Rival):
    """Another gateway: it asks its one orchestrator again and again, until it has the slot or leaves."""

    AGAIN_MS = 100

    def begin(self, task: Task, now: Instant) -> None:
        """Ask the first that there is."""
        self._ask(task, now)

    def full(self, task: Task, node: NodeId, now: Instant) -> None:
        """Ask again."""
        self.after(self.AGAIN_MS, lambda then: self._ask(task, then), now)

    def broke(self, task: Task, node: NodeId, fault: words.Fault, now: Instant) -> None:
        """Ask again."""
        self.full(task, node, now)

    def _ask(self, task: Task, now: Instant) -> None:
        if task.id not in self.tasks:
            return
        sellers = self.sell(task.need)
        if sellers:
            self.order(task, sellers[0], now)
        else:
            self.full(task, NodeId(""), now)
