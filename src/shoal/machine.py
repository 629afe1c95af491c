"""What a machine is, and the words every machine shares with its host.

A machine decides; it never waits, sends, or reads a clock. It is handed one
event at a time and answers with effects. A `Fact` is an event that must last:
the host journals it, and after a crash replays the facts alone. A machine that
decides something returns the fact among its effects; the host feeds it back as
the next event, so that live and replayed facts take one and the same path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from msgspec import Struct

from shoal.ids import Digest, JobId, NodeId
from shoal.units import Instant


class Value(Struct, frozen=True):
    """Anything that is compared by what it holds and never changes."""


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


class Absent(Event, frozen=True):
    """This process itself stood still for `gap_ms`: others must not be judged by that time."""

    gap_ms: int


class Quarantined(Fact, frozen=True):
    """Handling an event about this job raised; the job is set aside for good."""

    job: JobId
    cause: str


class Effect(Value, frozen=True):
    """Something to do, once every fact before it is on disk."""


class Send(Effect, frozen=True):
    """Send a word if the peer is connected now; forget it otherwise."""

    peer: NodeId
    word: Value


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


class Wake(Effect, frozen=True):
    """Send a `Tick` at this instant, or soon after."""

    at: Instant


class Machine(Protocol):
    """A house's decisions. `State` is whatever `dump` returns: one Struct of plain values."""

    facts: ClassVar[tuple[type[Fact], ...]]
    state: ClassVar[type[Struct]]

    def handle(self, event: Event, now: Instant) -> Sequence[Effect | Fact]:
        """Decide what follows. Raises before it changes anything, or not at all."""
        ...

    def check(self) -> None:
        """Raise `Broken` if an invariant does not hold."""
        ...

    def dump(self) -> Struct:
        """Everything durable, for a snapshot."""
        ...

    def load(self, state: Struct) -> None:
        """Take a snapshot's state in place of the empty one."""
        ...
