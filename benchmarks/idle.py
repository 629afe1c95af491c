"""What a system costs while nobody asks it anything: time to ready, memory, processor.

Each peer is started alone, answers once, rests, and is then watched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from benchmarks.look import Look
from benchmarks.peers.peer import Skipped, Start
from benchmarks.processes import pss_bytes, rss_bytes
from benchmarks.race import Visit
from benchmarks.report import machine, table
from benchmarks.samples import append

#: After the first answer: caches fill and start-up threads end.
REST_S = 3.0
MIB = 1024 * 1024


def measure_idle(run: str, peers: Mapping[str, Start], *, seconds: float, say: Callable[[str], None]) -> str:
    """Watch every peer for so long; a markdown table."""
    rows, skipped = [], []
    for name, start in peers.items():
        say(f"idle: {name}")
        try:
            record = watch(start, seconds)
        except Skipped as reason:
            skipped.append(f"Skipped: **{name}**: {str(reason).splitlines()[0]}")
            continue
        append("idle", [{"run": run, "peer": name, **record}])
        rows.append(
            [
                name,
                f"{record['processes']:.0f}",
                f"{record['ready_s']:.1f}",
                f"{record['pss_mib']:,.0f}",
                f"{record['rss_mib']:,.0f}",
                f"{record['cpu_ms_s']:.1f}",
                f"{record['foreign_cores']:.2f}",
            ]
        )
    head = ("idle", "processes", "ready s", "PSS MiB", "RSS MiB", "CPU ms/s", "strangers, cores")
    return "\n\n".join([f"{run}: watched for {seconds} s; {machine()}.", table(head, rows), *skipped])


def watch(start: Start, seconds: float) -> dict[str, float]:
    with Visit(start) as visit:
        time.sleep(REST_S)
        before = Look.now()
        time.sleep(seconds)
        crew = visit.crew.pids()
        used = Look.now().since(before, crew=crew, ours=[os.getpid()])
        return {
            "seconds": seconds,
            "processes": len(crew),
            "ready_s": visit.ready_s,
            "pss_mib": pss_bytes(crew) / MIB,
            "rss_mib": rss_bytes(crew) / MIB,
            "cpu_ms_s": used.crew_ns / used.wall_ns * 1e3,
            "foreign_cores": used.foreign_ns / used.wall_ns,
        }
