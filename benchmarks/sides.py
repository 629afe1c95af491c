"""Networks that are compared while all of them run: each a side, asked in turns by the same client.

Processor time is that of each process. What the sides that are not asked take meanwhile is no stranger's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.look import Look
from benchmarks.peers.peer import REPOSITORY
from benchmarks.peers.shoal import BODY
from benchmarks.processes import Crew, Program, Usage, usage, used_ns
from benchmarks.race import expect
from benchmarks.samples import FOREIGN_CORES_MAX

READY_S = 60.0
POLL_S = 0.1
WARM_S = 0.3


class Side:
    """The processes of one network by name. Leaving ends every one of them."""

    def __init__(self, address: str, homes: Mapping[str, Path]) -> None:
        self.address = address
        self.crews = {name: Crew(home) for name, home in homes.items()}
        self._pids: dict[str, list[int]] = {}

    def __exit__(self, *_: object) -> None:
        for crew in reversed(self.crews.values()):
            crew.stop()

    def start(self, name: str, program: Program) -> None:
        """Start one of them."""
        self.crews[name].start(program)

    def wait_until(self, lacking: Callable[[], str]) -> None:
        """Wait until nothing is lacking; raise what is if one of them ends, or it takes too long."""
        until = time.monotonic() + READY_S
        while lacks := lacking():
            for crew in self.crews.values():
                if fallen := crew.fallen():
                    raise RuntimeError(fallen)
            if time.monotonic() > until:
                raise RuntimeError(f"not ready within {READY_S} s: {lacks}")
            time.sleep(POLL_S)

    def is_ready(self) -> None:
        """From now on its processes are those that live now."""
        self._pids = {name: crew.pids() for name, crew in self.crews.items()}

    def pids(self) -> list[int]:
        """All its processes, as they were once it was ready."""
        return [pid for pids in self._pids.values() for pid in pids]

    def used(self) -> dict[str, Usage]:
        """Processor time so far, by name; a worker's runner is its own."""
        return {name: usage(pids) for name, pids in self._pids.items()}


@dataclass(frozen=True, slots=True)
class Window:
    """What one side did for so many clients in one window."""

    run: str
    round: int
    side: str
    clients: int
    answered: int
    errors: int
    examples: list[str]
    jobs_s: float
    p50_ms: float
    p99_ms: float
    #: Microseconds of processor a job, by process.
    cpu_us: dict[str, float]
    client_us: float
    #: What neither the sides nor the measuring used, in cores.
    foreign_cores: float

    @property
    def quiet(self) -> bool:
        """True if strangers left the machine to us."""
        return self.foreign_cores <= FOREIGN_CORES_MAX

    @property
    def all_cpu_us(self) -> float:
        """Microseconds of processor a job, of all processes together."""
        return sum(self.cpu_us.values())


def window(sides: Mapping[str, Side], run: str, round_: int, name: str, clients: int, s: float) -> Window:
    """Let the client ask one side for so long; add up who used the processors meanwhile."""
    side = sides[name]
    others = [pid for other in sides.values() if other is not side for pid in other.pids()]
    with subprocess.Popen(_load_command(side, clients, s), stdout=subprocess.PIPE, cwd=REPOSITORY) as load:
        assert load.stdout is not None
        expect(load.stdout.readline(), b"begin\n")
        look, before = Look.now(), side.used()
        expect(load.stdout.readline(), b"end\n")
        after = side.used()
        used = Look.now().since(look, crew=side.pids(), ours=[load.pid, os.getpid(), *others])
        tally = json.loads(load.stdout.readline())
    jobs = max(1, tally["answered"])
    return Window(
        run=run,
        round=round_,
        side=name,
        clients=clients,
        answered=tally["answered"],
        errors=tally["errors"],
        examples=tally["examples"],
        jobs_s=tally["answered"] / tally["seconds"],
        p50_ms=tally["p50_us"] / 1e3,
        p99_ms=tally["p99_us"] / 1e3,
        cpu_us={process: ns / jobs / 1e3 for process, ns in used_by(before, after).items()},
        client_us=tally["cpu_us"] / jobs,
        foreign_cores=used.foreign_ns / used.wall_ns,
    )


def used_by(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, int]:
    """Processor time of each process between two looks."""
    return {name: used_ns(before[name], seen) for name, seen in after.items()}


def processes_of(windows: Iterable[Window]) -> list[str]:
    """The names of all processes that were seen, in their order."""
    return list(dict.fromkeys(name for each in windows for name in each.cpu_us))


def _load_command(side: Side, clients: int, s: float) -> Sequence[str]:
    command = [sys.executable, "-m", "benchmarks.load", "--to", side.address, "--path", "/echo"]
    command += ["--body", BODY, "--contains"]
    return [*command, "--clients", str(clients), "--seconds", str(s), "--warm-s", str(WARM_S)]
