"""One process of the network: its key, its journal, its peers, and the host of its machine.

Every role starts here. It ends when it is told to, or at once when its journal
fails: what cannot be written down must not be acted on.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random, SystemRandom
from secrets import token_hex
from typing import Any

from msgspec import Struct

from shoal.errors import Broken, Refused, ShoalError
from shoal.ids import Digest, NodeId
from shoal.machine import Effect, Event, Machine
from shoal.money.address import address_of
from shoal.runtime import host as hosting
from shoal.runtime.clock import SystemClock
from shoal.runtime.journal import Journal
from shoal.runtime.keys import NodeKey
from shoal.runtime.sidebook import SideBook
from shoal.runtime.transport import Peers
from shoal.units import Instant
from shoal.wire.words import Word

log = logging.getLogger("shoal")

#: How soon a thread that waits for the interpreter gets it. The journal's thread needs it a few times in
#: each commit, and every job waits for that; Python's own 5 ms would be the larger part of a job's time.
SWITCH_S = 0.0005
#: Rings of objects are looked for after so many new ones. Almost nothing here holds itself: with Python's own 700
#: the looking was a thirtieth of a gateway's work. With four times as many it takes 8 ms, and every job waits for it.
NEW_OBJECTS = 5_000


class Address(Struct, frozen=True):
    """Where a peer listens and, if it is pinned, who must answer there."""

    host: str
    port: int
    node: NodeId | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `host:port` or `host:port#0xnode`. Raises `Refused` if it is neither."""
        place, _, node = text.partition("#")
        host, colon, port = place.rpartition(":")
        if not colon or not port.isdigit() or int(port) >= 65_536:
            raise Refused(f"{text!r} is no address; write host:port or host:port#0xnode")
        return cls(host.strip("[]") or "127.0.0.1", int(port), address_of(node) if node else None)


class VolatileJournal:
    """The journal of a role that keeps none: everything is as durable as it will ever be."""

    def __init__(self) -> None:
        self.durable = 0
        self.on_durable: Callable[[int], None] = lambda number: None
        self.on_failure: Callable[[BaseException], None] = lambda failure: None

    def append(self, at: Instant, fact: bytes) -> int:
        """Forget a fact."""
        self.durable += 1
        return self.durable

    def keep(self, name: Digest, body: bytes, expires: Instant) -> None:
        """Forget a body."""

    def replay(self) -> tuple[bytes | None, Iterator[tuple[Instant, bytes]]]:
        """Nothing is remembered."""
        return None, iter(())

    def snapshot(self, state: bytes) -> None:
        """Forget a snapshot."""

    def body(self, name: Digest) -> bytes | None:
        """Nothing is remembered."""
        return None

    def close(self) -> None:
        """There is nothing to close."""


class Node:
    """A running machine with everything it stands on. Make it where the loop runs."""

    def __init__(
        self,
        role: str,
        home: Path,
        build: Callable[[NodeKey], Machine[Any]],
        perform: Callable[[Effect], None],
        *,
        admitted: Callable[[NodeId, str], bool] | None = None,
        complete: Callable[[Word], Word] | None = None,
        durable: bool = True,
        awaited: bool = True,
    ) -> None:
        """`home` is the role's own folder. `admitted` says who may connect; without it, all on this computer.

        Nothing waits for a journal that is not `awaited`: what must not be lost must not be in it.
        """
        sys.setswitchinterval(SWITCH_S)
        gc.set_threshold(NEW_OBJECTS)
        self.home = home
        self.key = NodeKey.load_or_create(home / "key")
        self.clock = SystemClock()
        self._loop = asyncio.get_running_loop()
        self._posted: deque[Event] = deque()
        self.failed: asyncio.Future[BaseException] = self._loop.create_future()
        self.journal = self._open_journal() if durable else VolatileJournal()
        waited_for = self.journal if awaited else SideBook(self.journal)
        self.peers = Peers(
            self.key, role, token_hex(8), self.post_soon, rng=Random(SystemRandom().random()), admit=admitted
        )
        self.host = hosting.Host(
            build(self.key),
            clock=self.clock,
            journal=waited_for,
            transport=self.peers,
            perform=perform,
            alarm=log.error,
            complete=complete,
            rules=hosting.Rules(outbox_lasts=durable and awaited),
        )

    def start(self) -> None:
        """Replay what was journaled and go on from there."""
        self.host.start()

    def dial(self, addresses: Sequence[Address]) -> None:
        """Keep a connection to each of these."""
        for address in addresses:
            self.peers.dial(address.host, address.port, address.node)

    def post(self, event: Event) -> None:
        """Hand an event to the machine now."""
        self.host.post(event)

    def post_soon(self, event: Event) -> None:
        """Hand an event to the machine when the loop is back: safe from anywhere in its thread."""
        if not self._posted:
            self._loop.call_soon(self._post_all)
        self._posted.append(event)

    def _post_all(self) -> None:
        try:
            while self._posted:
                self.host.post(self._posted.popleft())
        finally:  # what one event breaks must not hold up the others
            if self._posted:
                self._loop.call_soon(self._post_all)
        self.peers.flush()  # before this turn waits for the disk

    async def durable(self) -> None:
        """Wait until everything that has happened so far is on disk."""
        done = asyncio.Event()
        self.host.when_durable(done.set)
        await done.wait()

    async def close(self) -> None:
        """Take leave of the peers, and leave behind a journal that is quick to replay."""
        await self.peers.close()
        if not self.failed.done():
            self.host.snapshot()
        self.host.stop()
        self.journal.close()

    def _open_journal(self) -> Journal:
        return Journal(
            self.home / "journal.sqlite3",
            on_durable=lambda number: None,
            on_failure=self._fail,
            now=self.clock.now,
        )

    def _fail(self, failure: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_result(failure)


def heed_signals() -> asyncio.Event:
    """Set by SIGTERM or SIGINT, from now on: before there is anything that dying at once would leave behind."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return told


async def until_told_to_stop(node: Node, told: asyncio.Event) -> None:
    """Return once `told`. Raises what ended the journal, if that comes first."""
    node.failed.add_done_callback(lambda _: told.set())
    await told.wait()
    if node.failed.done():
        failure = node.failed.result()
        if isinstance(failure, ShoalError):
            raise failure
        raise Broken(f"the journal of {node.home} cannot be written, so this process ends: {failure}")
