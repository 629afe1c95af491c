"""Shoal's whole path, each role a process of its own; every job is journaled before it is sent."""

from __future__ import annotations

import sys

from benchmarks.peers.peer import Peer, Room
from benchmarks.processes import Program

SLOTS = 128
#: Every client of the race is one tenant to the gateway: none of its jobs is turned away for the others.
QUEUE_JOBS = 256
BODY = '{"text": "the quick brown fox jumps over the lazy dog {serial}"}'


def start(room: Room) -> Peer:
    programs, address = network(room, "echo", "echo", slots=SLOTS)
    return Peer(programs, address, "/echo", body=BODY, echoed=False)


def network(
    room: Room, pipeline: str, model: str, *, slots: int, threads: int = 1
) -> tuple[tuple[Program, ...], str]:
    """The programs of a network with one runner, and the address of its gateway."""
    gateway, orchestrator = room.port(), room.port()
    home = room.folder
    (home / "worker.toml").write_text(
        f'home = "{home}/worker"\norchestrators = ["127.0.0.1:{orchestrator}"]\n'
        f'[[runners]]\npipeline = "{pipeline}"\nmodel = "{model}"\nslots = {slots}\nthreads = {threads}\n'
    )
    programs = (
        _role(
            "orchestrator",
            "--home",
            f"{home}/orchestrator",
            "--listen",
            f"127.0.0.1:{orchestrator}",
            "--operator-addr",
            "",
        ),
        _role("worker", "--config", f"{home}/worker.toml"),
        _role(
            *("gateway", "--home", f"{home}/gateway", "--http-addr", f"127.0.0.1:{gateway}"),
            *("--orchestrators", f"127.0.0.1:{orchestrator}"),
            *("--rules-queue-jobs-per-client-max", str(QUEUE_JOBS)),
        ),
    )
    return programs, f"127.0.0.1:{gateway}"


def _role(*arguments: str) -> Program:
    # By the environment, which a version that does not know of such a door does not mind: two may run at once.
    doorless = {"SHOAL_GATEWAY_OPERATOR_ADDR": ""}
    return Program((sys.executable, "-m", "shoal.cli.main", *arguments), doorless)
