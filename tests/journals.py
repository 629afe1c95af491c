"""Journals as tests open, fill and read them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from shoal.runtime.journal import DEFAULT, Config, Journal
from shoal.units import Instant

NOW = Instant(1_000_000)
LATER = Instant(NOW + 60_000)

Fact = tuple[Instant, bytes]


class Desk:
    """A journal, what it reported, and the wish to wait for it."""

    def __init__(self, path: Path, config: Config = DEFAULT) -> None:
        self.durable: list[int] = []
        self.failures: list[BaseException] = []
        self._heard: asyncio.Future[None] | None = None
        self.journal = Journal(
            path, on_durable=self._on_durable, on_failure=self._on_failure, now=lambda: NOW, config=config
        )

    async def settle(self) -> None:
        """Wait until every fact is on disk, or the journal has failed."""
        while self.journal.durable < self.journal.appended and not self.failures:
            self._heard = asyncio.get_running_loop().create_future()
            await self._heard

    def _on_durable(self, number: int) -> None:
        self.durable.append(number)
        self._wake()

    def _on_failure(self, failure: BaseException) -> None:
        self.failures.append(failure)
        self._wake()

    def _wake(self) -> None:
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(None)


@contextmanager
def opened(path: Path, config: Config = DEFAULT) -> Iterator[Desk]:
    desk = Desk(path, config)
    with closing(desk.journal):
        yield desk


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is true of the writing thread, which has no event for it."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def replayed(path: Path) -> tuple[bytes | None, list[Fact]]:
    with opened(path) as desk:
        state, facts = desk.journal.replay()
        return state, list(facts)


def facts_of(count: int, start: int = 1) -> list[Fact]:
    return [(Instant(NOW + number), b"fact %d" % number) for number in range(start, start + count)]


def commit_rows(path: Path) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT first, count FROM commits ORDER BY first").fetchall()


async def write(path: Path, facts: list[Fact], config: Config = DEFAULT) -> None:
    """Write facts, each a commit of its own."""
    with opened(path, config) as desk:
        for at, fact in facts:
            desk.journal.append(at, fact)
            await desk.settle()


async def snapshot_between(path: Path, config: Config) -> None:
    with opened(path, config) as desk:
        for at, fact in facts_of(3):
            desk.journal.append(at, fact)
        desk.journal.snapshot(b"state of 3")
        for at, fact in facts_of(2, 4):
            desk.journal.append(at, fact)
        await desk.settle()
