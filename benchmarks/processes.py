"""Groups of processes: started together, their CPU and memory added up, ended together.

A crew is known by a mark in its environment and by descent, so that daemons of
daemons are counted too. Only what a crew started is ever ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MARK = "BENCHMARK_CREW"
STOP_S = 15.0
POLL_S = 0.05
LOG_TAIL_BYTES = 1_500
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: The parent of every thread of the kernel.
KTHREADD = 2
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

#: Nanoseconds on a processor by (process, thread).
Usage = dict[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class Program:
    """One process to start."""

    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Crew:
    """Processes that belong together, with everything they started."""

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    leaders: list[subprocess.Popen[bytes]] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)

    def start(self, program: Program) -> None:
        env = {**os.environ, **program.env, MARK: self.mark}
        with self.log.open("ab") as log:
            leader = subprocess.Popen(
                list(program.command),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.leaders.append(leader)

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def fallen(self) -> str:
        """Why the crew cannot go on: a leader has ended by itself. Empty while all live."""
        for leader in self.leaders:
            if leader.poll() is not None:
                return f"{leader.args!r} ended with {leader.returncode}:\n{self.log_tail()}"
        return ""

    def log_tail(self) -> str:
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def pids(self) -> list[int]:
        """Every live process of the crew. One that was seen once stays, even if its parents have gone."""
        parents, births = family()
        self.seen = {pid: birth for pid, birth in self.seen.items() if births.get(pid) == birth}
        members = set(self.seen) | {leader.pid for leader in self.leaders}
        members |= {pid for pid in parents if marked(pid, self.mark)}
        while joining := {pid for pid, parent in parents.items() if parent in members} - members:
            members |= joining
        self.seen = {pid: births[pid] for pid in members if pid in births}
        return sorted(self.seen)

    def stop(self) -> None:
        """Ask the leaders to end, wait, then kill whatever of the crew is left."""
        self.pids()
        for leader in self.leaders:
            if leader.poll() is None:
                leader.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for leader in self.leaders:
            with contextlib.suppress(subprocess.TimeoutExpired):
                leader.wait(max(0.0, deadline - time.monotonic()))
        while (left := self.pids()) and time.monotonic() < deadline + STOP_S:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_S)
        for leader in self.leaders:
            with contextlib.suppress(subprocess.TimeoutExpired):
                leader.wait(POLL_S)


def family() -> tuple[dict[int, int], dict[int, int]]:
    """The parent of every live process, and when each was born (in ticks since boot); zombies left out."""
    parents: dict[int, int] = {}
    births: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The name in parentheses may itself hold spaces and parentheses.
            after_name = (process / "stat").read_text().rpartition(")")[2].split()
            if after_name[0] != "Z":
                parents[int(process.name)] = int(after_name[1])
                births[int(process.name)] = int(after_name[19])
    return parents, births


def marked(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def usage(pids: Sequence[int]) -> Usage:
    """Processor time so far of every thread of these processes."""
    found: Usage = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    found[pid, int(thread.name)] = int((thread / "schedstat").read_text().split()[0])
    return found


def used_ns(before: Usage, after: Usage) -> int:
    """Processor time between two looks; a thread born between them counts from its birth."""
    return sum(ns - before.get(thread, 0) for thread, ns in after.items())


def machine_busy_ns() -> int:
    """Processor time of the whole machine that was not idle, time stolen by its host included.

    Counted at clock ticks: it misses whoever sleeps at each tick, and so may be too low.
    """
    line = Path("/proc/stat").read_text().split("\n", 1)[0]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK_NS


def everybody() -> tuple[list[int], list[int]]:
    """All processes: those of users, and the kernel's own threads, which work for whoever writes or sends."""
    parents, _ = family()
    kernel = {KTHREADD} | {pid for pid, parent in parents.items() if parent == KTHREADD}
    return sorted(set(parents) - kernel), sorted(kernel)


def rss_bytes(pids: Sequence[int]) -> int:
    """Resident memory added up; pages shared between processes count once for each."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    return total


def pss_bytes(pids: Sequence[int]) -> int:
    """Resident memory added up, every shared page divided among those that share it."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total
