"""What a durable row costs: SQLite in WAL mode, one row a commit against many.

The bare store, without Shoal: the bound that a journal can come near to and never
beat. Rows are written beside the results, on the disk that the repository is on.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.report import machine, table
from benchmarks.samples import RESULTS, append

#: About what a journalled fact of a small job takes.
ROW_BYTES = 400
GROUPS = (1, 4, 16, 64, 256)
SYNCHRONOUS = ("FULL", "NORMAL")


@dataclass(frozen=True, slots=True)
class Setting:
    synchronous: str
    rows_a_commit: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Commits made in one window."""

    commits: int
    seconds: float
    p50_us: float
    p99_us: float


def measure_commits(run: str, *, seconds: float, rounds: int) -> str:
    """Every setting in every round, forwards and backwards; a markdown table."""
    settings = [Setting(mode, group) for mode in SYNCHRONOUS for group in GROUPS]
    paces: dict[Setting, list[Pace]] = {setting: [] for setting in settings}
    RESULTS.mkdir(exist_ok=True)
    for round_ in range(rounds):
        for setting in settings if round_ % 2 == 0 else reversed(settings):
            with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
                pace = commit_for(seconds / len(settings), setting, Path(folder) / "rows.sqlite3")
            paces[setting].append(pace)
            append("commits", [{"run": run, "round": round_, **asdict(setting), **asdict(pace)}])
    head = ("commits", "rows/s", "p50 of a commit ms", "p99 ms")
    rows = [row_of(setting, paces[setting]) for setting in settings]
    return f"{run}: {rounds} rounds, rows of {ROW_BYTES} bytes; {machine()}.\n\n{table(head, rows)}"


def row_of(setting: Setting, paces: list[Pace]) -> list[str]:
    return [
        f"{setting.synchronous}, {setting.rows_a_commit} a commit",
        f"{median(pace.commits * setting.rows_a_commit / pace.seconds for pace in paces):,.0f}",
        f"{median(pace.p50_us for pace in paces) / 1e3:.2f}",
        f"{median(pace.p99_us for pace in paces) / 1e3:.2f}",
    ]


def commit_for(seconds: float, setting: Setting, path: Path) -> Pace:
    """Insert and commit without a pause until the time is up."""
    store = sqlite3.connect(path, isolation_level=None)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute(f"PRAGMA synchronous={setting.synchronous}")
    store.execute("CREATE TABLE fact (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
    rows = [(b"\x5a" * ROW_BYTES,)] * setting.rows_a_commit
    took_ns: list[int] = []
    began = time.perf_counter_ns()
    while (now := time.perf_counter_ns()) - began < seconds * 1e9:
        store.execute("BEGIN")
        store.executemany("INSERT INTO fact (body) VALUES (?)", rows)
        store.execute("COMMIT")
        took_ns.append(time.perf_counter_ns() - now)
    wall_s = (time.perf_counter_ns() - began) / 1e9
    kept = store.execute("SELECT count(*) FROM fact").fetchone()[0]
    store.close()
    if kept != len(took_ns) * setting.rows_a_commit:
        raise RuntimeError(f"{len(took_ns)} commits of {setting.rows_a_commit} rows left {kept} rows")
    took_ns.sort()
    return Pace(len(took_ns), wall_s, median(took_ns) / 1e3, took_ns[int(0.99 * len(took_ns))] / 1e3)
