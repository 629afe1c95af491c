"""What a thousand idle workers cost their orchestrator: memory for each, and processor for their heartbeats."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.look import Look
from benchmarks.peers.peer import Room
from benchmarks.processes import Crew, Program, pss_bytes
from benchmarks.report import machine, table
from benchmarks.samples import append

START_S = 2.0
CONNECT_S = 90.0
#: Longer than two heartbeats.
REST_S = 11.0
POLL_S = 0.2
KIB = 1024


def measure_fleet(run: str, *, workers: int, seconds: float) -> str:
    """Watch an orchestrator alone, then with its workers; a markdown table."""
    with tempfile.TemporaryDirectory(prefix="fleet-", ignore_cleanup_errors=True) as folder:
        room = Room(Path(folder))
        record = watch(room, workers, seconds)
    append("fleet", [{"run": run, **record}])
    head = ("fleet", "connected s", "orchestrator PSS MiB", "KiB a worker", "CPU ms/s", "strangers, cores")
    row = [
        f"{workers} idle workers",
        f"{record['connected_s']:.1f}",
        f"{record['pss_bytes'] / KIB / KIB:.0f}",
        f"{(record['pss_bytes'] - record['alone_pss_bytes']) / workers / KIB:.0f}",
        f"{record['cpu_ms_s']:.1f}",
        f"{record['foreign_cores']:.2f}",
    ]
    return f"{run}: watched for {seconds} s; {machine()}.\n\n{table(head, [row])}"


def watch(room: Room, workers: int, seconds: float) -> dict[str, float]:
    listen = f"127.0.0.1:{room.port()}"
    orchestrator, fleet = crew_in(room, "orchestrator"), crew_in(room, "workers")
    try:
        orchestrator.start(program("orchestrator", orchestrator.folder, listen, workers))
        time.sleep(START_S)
        alone = pss_bytes(orchestrator.pids())
        began = time.monotonic()
        fleet.start(program("workers", fleet.folder, listen, workers))
        await_connected(orchestrator, fleet)
        connected_s = time.monotonic() - began
        time.sleep(REST_S)
        before = Look.now()
        time.sleep(seconds)
        ours = [os.getpid(), *fleet.pids()]
        used = Look.now().since(before, crew=orchestrator.pids(), ours=ours)
        if fallen := orchestrator.fallen() or fleet.fallen():
            raise RuntimeError(fallen)
        return {
            "workers": workers,
            "seconds": seconds,
            "connected_s": connected_s,
            "alone_pss_bytes": alone,
            "pss_bytes": pss_bytes(orchestrator.pids()),
            "cpu_ms_s": used.crew_ns / used.wall_ns * 1e3,
            "foreign_cores": used.foreign_ns / used.wall_ns,
        }
    finally:
        fleet.stop()
        orchestrator.stop()


def crew_in(room: Room, name: str) -> Crew:
    folder = room.folder / name
    folder.mkdir()
    return Crew(folder)


def program(role: str, home: Path, listen: str, workers: int) -> Program:
    module = "benchmarks.fleet_programs"
    return Program((sys.executable, "-m", module, role, str(home), listen, str(workers)))


def await_connected(orchestrator: Crew, fleet: Crew) -> None:
    deadline = time.monotonic() + CONNECT_S
    while b"connected" not in fleet.log.read_bytes().splitlines():
        if fallen := orchestrator.fallen() or fleet.fallen():
            raise RuntimeError(fallen)
        if time.monotonic() > deadline:
            raise RuntimeError(f"the workers did not all connect within {CONNECT_S} s:\n{fleet.log_tail()}")
        time.sleep(POLL_S)
