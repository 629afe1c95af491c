"""Mosec: a Rust front and one Python worker process, joined by a unix socket."""

from __future__ import annotations

from benchmarks.peers.peer import PROGRAMS, Peer, Room, peers_python
from benchmarks.processes import Program


def start(room: Room) -> Peer:
    port = room.port()
    command = (
        *(peers_python("mosec"), str(PROGRAMS / "mosec_echo.py")),
        *("--address", "127.0.0.1", "--port", str(port)),
        *("--path", str(room.socket("mosec")), "--log-level", "warning"),
    )
    return Peer((Program(command),), f"127.0.0.1:{port}", "/inference")
