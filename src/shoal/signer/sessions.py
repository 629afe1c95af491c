"""Live payments that go on: each state is good once, so that nobody goes back to an earlier one."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from shoal.errors import Busy, Refused
from shoal.signer.rules import Rules
from shoal.units import Instant, later


class Session(Struct, frozen=True, array_like=True, gc=False):
    """The last state that was handed out under one id, and when."""

    id: str
    sequence: int
    at: Instant


class Sessions:
    """The last state of each."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        #: Who was handed a state longest ago comes first.
        self._last: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._last)

    def require(self, session: str, sequence: int, now: Instant) -> None:
        """Raise `Refused` unless this is the last state under its id."""
        last = self._last.get(session)
        if last is None or self._over(last, now):
            raise Refused("invalid state: it is too old; begin again without one")
        if last.sequence != sequence:
            raise Refused("invalid state: a later one was handed out; go on from that, or begin without one")

    def require_room(self, now: Instant) -> None:
        """Raise `Busy` if nobody new can be remembered."""
        if len(self._last) >= self._rules.states_max:
            oldest = next(iter(self._last.values()))
            if not self._over(oldest, now):
                raise Busy(f"{len(self._last)} live payments go on here, and no more may; try again later")

    def take(self, session: str, sequence: int, now: Instant) -> None:
        """This state is handed out: none before it is good any more."""
        for old in list(self._last.values()):
            if not self._over(old, now):
                break
            del self._last[old.id]
        self._last.pop(session, None)
        self._last[session] = Session(session, sequence, now)

    def dump(self) -> tuple[Session, ...]:
        """For a snapshot."""
        return tuple(self._last.values())

    def load(self, sessions: Iterable[Session]) -> None:
        """Take what a snapshot says."""
        self._last = {session.id: session for session in sessions}

    def _over(self, session: Session, now: Instant) -> bool:
        return later(session.at, self._rules.state_keep_ms) <= now
