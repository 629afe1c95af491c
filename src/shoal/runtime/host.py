"""The one host: it hands events to a machine, journals, commits, then acts.

Effects wait until every fact handled before them is on disk, but for a word
that says it need not. After a crash the
facts are replayed and only the outbox is said again. The host knows no house:
it is given a machine, a clock, a journal, a transport and a performer. In the
simulator it is this same file, over a virtual clock, disk and network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from msgspec import Struct

from shoal.errors import Untrusted
from shoal.ids import Digest, NodeId
from shoal.machine import (
    Absent,
    Alarm,
    Connected,
    Deliver,
    Effect,
    Event,
    Fact,
    Gather,
    Gathered,
    Keep,
    Machine,
    Restarted,
    Retire,
    Send,
    SendAtOnce,
    Tick,
    Wake,
)
from shoal.units import Instant, later
from shoal.wire.codec import Coder
from shoal.wire.words import WORDS, Part, Word


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> Instant:
        """This node's instant; it never goes back while the process lives."""
        ...

    def call_at(self, instant: Instant, call: Callable[[], None]) -> None:
        """Call back at an instant, or soon after."""
        ...


class Journal(Protocol):
    """Where facts last. `on_durable` and `on_failure` are called on the host's own thread."""

    durable: int
    on_durable: Callable[[int], None]
    on_failure: Callable[[BaseException], None]

    def append(self, at: Instant, fact: bytes) -> int:
        """Queue a fact for the next commit; its number."""
        ...

    def keep(self, digest: Digest, body: bytes, expires: Instant) -> None:
        """Queue a body for the same commit as the next fact."""
        ...

    def replay(self) -> tuple[bytes | None, Iterator[tuple[Instant, bytes]]]:
        """The snapshot, if there is one, and the facts after it."""
        ...

    def snapshot(self, state: bytes) -> None:
        """Queue a snapshot that covers every fact so far."""
        ...

    def body(self, digest: Digest) -> bytes | None:
        """A body that was kept, or None."""
        ...


class Transport(Protocol):
    """How words leave."""

    def send(self, peer: NodeId, word: Word) -> bool:
        """Send a word; False if the peer is not connected."""
        ...


class Rules(Struct, frozen=True, kw_only=True):
    """What the host goes by."""

    #: An undelivered word is repeated after this long, then after twice as long, up to the maximum.
    repeat_ms: int = 2_000
    repeat_max_ms: int = 30_000
    #: A snapshot is taken after this many facts.
    snapshot_facts: int = 200_000
    #: That words need no more sending is noted for so many of them at once; a crash repeats those few.
    retired_max: int = 16
    #: A timer later than this means that the process itself stood still.
    absent_ms: int = 2_000
    #: False where no fact causes the words of the outbox: then it is as volatile as what does.
    outbox_lasts: bool = True


class Retired(Fact, frozen=True):
    """The host's own note: these words of the outbox need no more sending."""

    keys: tuple[str, ...]


class Letter(Part, frozen=True, array_like=True):
    """An undelivered word in a snapshot."""

    key: str
    peer: NodeId
    word: bytes


class Snapshot(Part, frozen=True, array_like=True):
    """A machine's state and the outbox."""

    state: bytes
    outbox: tuple[Letter, ...]


class Entry(Struct):
    """An undelivered word, the fact that must be on disk before it is sent, and when to repeat it."""

    letter: Deliver
    after: int
    repeat_at: Instant
    repeat_ms: int


class Host:
    """Runs one machine. Everything it is given, a simulator can give too."""

    def __init__(
        self,
        machine: Machine[Any],
        *,
        clock: Clock,
        journal: Journal,
        transport: Transport,
        perform: Callable[[Effect], None],
        alarm: Callable[[str], None],
        rules: Rules | None = None,
        complete: Callable[[Word], Word] | None = None,
    ) -> None:
        """`perform` does the house's own effects; `complete` fills in what a word leaves to the disk."""
        self.machine = machine
        self.outbox: dict[str, Entry] = {}
        self._clock = clock
        self._journal = journal
        self._transport = transport
        self._perform = perform
        self._alarm = alarm
        self._rules = rules or Rules()
        self._complete = complete or (lambda word: word)
        self._facts: Coder[Fact] = Coder(*machine.facts, Retired)
        self._states: Coder[Struct] = Coder(machine.state)
        self._words: Coder[Word] = Coder(*WORDS)
        self._snapshots = Coder(Snapshot)
        self._pending: deque[tuple[int, Effect]] = deque()
        self._barriers: deque[tuple[int, Callable[[], None]]] = deque()
        self._appended = 0
        self._since_snapshot = 0
        self._retired: dict[str, None] = {}
        self._repeating = False
        self._alive = True
        #: What is done at once with an effect; all others wait for the facts before them.
        self._takes: dict[type[Effect | Fact], Callable[[Any, Instant], None]] = {
            **dict.fromkeys((*machine.facts, Retired), self._append),
            Keep: self._keep,
            Deliver: self._deliver,
            Retire: self._retire,
            Gather: self._gather,
            SendAtOnce: self._act_at_once,
        }
        self._acts: dict[type[Effect], Callable[[Any], None]] = {
            Send: self._send,
            SendAtOnce: self._send,
            Deliver: self._send_noted,
            Wake: self._wake,
            Alarm: self._sound,
        }
        journal.on_durable = self._on_durable

    # Life

    def start(self) -> None:
        """Replay the journal, then let the machine go on from there."""
        state, facts = self._journal.replay()
        self._appended = self._journal.durable
        if state is not None:
            self._restore(self._snapshots.decode(state))
        for at, data in facts:
            self._replay(self._facts.decode(data), at)
            self._since_snapshot += 1
        self.post(Restarted())
        if self.outbox:
            self._repeat_later()

    def stop(self) -> None:
        """Act no more; what is journaled stays."""
        self._alive = False

    def post(self, event: Event) -> None:
        """Hand an event to the machine and see its effects through."""
        if not self._alive:
            return
        now = self._clock.now()
        try:
            effects = self.machine.handle(event, now)
        except Untrusted as error:
            self._alarm(error.message)
            return
        takes, others = self._takes, self._act_when_durable
        for effect in effects:
            takes.get(type(effect), others)(effect, now)
        if isinstance(event, Connected):
            self._repeat_to(event.peer)
        if self._since_snapshot >= self._rules.snapshot_facts:
            self.snapshot()

    def when_durable(self, call: Callable[[], None]) -> None:
        """Call back once everything that has happened so far is on disk."""
        if self._journal.durable >= self._appended:
            call()
        else:
            self._barriers.append((self._appended, call))

    def snapshot(self) -> None:
        """Write down the whole state, so that a replay starts here."""
        letters = tuple(
            Letter(key, entry.letter.peer, self._words.encode(entry.letter.word))
            for key, entry in self.outbox.items()
            if self._rules.outbox_lasts
        )
        state = self._states.encode(self.machine.dump())
        self._journal.snapshot(self._snapshots.encode(Snapshot(state, letters)))
        self._since_snapshot = 0
        self._retired = {}

    # Effects

    def _append(self, fact: Fact, now: Instant) -> None:
        if len(self._retired) >= self._rules.retired_max:
            retired, self._retired = Retired(tuple(self._retired)), {}
            self._append(retired, now)
        self._appended = self._journal.append(now, self._facts.encode(fact))
        self._since_snapshot += 1

    def _keep(self, effect: Keep, now: Instant) -> None:
        self._journal.keep(effect.digest, effect.body, later(now, effect.keep_ms))

    def _deliver(self, letter: Deliver, now: Instant) -> None:
        self._note(letter, now)
        self._act_when_durable(letter, now)

    def _retire(self, effect: Retire, now: Instant) -> None:
        entry = self.outbox.pop(effect.key, None)
        if entry is not None and self._rules.outbox_lasts and entry.after:
            self._retired[effect.key] = None

    def _gather(self, effect: Gather, now: Instant) -> None:
        self._clock.call_at(now, lambda: self.post(Gathered()))

    def _act_at_once(self, effect: SendAtOnce, now: Instant) -> None:
        self._act(effect)

    def _act_when_durable(self, effect: Effect, now: Instant) -> None:
        if self._pending or self._journal.durable < self._appended:
            self._pending.append((self._appended, effect))
        else:
            self._act(effect)

    def _on_durable(self, number: int) -> None:
        pending, barriers, act = self._pending, self._barriers, self._act
        while self._alive and pending and pending[0][0] <= number:
            act(pending.popleft()[1])
        while self._alive and barriers and barriers[0][0] <= number:
            barriers.popleft()[1]()

    def _act(self, effect: Effect) -> None:
        self._acts.get(type(effect), self._perform)(effect)

    def _send(self, effect: Send | Deliver) -> None:
        word = effect.word
        assert isinstance(word, Word)
        self._transport.send(effect.peer, self._complete(word))

    def _send_noted(self, letter: Deliver) -> None:
        if letter.key in self.outbox:
            self._send(letter)
            self._repeat_later()

    def _sound(self, effect: Alarm) -> None:
        self._alarm(effect.text)

    def _wake(self, effect: Wake) -> None:
        at = effect.at

        def ring() -> None:
            late_ms = self._clock.now() - at
            if late_ms > self._rules.absent_ms:
                self.post(Absent(late_ms))
            self.post(Tick())

        self._clock.call_at(at, ring)

    # The outbox

    def _note(self, letter: Deliver, now: Instant) -> None:
        repeat_ms = self._rules.repeat_ms
        repeat_at = later(now, repeat_ms)
        self._retired.pop(letter.key, None)
        self.outbox[letter.key] = Entry(letter, self._appended, repeat_at, repeat_ms)

    def _repeat_to(self, peer: NodeId) -> None:
        for entry in list(self.outbox.values()):
            if entry.letter.peer == peer and entry.after <= self._journal.durable:
                self._send(entry.letter)

    def _repeat_later(self) -> None:
        if not self._repeating:
            self._repeating = True
            self._clock.call_at(later(self._clock.now(), self._rules.repeat_ms), self._repeat)

    def _repeat(self) -> None:
        self._repeating = False
        if not self._alive:
            return
        now = self._clock.now()
        for entry in list(self.outbox.values()):
            if entry.repeat_at <= now and entry.after <= self._journal.durable:
                self._send(entry.letter)
                entry.repeat_ms = min(2 * entry.repeat_ms, self._rules.repeat_max_ms)
                entry.repeat_at = later(now, entry.repeat_ms)
        if self.outbox:
            self._repeat_later()

    # Replay

    def _restore(self, snapshot: Snapshot) -> None:
        self.machine.load(self._states.decode(snapshot.state))
        for letter in snapshot.outbox:
            word = self._words.decode(letter.word)
            self._note(Deliver(letter.key, letter.peer, word), self._clock.now())

    def _replay(self, fact: Fact, at: Instant) -> None:
        if isinstance(fact, Retired):
            for key in fact.keys:
                self.outbox.pop(key, None)
            return
        for effect in self.machine.handle(fact, at):
            match effect:
                case Deliver():
                    self._note(effect, at)
                case Retire():
                    self.outbox.pop(effect.key, None)
                case Fact():  # the machine set a job aside: that must be remembered too
                    self._append(effect, at)
                case Alarm():
                    self._alarm(effect.text)
                case _:
                    pass
