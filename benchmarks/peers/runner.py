"""Our echo runner asked directly on its unix socket: what the rest of the street costs is the difference."""

from __future__ import annotations

import importlib.util
import sys

from benchmarks.peers.peer import Peer, Room, Skipped
from benchmarks.processes import Program

MODULE = "shoal.worker.pipelines.echo"
SLOTS = 64


def start(room: Room) -> Peer:
    if not importable(MODULE):
        raise Skipped(f"{MODULE} cannot be imported by {sys.executable}")
    path = room.socket("runner.sock")
    command = (
        *(sys.executable, "-m", MODULE, "--socket", str(path)),
        *("--model-dir", str(room.folder), "--model-id", "echo"),
        *("--threads", "1", "--slots", str(SLOTS)),
    )
    return Peer((Program(command),), f"unix:{path}", "/echo")


def importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
