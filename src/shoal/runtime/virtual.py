"""A virtual world for hosts: time, processes, disks and a network, with faults from one seed.

It offers what `runtime/host.py` asks of a clock, a journal and a transport, and
nothing here waits for real time. Words pass through the real codec. The same
`Random` gives the same world, event for event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from random import Random
from typing import Protocol

from msgspec import Struct

from shoal.ids import Digest, NodeId
from shoal.machine import Connected, Disconnected, Event, Heard
from shoal.units import SECOND_MS, Instant
from shoal.wire.codec import decode, encode
from shoal.wire.words import Word

Call = Callable[[], None]


class Calendar:
    """World time, in whole milliseconds, and everything that is due, in order."""

    def __init__(self) -> None:
        self.now = 0
        self._due: list[tuple[int, int, Call]] = []
        self._count = 0

    def at(self, when: int, call: Call) -> None:
        """Call at a world time, after everything that was due then before."""
        self._count += 1
        heappush(self._due, (max(when, self.now), self._count, call))

    def step(self) -> bool:
        """Do the next thing that is due; False if there is nothing."""
        if not self._due:
            return False
        self.now, _, call = heappop(self._due)
        call()
        return True

    def run(self, until: int) -> None:
        """Do everything that is due before a world time, and be there."""
        while self._due and self._due[0][0] < until:
            self.step()
        self.now = max(self.now, until)


class Died(BaseException):
    """Raised in the middle of anything that a process does: it dies right there."""


class Life:
    """A process as its computer sees it: it runs, stands still, or dies and loses its memory."""

    def __init__(self, calendar: Calendar, on_death: Call) -> None:
        self.calendar = calendar
        self.alive = False
        self.paused = False
        self._generation = 0
        self._backlog: list[Call] = []
        self._on_death = on_death

    def begin(self) -> None:
        """Come to life, remembering nothing."""
        self._generation += 1
        self.alive = True

    def end(self) -> None:
        """Die: whatever was to be called will not be."""
        self._generation += 1
        self.alive = self.paused = False
        self._backlog = []

    def pause(self, duration_ms: int) -> None:
        """Stand still: what is due meanwhile happens afterwards, in the same order."""
        if self.alive and not self.paused:
            self.paused = True
            generation = self._generation
            self.calendar.at(self.calendar.now + duration_ms, lambda: self._resume(generation))

    def resume(self) -> None:
        """Go on, if it stands still."""
        self._resume(self._generation)

    def at(self, when: int, call: Call) -> None:
        """Call at a world time, if this life lasts as long."""
        generation = self._generation

        def arrive() -> None:
            if generation != self._generation:
                return
            if self.paused:
                self._backlog.append(call)
            else:
                self._run(call)

        self.calendar.at(when, arrive)

    def after(self, delay_ms: int, call: Call) -> None:
        """Call a while from now, if this life lasts as long."""
        self.at(self.calendar.now + delay_ms, call)

    def _resume(self, generation: int) -> None:
        if generation != self._generation or not self.paused:
            return
        self.paused = False
        backlog, self._backlog = self._backlog, []
        for call in backlog:
            if generation == self._generation:
                self._run(call)

    def _run(self, call: Call) -> None:
        try:
            call()
        except Died:
            self._on_death()


class VirtualClock:
    """One node's clock: off by some, and a little too fast or too slow."""

    def __init__(self, life: Life, *, offset_ms: int = 0, drift_ppm: int = 0) -> None:
        self._life = life
        self._offset_ms = offset_ms
        self._rate_ppm = 1_000_000 + drift_ppm

    def now(self) -> Instant:
        """This node's instant."""
        return Instant(self._offset_ms + self._life.calendar.now * self._rate_ppm // 1_000_000)

    def call_at(self, instant: Instant, call: Call) -> None:
        """Call back when this clock shows the instant."""
        world = -((self._offset_ms - instant) * 1_000_000 // self._rate_ppm)
        self._life.at(world, call)


class Batch(Struct):
    """What one commit writes."""

    facts: list[tuple[Instant, bytes]] = []
    bodies: dict[Digest, bytes] = {}
    #: A snapshot, and how many facts it covers.
    snapshot: tuple[int, bytes] | None = None

    def __bool__(self) -> bool:
        return bool(self.facts or self.bodies or self.snapshot)


class VirtualJournal:
    """A node's disk. A commit takes a while; what was not synced when the process died may be lost."""

    def __init__(self, life: Life, rng: Random) -> None:
        self.on_durable: Callable[[int], None] = _ignore
        self.on_failure: Callable[[BaseException], None] = _ignore
        self.durable = 0
        #: Every fact that was ever on disk, for the auditor; a replay reads only what a snapshot leaves.
        self.history: list[tuple[Instant, bytes]] = []
        self.failure_ppm = 0
        self.commit_max_ms = 8
        self._life = life
        self._rng = rng
        #: The last snapshot on disk, and how many facts it covers.
        self.last_snapshot: tuple[int, bytes] | None = None
        self._bodies: dict[Digest, bytes] = {}
        self._queued = Batch()
        self._syncing: Batch | None = None
        self._appended = 0

    def append(self, at: Instant, fact: bytes) -> int:
        """Queue a fact for the next commit; its number."""
        self._queued.facts.append((at, fact))
        self._appended += 1
        self._schedule()
        return self._appended

    def keep(self, digest: Digest, body: bytes, expires: Instant) -> None:
        """Queue a body for the same commit as the next fact."""
        self._queued.bodies[digest] = body
        self._schedule()

    def snapshot(self, state: bytes) -> None:
        """Queue a snapshot that covers every fact so far."""
        self._queued.snapshot = (self._appended, state)
        self._schedule()

    def replay(self) -> tuple[bytes | None, Iterator[tuple[Instant, bytes]]]:
        """The snapshot, if there is one, and the facts after it."""
        if self.last_snapshot is None:
            return None, iter(list(self.history))
        number, state = self.last_snapshot
        return state, iter(self.history[number:])

    def body(self, digest: Digest) -> bytes | None:
        """A body on disk or on its way there, or None."""
        for batch in (self._queued, self._syncing):
            if batch is not None and digest in batch.bodies:
                return batch.bodies[digest]
        return self._bodies.get(digest)

    def crash(self) -> None:
        """The process is gone: what waited is lost; what was being written is there or is not."""
        if self._syncing is not None and self._rng.random() < 0.5:
            self._write(self._syncing)
        self._queued, self._syncing = Batch(), None
        self.durable = self._appended = len(self.history)

    def _schedule(self) -> None:
        if self._syncing is None and self._queued:
            self._syncing = Batch()
            self._life.after(0, self._begin)

    def _begin(self) -> None:
        """What one turn queued shares a commit."""
        self._syncing, self._queued = self._queued, Batch()
        self._life.after(self._rng.randint(0, self.commit_max_ms), self._finish)

    def _finish(self) -> None:
        if self.failure_ppm and self._rng.randrange(1_000_000) < self.failure_ppm:
            self.on_failure(OSError("the disk failed"))
            return
        assert self._syncing is not None
        self._write(self._syncing)
        self._syncing = None
        self._schedule()
        if len(self.history) > self.durable:
            self.durable = len(self.history)
            self.on_durable(self.durable)

    def _write(self, batch: Batch) -> None:
        self.history += batch.facts
        self._bodies |= batch.bodies
        if batch.snapshot is not None:
            self.last_snapshot = batch.snapshot


def _ignore(anything: object) -> None:
    """Nobody listens yet."""


class Weather(Struct, kw_only=True):
    """How bad a network is now."""

    loss_ppm: int = 0
    duplicate_ppm: int = 0
    delay_min_ms: int = 1
    delay_mean_ms: int = 5
    #: A word may overtake another on the same connection.
    reorder: bool = False
    #: A peer that is silent so long is taken for gone.
    silence_min_ms: int = 7_500
    silence_max_ms: int = 8_000
    redial_max_ms: int = 2 * SECOND_MS


class Port(Protocol):
    """A node as the network sees it."""

    name: NodeId
    role: str
    boot: str
    life: Life

    def post(self, event: Event) -> None:
        """Hand an event to the node's machine."""
        ...


class Link(Struct, eq=False):
    """One connection; it ends for each of its ends on its own."""

    dialler: NodeId
    listener: NodeId
    #: Which process is at each end.
    boots: dict[NodeId, str]
    #: World time before which nothing more may arrive at each end, so that words stay in order.
    arrived: dict[NodeId, int] = {}


class Network:
    """Who is connected to whom, and what becomes of their words."""

    def __init__(self, calendar: Calendar, rng: Random, weather: Weather) -> None:
        self.weather = weather
        self.words = 0
        #: The directions in which nothing gets through now.
        self.cuts: set[tuple[NodeId, NodeId]] = set()
        self.calendar = calendar
        self._rng = rng
        self._ports: dict[NodeId, Port] = {}
        #: Whom each dials.
        self._dials: dict[NodeId, list[NodeId]] = {}
        self._live: dict[tuple[NodeId, NodeId], Link] = {}

    def add(self, port: Port) -> None:
        """Let a node be reached."""
        self._ports[port.name] = port

    def dial(self, dialler: NodeId, listener: NodeId) -> None:
        """Keep these two connected whenever both live and can reach each other."""
        self._dials.setdefault(dialler, []).append(listener)

    @property
    def pairs(self) -> list[tuple[NodeId, NodeId]]:
        """Who dials whom."""
        return [(dialler, listener) for dialler, theirs in self._dials.items() for listener in theirs]

    def started(self, node: NodeId) -> None:
        """A node's process has begun: it dials."""
        for listener in self._dials.get(node, ()):
            self._redial(node, listener)

    def crashed(self, node: NodeId) -> None:
        """A node's process is gone: its peers notice at once, or when it stays silent."""
        for (owner, peer), link in list(self._live.items()):
            if owner == node:
                del self._live[owner, peer]
                soon = self._rng.random() < 0.7
                self._close_later(peer, link, self._delay_ms() if soon else self._silence_ms())

    def cut(self, sender: NodeId, receiver: NodeId, duration_ms: int) -> None:
        """Let nothing through one way for a while; both ends notice if it lasts."""
        self.cuts.add((sender, receiver))
        self.calendar.at(self.calendar.now + duration_ms, lambda: self.cuts.discard((sender, receiver)))
        for owner, peer in ((sender, receiver), (receiver, sender)):
            link = self._live.get((owner, peer))
            silence_ms = self._silence_ms()
            if link is not None and silence_ms < duration_ms:
                self._close_later(owner, link, silence_ms)

    def sever(self, dialler: NodeId, listener: NodeId) -> None:
        """Break the connection of two nodes, if there is one."""
        link = self._live.get((dialler, listener))
        if link is not None:
            self._close_later(dialler, link, self._delay_ms())
            self._close_later(listener, link, self._delay_ms())

    def send(self, sender: NodeId, peer: NodeId, word: Word) -> bool:
        """Send a word, once; it may be lost, doubled, late, or overtaken by another."""
        link = self._live.get((sender, peer))
        if link is None:
            return False
        self.words += 1
        data = encode(word)
        weather = self.weather
        if weather.loss_ppm and self._rng.randrange(1_000_000) < weather.loss_ppm:
            return True
        twice = weather.duplicate_ppm and self._rng.randrange(1_000_000) < weather.duplicate_ppm
        for _ in range(2 if twice else 1):
            self._carry(sender, peer, link, data)
        return True

    def _carry(self, sender: NodeId, peer: NodeId, link: Link, data: bytes) -> None:
        when = self.calendar.now + self._delay_ms()
        if not self.weather.reorder:
            when = link.arrived[peer] = max(when, link.arrived.get(peer, 0))
        port = self._ports[peer]

        def arrive() -> None:
            if self._live.get((peer, sender)) is link:
                port.post(Heard(sender, decode(data)))

        if (sender, peer) not in self.cuts:
            port.life.at(when, arrive)

    def _redial(self, dialler: NodeId, listener: NodeId) -> None:
        port = self._ports[dialler]
        port.life.after(
            self._rng.randint(1, self.weather.redial_max_ms), lambda: self._try(dialler, listener)
        )

    def _try(self, dialler: NodeId, listener: NodeId) -> None:
        if (dialler, listener) in self._live:
            return
        there = self._ports[listener].life
        reachable = not {(dialler, listener), (listener, dialler)} & self.cuts
        if not (there.alive and not there.paused and reachable):
            self._redial(dialler, listener)
            return
        boots = {name: self._ports[name].boot for name in (dialler, listener)}
        link = Link(dialler, listener, boots)
        self._open(dialler, listener, link)
        self._open(listener, dialler, link)

    def _open(self, owner: NodeId, peer: NodeId, link: Link) -> None:
        port, role = self._ports[owner], self._ports[peer].role
        older = self._live.get((owner, peer))
        self._live[owner, peer] = link
        # A newer connection of the same process takes the older one's place without a word.
        if older is not None and older.boots[peer] != link.boots[peer]:
            port.life.after(0, lambda: port.post(Disconnected(peer)))
        port.life.after(0, lambda: port.post(Connected(peer, role, link.boots[peer])))

    def _close_later(self, owner: NodeId, link: Link, delay_ms: int) -> None:
        self._ports[owner].life.after(delay_ms, lambda: self._close(owner, link))

    def _close(self, owner: NodeId, link: Link) -> None:
        peer = link.listener if owner == link.dialler else link.dialler
        if self._live.get((owner, peer)) is not link:
            return
        del self._live[owner, peer]
        self._ports[owner].post(Disconnected(peer))
        if self._live.get((peer, owner)) is link:
            heard = (owner, peer) not in self.cuts
            self._close_later(peer, link, self._delay_ms() if heard else self._silence_ms())
        if owner == link.dialler:
            self._redial(owner, peer)

    def _delay_ms(self) -> int:
        weather = self.weather
        return weather.delay_min_ms + int(self._rng.expovariate(1) * weather.delay_mean_ms)

    def _silence_ms(self) -> int:
        return self._rng.randint(self.weather.silence_min_ms, self.weather.silence_max_ms)
