"""A breaker: whoever fails time and again gets nothing for a while, then one job to show that it works.

The idea is Nygard's ("Release It!", 2007). One stands between us and each (node, need). It opens for longer each time
that the one job fails too. It reads no clock and sends nothing.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import IllegalMove
from shoal.machine import Value
from shoal.units import MINUTE_MS, SECOND_MS, Instant, later


class Phase(StrEnum):
    """Whether jobs may go there."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    TRYING = "trying"


#: By their own names, because an enum is slow to ask for its members.
CLOSED, OPEN, HALF_OPEN, TRYING = Phase


class Tried(Value, frozen=True):
    """A job was sent there."""


class Succeeded(Value, frozen=True):
    """An attempt there ended well."""


class Stumbled(Value, frozen=True):
    """An attempt failed there, one of few in a row."""


class Broke(Value, frozen=True):
    """An attempt failed there, and that was one too many."""


class Spared(Value, frozen=True):
    """An attempt there ended and says nothing of the node: cancelled, or turned away as busy."""


class Rested(Value, frozen=True):
    """The time is over for which it was left alone."""


Happening = Tried | Succeeded | Stumbled | Broke | Spared | Rested

#: What may happen when. A pair that is not here is a bug, and raises.
MOVES: dict[tuple[Phase, type[Happening]], Phase] = {
    (CLOSED, Tried): CLOSED,
    (CLOSED, Succeeded): CLOSED,
    (CLOSED, Stumbled): CLOSED,
    (CLOSED, Broke): OPEN,
    (CLOSED, Spared): CLOSED,
    # What still runs from before it opened may end in any way.
    (OPEN, Succeeded): HALF_OPEN,
    (OPEN, Stumbled): OPEN,
    (OPEN, Spared): OPEN,
    (OPEN, Rested): HALF_OPEN,
    (HALF_OPEN, Tried): TRYING,
    (HALF_OPEN, Succeeded): CLOSED,
    (HALF_OPEN, Broke): OPEN,
    (HALF_OPEN, Spared): HALF_OPEN,
    (TRYING, Succeeded): CLOSED,
    (TRYING, Broke): OPEN,
    (TRYING, Spared): HALF_OPEN,
}


class Limits(Struct, frozen=True, kw_only=True):
    """What a breaker goes by."""

    #: So many failures in a row open it.
    failures_max: int = 3
    #: The first time it stays open this long, then twice as long each time ...
    open_ms: int = 2 * SECOND_MS
    #: ... but no longer than this.
    open_ms_max: int = 2 * MINUTE_MS


class Breaker(Value, frozen=True):
    """How one node stands with one need. A move makes a new one."""

    phase: Phase = CLOSED
    #: Failures in a row while closed.
    failures: int = 0
    #: Openings since it last worked.
    openings: int = 0
    until: Instant = Instant(0)

    @property
    def barred(self) -> bool:
        """True while no job may go there."""
        return self.phase is OPEN or self.phase is TRYING

    @property
    def on_trial(self) -> bool:
        """True while it has yet to show that it works."""
        return self.phase is not CLOSED

    def tried(self) -> Breaker:
        """A job is sent there."""
        return self if self.phase is CLOSED else self._move(Tried())

    def succeeded(self) -> Breaker:
        """An attempt there ended well."""
        if self.phase is CLOSED and not self.failures:
            return self
        breaker = self._move(Succeeded())
        return Breaker() if breaker.phase is CLOSED else breaker

    def spared(self) -> Breaker:
        """An attempt there ended, and says nothing of the node."""
        return self if self.phase is CLOSED else self._move(Spared())

    def failed(self, now: Instant, limits: Limits) -> Breaker:
        """An attempt failed there."""
        if self.phase is OPEN:
            return self._move(Stumbled())
        if self.phase is CLOSED and self.failures + 1 < limits.failures_max:
            return replace(self._move(Stumbled()), failures=self.failures + 1)
        open_ms = min(limits.open_ms << min(self.openings, 32), limits.open_ms_max)
        return replace(self._move(Broke()), failures=0, openings=self.openings + 1, until=later(now, open_ms))

    def at(self, now: Instant) -> Breaker:
        """How it stands now: what was left alone for long enough may be tried."""
        return self._move(Rested()) if self.phase is OPEN and self.until <= now else self

    def _move(self, happening: Happening) -> Breaker:
        phase = MOVES.get((self.phase, type(happening)))
        if phase is None:
            raise IllegalMove(f"{type(happening).__name__} while a breaker is {self.phase.value}")
        return self if phase is self.phase else replace(self, phase=phase)
