"""The two processes of the fleet: an orchestrator alone, and a thousand workers in one process.

The workers are real machines with real keys and connections; only their runners are
missing, since nobody sends them a job. Prints `connected` once all of them are.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from shoal.machine import Connected, Disconnected, Effect, Event, Fact
from shoal.orchestrator.config import Settings
from shoal.orchestrator.service import serve
from shoal.runtime.keys import verify
from shoal.runtime.node import Address, Node
from shoal.units import Instant
from shoal.worker.config import Rules
from shoal.worker.machine import RunnerReady, WorkerMachine

#: Dialled together; an orchestrator bounds how many strangers may knock at once.
DIALLED_AT_ONCE = 32
CONNECT_S = 60.0
POLL_S = 0.05


class IdleWorker(WorkerMachine):
    """A worker that remembers whether it is connected."""

    connected = False

    def handle(self, event: Event, now: Instant) -> Sequence[Effect | Fact]:
        if isinstance(event, Connected | Disconnected):
            self.connected = isinstance(event, Connected)
        return super().handle(event, now)


def started(home: Path, address: Address) -> tuple[Node, IdleWorker]:
    home.mkdir()
    node = Node("worker", home, lambda key: IdleWorker(Rules(), node=key.id, verify=verify), unasked, durable=False)
    machine = node.host.machine
    assert isinstance(machine, IdleWorker)
    node.start()
    node.post(RunnerReady(("echo", "echo"), 1))
    node.dial([address])
    return node, machine


def unasked(effect: Effect) -> None:
    raise AssertionError(f"nobody sends these workers a job, and yet: {effect}")


async def workers(count: int, home: Path, address: Address) -> None:
    """Connect so many, say so, and stay until told to end."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    crew: list[tuple[Node, IdleWorker]] = []
    async with asyncio.timeout(CONNECT_S):
        while len(crew) < count or not all(machine.connected for _, machine in crew):
            knocking = sum(not machine.connected for _, machine in crew)
            more = range(len(crew), min(count, len(crew) + DIALLED_AT_ONCE - knocking))
            crew += [started(home / str(number), address) for number in more]
            await asyncio.sleep(POLL_S)
    print("connected", flush=True)
    await told.wait()


def main(role: str, home: Path, listen: str, count: int) -> None:
    # A thousand connections do not fit into the 1,024 open files that many systems grant at first.
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
    if role == "orchestrator":
        asyncio.run(serve(Settings(home=str(home), listen=listen, operator_addr="")))
    else:
        asyncio.run(workers(count, home, Address.parse(listen)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
