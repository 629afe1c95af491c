"""What a machine is, and the words every machine shares with its host.

A machine decides; it never waits, sends, or reads a clock. It is handed one
event at a time and answers with effects. A `Fact` is an event that must last:
the host journals it, and after a crash replays the facts alone. A machine that
decides something applies the fact at once, by the same handler that a replay
uses, and returns it among its effects for the journal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

from msgspec import Struct

from shoal.errors import Untrusted
from shoal.ids import Digest, JobId, NodeId
from shoal.units import Instant, later

#: What a machine's snapshot holds.
State = TypeVar("State", bound=Struct)


class Value(Struct, frozen=True, gc=False):
    """Anything that is compared by what it holds and never changes.

    What never changes holds no cycle, so the garbage collector (`gc`) is told
    not to look at it: a gateway's memory of a hundred thousand jobs stops nobody.
    """


class Event(Value, frozen=True):
    """Something that happened."""


class Fact(Event, frozen=True, array_like=True, tag=True):
    """Something that happened and must outlive the process.

    Handling a fact may depend on earlier facts only, never on volatile state:
    else a replay would arrive elsewhere.
    """


class Connected(Event, frozen=True):
    """A peer has proved who it is and can be sent to. `boot` is new after its every restart."""

    peer: NodeId
    role: str
    boot: str


class Disconnected(Event, frozen=True):
    """A peer's last connection is gone."""

    peer: NodeId


class Heard(Event, frozen=True):
    """A word came from an authenticated peer."""

    peer: NodeId
    word: Value


class Tick(Event, frozen=True):
    """A wanted instant (`Wake`) has come."""


class Restarted(Event, frozen=True):
    """The journal has been replayed; nothing volatile survived."""


#: The wanted instant has come, or what was wanted is forgotten: either way none is wanted now.
_RINGS = (Tick, Restarted)


class Gathered(Event, frozen=True):
    """What had come when `Gather` was asked for has been handled."""


class Absent(Event, frozen=True):
    """This process itself stood still for `gap_ms`: others must not be judged by that time."""

    gap_ms: int


class Quarantined(Fact, frozen=True):
    """Handling an event about this job raised; the job is set aside for good."""

    job: JobId
    cause: str


class Effect(Value, frozen=True):
    """Something to do, once every fact before it is on disk (`SendAtOnce` alone does not wait)."""


class Send(Effect, frozen=True):
    """Send a word if the peer is connected now; forget it otherwise."""

    peer: NodeId
    word: Value


class SendAtOnce(Send, frozen=True):
    """Send a word without waiting for the disk.

    Only for what binds nobody: if the facts before it are lost with this
    process, the word must have done no harm but work for nothing.
    """


class Deliver(Effect, frozen=True):
    """Send a word until `Retire(key)`: on every connection of the peer and every so often.

    Only facts may cause it: the outbox is rebuilt by replaying them, and so is
    written by the same commit. The receiver must bear repetition.
    """

    key: str
    peer: NodeId
    word: Value


class Retire(Effect, frozen=True):
    """The word under this key needs no more sending."""

    key: str


class Keep(Effect, frozen=True):
    """Store a body under its digest in the same commit as the facts handled with it."""

    digest: Digest
    body: bytes
    keep_ms: int


class Gather(Effect, frozen=True):
    """Send `Gathered` once what has already come is handled: for what is done more cheaply for many at once."""


class Wake(Effect, frozen=True):
    """Send a `Tick` at this instant, or soon after."""

    at: Instant


class Alarm(Effect, frozen=True):
    """Say loudly that something is wrong here."""

    text: str


class Machine(ABC, Generic[State]):
    """A house's decisions. A subclass brings its tables and its state.

    `handlers` says what follows each event; a handler decides (`decide`) and
    asks for effects (`emit`). Facts change the state only in `handlers` of
    their own, which depend on earlier facts alone and raise before they change
    anything.

    Its attributes are slots, and a subclass that lives long names its own: a
    house has more of them than Python's dictionaries of attributes share keys
    for (thirty), and beyond that each is looked up by its name's hash.
    """

    __slots__ = ("_out", "_tick_ms", "_ticking")

    #: The facts this machine journals, the Struct that `dump` gives, and what follows each event.
    facts: ClassVar[tuple[type[Fact], ...]]
    state: ClassVar[type[Struct]]
    handlers: ClassVar[Mapping[type[Event], Callable[..., None]]]

    def __init__(self, tick_ms: int) -> None:
        self._tick_ms = tick_ms
        self._ticking = False
        self._out: list[Effect | Fact] = []

    def handle(self, event: Event, now: Instant) -> Sequence[Effect | Fact]:
        """Decide what follows. Facts among the answer have been applied, and are to be journaled.

        Raises `Untrusted` if a peer broke the rules; nothing has changed then.
        Any other error is a bug: it sets the event's job aside and the machine lives.
        """
        self._out = []
        if isinstance(event, _RINGS):
            self._ticking = False
        try:
            self.handlers[type(event)](self, event, now)
        except Untrusted:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a bug may raise, the other jobs must go on
            self._set_aside(event, error, now)
        if not self._ticking and self.busy():
            self._ticking = True
            self.emit(Wake(later(now, self._tick_ms)))
        return self._out

    def emit(self, *effects: Effect) -> None:
        """Ask for effects."""
        self._out += effects

    def decide(self, fact: Fact, now: Instant) -> None:
        """Let a fact happen: apply it now, journal it before any effect that follows."""
        mark = len(self._out)
        self._out.append(fact)
        try:
            self.handlers[type(fact)](self, fact, now)
        except BaseException:
            del self._out[mark:]
            raise

    @abstractmethod
    def busy(self) -> bool:
        """True while time must be looked at: then a `Tick` comes every `tick_ms`."""

    @abstractmethod
    def check(self) -> None:
        """Raise `Broken` if an invariant does not hold."""

    @abstractmethod
    def dump(self) -> State:
        """Everything durable, for a snapshot."""

    @abstractmethod
    def load(self, state: State) -> None:
        """Take a snapshot's state in place of the empty one."""

    def guard(self, job: JobId, step: Callable[[], None], now: Instant) -> None:
        """Take a step for one of many jobs; a bug that it meets sets that job aside, and the others go on."""
        try:
            step()
        except Untrusted:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a bug may raise
            self._quarantine(job, f"{type(error).__name__}: {error}", now)

    def _set_aside(self, event: Event, error: Exception, now: Instant) -> None:
        cause = f"{type(event).__name__} raised {type(error).__name__}: {error}"
        self._quarantine(None if type(event) is Quarantined else subject(event), cause, now)

    def _quarantine(self, job: JobId | None, cause: str, now: Instant) -> None:
        self.emit(Alarm(cause))
        if job is not None:
            self.decide(Quarantined(job, cause), now)


def subject(event: Event) -> JobId | None:
    """The job that an event is about, if it is about one."""
    about = event.word if isinstance(event, Heard) else event
    job: JobId | None = getattr(about, "job", None)
    return job
