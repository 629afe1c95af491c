"""What all connections of a server share: who is here, how much of everything, and when their words leave."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from shoal.runtime.body import Intake
from shoal.runtime.door import Answer, Request
from shoal.units import KIB, MIB


class Reading(StrEnum):
    """What the connection is in the middle of."""

    BETWEEN = "between two requests"
    HEAD = "in a request's head"
    BODY = "in a request's body"
    LAST = "beyond its last request: what still comes is dropped, so that its sender gets to read the answer"


class Sending(StrEnum):
    """Beside those of reading: what else may be up to the client."""

    STUCK = "in the middle of an answer, of which the client takes nothing"


#: By their own names, because an enum is slow to ask for its members.
BETWEEN, HEAD, BODY, LAST = Reading
(STUCK,) = Sending


class Limits(Struct, frozen=True):
    """What a connection goes by."""

    connections: int = 10_000
    #: Requests that a client may send before it has the answer of the first.
    waiting: int = 256
    #: Callers whose requests are begun with in one turn of the loop: what follows from these is committed and sent
    #: before the rest of a crowd is looked at, so that others work on it meanwhile.
    served_at_once: int = 16
    head_bytes: int = 64 * KIB
    #: How long may pass before the next request; until a head is whole; for so much more of a body that is waited
    #: for; until more comes of what is dropped; without a client taking any of what is sent to it.
    between_s: float = 75
    head_s: float = 20
    body_s: float = 30
    body_progress_bytes: int = 16 * KIB
    last_s: float = 2
    stuck_s: float = 60
    dropped_bytes: int = 128 * MIB


class Guest(Protocol):
    """One connection."""

    def begin(self) -> None:
        """Have the next request served, if there is one and nothing before it is open."""

    def flush(self) -> None:
        """Write out what has been said."""

    def leave(self) -> None:
        """Take no new request; end once the open ones are answered."""

    def abort(self) -> None:
        """End now."""


class Hall:
    """Where the connections of one server are."""

    def __init__(self, serve: Callable[[Request, Answer], None], limits: Limits) -> None:
        self.serve = serve
        self.limits = limits
        self.intake = Intake()
        self._here: set[Guest] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.patience_s: dict[Reading | Sending, float] = {
            BETWEEN: limits.between_s,
            HEAD: limits.head_s,
            BODY: limits.body_s,
            LAST: limits.last_s,
            STUCK: limits.stuck_s,
        }
        self._loop = asyncio.get_running_loop()
        self._speaking: list[Guest] = []
        self._begun = 0
        self._crowd: deque[Guest] = deque()

    def enter(self, caller: Guest) -> bool:
        """A client is here; False if there is no room for it."""
        self._here.add(caller)
        self._empty.clear()
        return len(self._here) <= self.limits.connections

    def exit(self, caller: Guest) -> None:
        """It is gone."""
        self._here.discard(caller)
        if not self._here:
            self._empty.set()

    async def clear(self, drain_s: float) -> None:
        """Let everybody leave who has been answered, for so long; then let nobody stay."""
        for caller in tuple(self._here):
            caller.leave()
        try:
            async with asyncio.timeout(drain_s):
                await self._empty.wait()
        except TimeoutError:
            for caller in tuple(self._here):
                caller.abort()
            await self._empty.wait()

    def begin_soon(self, caller: Guest) -> None:
        """Let this caller's next request be served: now, or after those who are before it in a crowd."""
        if self._begun >= self.limits.served_at_once:
            self._crowd.append(caller)
            return
        caller.begin()
        self._begun += 1
        if (
            self._begun == 1
        ):  # not before it has begun: what that asked of the loop comes before the next turn
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._begun = 0
        for _ in range(min(len(self._crowd), self.limits.served_at_once)):
            self.begin_soon(self._crowd.popleft())

    def flush_soon(self, caller: Guest) -> None:
        """Let this caller's words out at the end of this turn, with those of all others.

        Woken by the first of them, a client's process stays awake for the rest; one by one they cost it, and
        us, half as much again.
        """
        if not self._speaking:
            self._loop.call_soon(self._flush)
        self._speaking.append(caller)

    def _flush(self) -> None:
        callers, self._speaking = self._speaking, []
        for caller in callers:
            caller.flush()
