"""What a durable fact costs through Shoal's own journal: alone, and with others in the same commit.

Each writer appends one fact, waits until it is on disk, and appends the next. One
writer is therefore one fact a commit; many share whatever commit comes next.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.commits import ROW_BYTES
from benchmarks.report import table
from benchmarks.samples import RESULTS, append
from shoal.runtime.journal import Journal
from shoal.units import Instant

WRITERS = (1, 4, 16, 64, 256)


@dataclass(frozen=True, slots=True)
class Pace:
    """Facts made durable in one window."""

    facts: int
    commits: int
    seconds: float
    p50_us: float
    p99_us: float


@dataclass(slots=True)
class Waiting:
    """Writers in the order of their facts; a commit wakes those that it covers."""

    queue: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)
    commits: int = 0
    failure: BaseException | None = None

    def durable(self, number: int) -> None:
        self.commits += 1
        while self.queue and self.queue[0][0] <= number:
            self.queue.popleft()[1].set_result(None)

    def failed(self, failure: BaseException) -> None:
        self.failure = failure
        for _, written in self.queue:
            written.set_exception(failure)
        self.queue.clear()


def measure_journal(run: str, *, seconds: float, rounds: int) -> str:
    """Every number of writers in every round, forwards and backwards; a markdown table."""
    paces: dict[int, list[Pace]] = {writers: [] for writers in WRITERS}
    RESULTS.mkdir(exist_ok=True)
    for round_ in range(rounds):
        for writers in WRITERS if round_ % 2 == 0 else reversed(WRITERS):
            with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
                pace = asyncio.run(
                    write_for(seconds / len(WRITERS), writers, Path(folder) / "journal.sqlite3")
                )
            paces[writers].append(pace)
            append("commits", [{"run": run, "round": round_, "journal_writers": writers, **asdict(pace)}])
    head = ("Shoal's journal", "facts/s", "facts a commit", "p50 of a fact ms", "p99 ms")
    return table(head, [row_of(writers, paces[writers]) for writers in WRITERS])


def row_of(writers: int, paces: list[Pace]) -> list[str]:
    return [
        f"{writers} at a time",
        f"{median(pace.facts / pace.seconds for pace in paces):,.0f}",
        f"{median(pace.facts / pace.commits for pace in paces):.1f}",
        f"{median(pace.p50_us for pace in paces) / 1e3:.2f}",
        f"{median(pace.p99_us for pace in paces) / 1e3:.2f}",
    ]


async def write_for(seconds: float, writers: int, path: Path) -> Pace:
    """So many writers until the time is up; then every fact must be there."""
    waiting = Waiting()
    journal = Journal(path, on_durable=waiting.durable, on_failure=waiting.failed, now=now_ms)
    took_ns: list[int] = []
    began = time.perf_counter_ns()

    async def write() -> None:
        loop = asyncio.get_running_loop()
        while (sent := time.perf_counter_ns()) - began < seconds * 1e9:
            written: asyncio.Future[None] = loop.create_future()
            waiting.queue.append((journal.append(now_ms(), b"\x5a" * ROW_BYTES), written))
            await written
            took_ns.append(time.perf_counter_ns() - sent)

    await asyncio.gather(*(write() for _ in range(writers)))
    wall_s = (time.perf_counter_ns() - began) / 1e9
    kept = sum(1 for _ in journal.replay()[1])
    journal.close()
    if kept != len(took_ns):
        raise RuntimeError(f"{len(took_ns)} facts were said to be durable, {kept} are")
    took_ns.sort()
    p99_us = took_ns[int(0.99 * len(took_ns))] / 1e3
    return Pace(len(took_ns), waiting.commits, wall_s, median(took_ns) / 1e3, p99_us)


def now_ms() -> Instant:
    return Instant(time.monotonic_ns() // 1_000_000)
