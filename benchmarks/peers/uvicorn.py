"""Bare uvicorn: one process, an ASGI function that echoes, over TCP or a unix socket.

The ceiling of any Python HTTP server of this shape, and a check on the load client.
"""

from __future__ import annotations

from benchmarks.peers.peer import Peer, Room, peers_python
from benchmarks.processes import Program

APP = "benchmarks.peers.programs.asgi_echo:app"
QUIET = (
    "--no-access-log",
    "--log-level",
    "warning",
    "--lifespan",
    "off",
    "--loop",
    "uvloop",
    "--http",
    "httptools",
)


def tcp(room: Room) -> Peer:
    port = room.port()
    command = (peers_python("uvicorn"), "-m", "uvicorn", APP, *QUIET, "--port", str(port))
    return Peer((Program(command),), f"127.0.0.1:{port}", "/echo")


def unix(room: Room) -> Peer:
    path = room.socket("echo.sock")
    command = (peers_python("uvicorn"), "-m", "uvicorn", APP, *QUIET, "--uds", str(path))
    return Peer((Program(command),), f"unix:{path}", "/echo")
