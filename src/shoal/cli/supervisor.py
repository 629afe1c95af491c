"""Processes that are kept running: one that ends is said to have ended, and started again.

Each has a session of its own, so that Ctrl-C reaches only us; we tell the others. What they say goes to a
log of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from shoal.cli.claim import holder
from shoal.cli.network import Network, Node
from shoal.cli.parent import on_end_of
from shoal.errors import Failed

#: Told to stop, a process has this long until it is ended.
STOP_S = 10.0
STOP_ORDER = ("worker", "orchestrator", "gateway", "redeemer", "chain")
#: One that ended is started again after this long, and twice that if it ends at once again, up to the most.
PAUSE_FIRST_S = 0.2
PAUSE_MAX_S = 5.0
#: A process that lived this long had started well.
WELL_S = 5.0
#: So many ends within that time, one after another, and it is given up before the network was ready.
STILLBORN_MAX = 3
LOG_BYTES_MAX = 8 << 20
TAIL_BYTES = 4_096

Say = Callable[[str], None]


class Kept:
    """One node's process, for as long as the network runs."""

    def __init__(self, node: Node, say: Say, hurry: asyncio.Event) -> None:
        """`hurry` is set when nobody wants to wait for a good end any more."""
        self.node = node
        self.restarts = 0
        self.stillborn = 0
        self._say = say
        self._hurry = hurry
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Its process while it lives."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def log(self) -> Path:
        """What it has said."""
        return self.node.home / "log"

    async def run(self) -> None:
        """Keep it running until this is cancelled; then stop it."""
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_FIRST_S
        try:
            while True:
                began = loop.time()
                code = await self._live()
                if loop.time() - began > WELL_S:
                    pause_s, self.stillborn = PAUSE_FIRST_S, 0
                self.stillborn += 1
                self.restarts += 1
                self._say(f"{self.node.name} {_ending(code)}; starting it again")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
        finally:
            await self._stop()

    def last_line(self) -> str:
        """The last that it said."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except FileNotFoundError:
            return ""
        return lines[-1] if lines else ""

    async def _live(self) -> int:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_name("log.old"))
        with self.log.open("ab") as log:
            process = self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "shoal.cli.main", self.node.role),
                *("--config", str(self.node.settings), "--parent-pid", str(os.getpid())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return await process.wait()

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        waiting = [asyncio.create_task(process.wait()), asyncio.create_task(self._hurry.wait())]
        await asyncio.wait(waiting, timeout=STOP_S, return_when=asyncio.FIRST_COMPLETED)
        waiting[1].cancel()
        if process.returncode is None:
            # Its journal holds all that counts; nothing is lost by not waiting.
            self._say(f"{self.node.name} has not stopped, so it is ended")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await waiting[0]


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"


class Supervisor:
    """All processes of a network, kept running inside `async with`."""

    def __init__(self, network: Network, say: Say, hurry: asyncio.Event) -> None:
        self.kept = {node.name: Kept(node, say, hurry) for node in network.nodes}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    def start(self, *roles: str) -> None:
        """Start everybody of these roles; without any, all that have not been started."""
        for name, kept in self.kept.items():
            if name not in self._tasks and (not roles or kept.node.role in roles):
                self._tasks[name] = asyncio.create_task(kept.run())

    async def __aexit__(self, *_: object) -> None:
        """Workers go first: they end their jobs while there is still somebody to take the answers."""
        for role in STOP_ORDER:
            leaving = [task for name, task in self._tasks.items() if self.kept[name].node.role == role]
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)

    def check(self) -> None:
        """Raise `Failed` if a process ends again and again, or cannot even be started."""
        for kept in self.kept.values():
            if kept.stillborn >= STILLBORN_MAX:
                raise Failed(f"{kept.node.name} does not start: {kept.last_line()} (all of it: {kept.log})")
        for task in self._tasks.values():
            if task.done() and (error := task.exception()) is not None:
                raise error


def dismiss(home: Path, say: Say) -> None:
    """Wait for what an earlier run left behind and that is about to stop by itself; end what does not."""
    for folder in sorted(home.glob("*/")):
        pid = holder(folder)
        if pid is None:
            continue
        say(f"{folder.name} of an earlier run is still stopping (process {pid}); waiting for it")
        gone = threading.Event()
        on_end_of(pid, gone.set)
        if not gone.wait(STOP_S):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            gone.wait(STOP_S)
        if holder(folder) is not None:
            raise Failed(f"{folder.name} of an earlier run does not end: process {pid} in {folder}")
