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
    #: Requests that are served in one turn of the loop. What these cause is committed and sent in the next, and
    #: others work on it while the rest of a crowd is looked at.
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

    def flush(self) -> None:
        """Write out what has been said."""

    def leave(self) -> None:
        """Take no new request; end once the open ones are answered."""

    def abort(self) -> None:
        """End now."""


class Hall:
    """Where the connections of one server are."""

    def __init__(self, serve: Callable[[Request, Answer], None], limits: Limits) -> None:
        self._serve = serve
        self._asked: deque[tuple[Request, Answer]] = deque()
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

    def serve(self, request: Request, answer: Answer) -> None:
        """Have a request answered, in its turn."""
        if not self._asked:
            self._loop.call_soon(self._serve_some)
        self._asked.append((request, answer))

    def _serve_some(self) -> None:
        for _ in range(min(self.limits.served_at_once, len(self._asked))):
            self._serve(*self._asked.popleft())
        if self._asked:
            self._loop.call_soon(self._serve_some)

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
