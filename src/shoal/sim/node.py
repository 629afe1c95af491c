"""A node of the simulated network: the production host and machine in a process that may die.

The node keeps its disk and its name; everything else is made anew by every
start. Each event that its machine handles goes into the world's trace.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any, TextIO

from msgspec.structs import replace

from shoal.errors import Broken
from shoal.ids import NodeId
from shoal.machine import Effect, Event, Fact, Machine, Restarted, Tick, Wake
from shoal.runtime.host import Host, Rules
from shoal.runtime.sidebook import SideBook
from shoal.runtime.virtual import Calendar, Died, Life, Network, VirtualClock, VirtualJournal
from shoal.units import Instant
from shoal.wire.codec import Coder
from shoal.wire.words import Word

#: Called before and after each fact and each effect of a node: a place to die. True: die here.
Step = Callable[[NodeId, str], bool]


class Trace:
    """Everything that happened, in order, as one hash and perhaps a file."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.events = 0
        self._hash = sha256()
        self._coder: Coder[Event] = Coder(Event)
        self._file = file
        self._names: dict[NodeId, str] = {}

    def call(self, node: NodeId, name: str) -> None:
        """Write a short name where a node is meant."""
        self._names[node] = name

    def add(self, when: int, node: NodeId, event: Event) -> None:
        """An event that a machine is about to handle."""
        self.events += 1
        self._hash.update(b"%d %s %s " % (when, node.encode(), type(event).__name__.encode()))
        try:
            self._hash.update(self._coder.encode(event))
        except (
            OverflowError
        ):  # amounts on chain outgrow what an encoder holds; no such event leaves its process
            self._hash.update(repr(event).encode())
        if self._file is not None:
            self._write(when, node, _short(event))

    def say(self, when: int, node: NodeId, text: str) -> None:
        """Something that was done to a node, or that it did."""
        self._hash.update(b"%d %s %s " % (when, node.encode(), text.encode()))
        if self._file is not None:
            self._write(when, node, f"-- {text}")

    def _write(self, when: int, node: NodeId, text: str) -> None:
        for name, short in self._names.items():
            text = text.replace(name, short)
        print(f"{when:>8} {self._names.get(node, node):<4} {text}", file=self._file)

    def hexdigest(self) -> str:
        """The hash of all of it."""
        return self._hash.hexdigest()


class WatchedHost(Host):
    """The production host, with the world looking over its shoulder."""

    node: Node
    #: Whether a `Tick` was asked for since the last one.
    tick_asked = False

    @property
    def appended(self) -> int:
        """How many facts have happened, on disk or not."""
        return self._appended

    def post(self, event: Event) -> None:
        """Trace, handle, check."""
        if not self._alive:
            return
        node = self.node
        node.trace.add(node.calendar.now, node.name, event)
        before = self._appended
        if isinstance(event, Tick | Restarted):
            self.tick_asked = False
        super().post(event)
        if self.machine.busy() and not self.tick_asked:
            raise Broken(f"{node.name} is busy and has asked for no tick")
        # What `check` looks at moves only with a fact; volatile events are checked now and then.
        if self._appended != before or node.trace.events % 16 == 0:
            self.machine.check()

    def _act_when_durable(self, effect: Effect, now: Instant) -> None:
        self.tick_asked |= isinstance(effect, Wake)
        super()._act_when_durable(effect, now)

    def _append(self, fact: Fact, now: Instant) -> None:
        self.node.step(f"append {type(fact).__name__}")
        super()._append(fact, now)
        self.node.step(f"appended {type(fact).__name__}")

    def _act(self, effect: Effect) -> None:
        self.node.step(f"do {type(effect).__name__}")
        super()._act(effect)
        self.node.step(f"did {type(effect).__name__}")


class Node(ABC):
    """One process of the network, and the computer that it runs on. A house says what `perform` does."""

    role = ""
    #: False: nobody traces or checks what it does, so that it does it quickly.
    watched = True
    #: False: nothing waits for its disk.
    awaited = True

    def __init__(self, name: NodeId, network: Network, rng: Random, trace: Trace, rules: Rules) -> None:
        self.name = name
        self.calendar: Calendar = network.calendar
        self.trace = trace
        self.boot = ""
        self.starts = 0
        self.alarms: list[str] = []
        self.offset_ms = 0
        self.drift_ppm = 0
        self.on_step: Step | None = None
        self.life = Life(self.calendar, self.crash)
        self.journal = VirtualJournal(self.life, rng)
        self.host: Host | None = None
        self._network = network
        self._rules = rules
        network.add(self)

    # What a house adds

    @abstractmethod
    def machine(self) -> Machine[Any]:
        """A fresh machine."""

    @abstractmethod
    def perform(self, effect: Effect) -> None:
        """Do one of the house's own effects."""

    def complete(self, word: Word) -> Word:
        """Fill in what a word leaves to the disk."""
        return word

    def begun(self) -> None:  # noqa: B027 - most houses have nothing to add
        """The process runs."""

    @property
    def appended(self) -> int:
        """How many facts have happened here, on disk or not."""
        assert isinstance(self.host, WatchedHost)
        return self.host.appended

    # Life and death

    def start(self) -> None:
        """Start the process: replay what is on disk, then dial."""
        self.starts += 1
        self.boot = f"{self.name}#{self.starts}"
        self.trace.say(self.calendar.now, self.name, "start")
        self.life.begin()
        host = WatchedHost if self.watched else Host
        self.host = host(
            self.machine(),
            clock=VirtualClock(self.life, offset_ms=self.offset_ms, drift_ppm=self.drift_ppm),
            journal=self.journal if self.awaited else SideBook(self.journal),
            transport=Wire(self._network, self.name),
            perform=self.perform,
            alarm=self._alarm,
            rules=replace(self._rules, outbox_lasts=self.awaited),
            complete=self.complete,
        )
        if isinstance(self.host, WatchedHost):
            self.host.node = self
        self.journal.on_failure = self._fail
        self.life.after(0, self._begin)

    def _begin(self) -> None:
        assert self.host is not None
        self.host.start()
        if self.watched:
            self.host.machine.check()
        self._network.started(self.name)
        self.begun()

    def crash(self) -> None:
        """Die at once: memory, connections and whatever was not synced are gone."""
        if self.life.alive:
            assert self.host is not None
            self.trace.say(self.calendar.now, self.name, "crash")
            self.host.stop()
            self.life.end()
            self.journal.crash()
            self._network.crashed(self.name)

    def post(self, event: Event) -> None:
        """Hand an event to the machine."""
        assert self.host is not None
        self.host.post(event)

    def step(self, what: str) -> None:
        """A fact or an effect begins or has ended: perhaps the last of this life."""
        if self.on_step is not None and self.on_step(self.name, what):
            raise Died

    def _fail(self, error: BaseException) -> None:
        """The disk failed: the process ends, as it should."""
        raise Died from error

    def _alarm(self, text: str) -> None:
        self.trace.say(self.calendar.now, self.name, f"alarm: {text}")
        self.alarms.append(text)


class Wire:
    """One node's way into the network."""

    def __init__(self, network: Network, name: NodeId) -> None:
        self._network = network
        self._name = name

    def send(self, peer: NodeId, word: Word) -> bool:
        """Send a word; False if the peer is not connected."""
        return self._network.send(self._name, peer, word)


def _short(event: Event) -> str:
    text = repr(event)
    return text if len(text) <= 300 else text[:300] + "..."
