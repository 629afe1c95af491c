"""Our HTTP door alone: one process, a table of routes, a handler that echoes, and nothing behind it.

What a gateway's HTTP side costs; the rest of a job is what the street does.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from benchmarks.peers.peer import Peer, Room
from benchmarks.processes import Program
from shoal.runtime.door import Door, Reply, Request
from shoal.runtime.http import Server, bind

BODY_BYTES_MAX = 1_000_000


def start(room: Room) -> Peer:
    port = room.port()
    command = (sys.executable, "-m", "benchmarks.peers.door", str(port))
    return Peer((Program(command),), f"127.0.0.1:{port}", "/echo")


async def echo(request: Request) -> Reply:
    return Reply(await request.body(BODY_BYTES_MAX))


async def serve(port: int) -> None:
    await Server(Door({"POST /echo": echo}), bind("127.0.0.1", port)).open()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
