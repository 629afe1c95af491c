"""Runners: one child process per (pipeline, model), started, watched, started again, and stopped.

A runner that ends takes only its own jobs with it. Its output goes to the
worker's log, a line at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from shoal.errors import Failed, ShoalError
from shoal.machine import Event
from shoal.wire.pipelines import pipeline
from shoal.work.queue import Need
from shoal.worker.config import RunnerSettings
from shoal.worker.exchange import Pool
from shoal.worker.machine import RunnerGone, RunnerReady

#: A library's idle threads sleep instead of spinning: that doubled and trebled what a transcription costs.
SLEEPING = {"OMP_WAIT_POLICY": "passive"}

log = logging.getLogger("shoal.worker")

HEALTH_EVERY_S = 0.05
STOP_S = 6
RESTART_FIRST_S = 0.5
RESTART_MAX_S = 30
LINE_BYTES_MAX = 16 * 1024


class Runner:
    """One runner and its process. `post` is told when it takes jobs and when it does not."""

    def __init__(
        self, settings: RunnerSettings, model_folder: Path, socket: Path, post: Callable[[Event], None]
    ) -> None:
        self.need: Need = (settings.pipeline, settings.model)
        self.pool = Pool(socket)
        self._settings = settings
        self._model_folder = model_folder
        self._socket = socket
        self._post = post
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self) -> None:
        """Keep the runner running until this is cancelled."""
        pause_s = RESTART_FIRST_S
        while True:
            try:
                await self._live()
                pause_s = RESTART_FIRST_S
            except ShoalError as error:
                log.error("the runner of %s %s: %s", *self.need, error.message)
                pause_s = min(2 * pause_s, RESTART_MAX_S)
            finally:
                self._post(RunnerGone(self.need))
                await self._stop()
            await asyncio.sleep(pause_s)

    async def _live(self) -> None:
        process = self._process = await self._spawn()
        reading = asyncio.create_task(self._read_lines(process))
        try:
            await self._until_healthy(process)
            self._post(RunnerReady(self.need, self._settings.slots))
            code = await process.wait()
            raise Failed(f"ended with exit code {code}; starting it again")
        finally:
            reading.cancel()

    async def _spawn(self) -> asyncio.subprocess.Process:
        settings = self._settings
        own = f"shoal.worker.pipelines.{settings.pipeline.replace('-', '_')}"
        module = pipeline(settings.pipeline).runner or own
        command = [
            *(("nice", "-n", str(settings.nice)) if settings.nice else ()),
            *(settings.command or (sys.executable, "-m", module)),
            *("--socket", str(self._socket), "--model-dir", str(self._model_folder)),
            *("--model-id", settings.model, "--threads", str(settings.threads)),
            *("--slots", str(settings.slots), "--parent-pid", str(os.getpid())),
        ]
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C in a terminal is the worker's to handle
            env=SLEEPING | os.environ,
        )

    async def _until_healthy(self, process: asyncio.subprocess.Process) -> None:
        while process.returncode is None:
            with contextlib.suppress(ShoalError):
                response = await self.pool.get("/health")
                health = msgspec.json.decode(response.body)
                if health["status"] in ("OK", "IDLE"):
                    return
                if health["status"] == "ERROR":
                    raise Failed(f"cannot load its model: {health.get('msg', 'it does not say why')}")
            await asyncio.sleep(HEALTH_EVERY_S)
        raise Failed(f"ended with exit code {process.returncode} before it was ready")

    async def _read_lines(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # a line without end: what is read so far is dropped
                continue
            if not line:
                return
            log.info("%s", line.decode(errors="replace").rstrip())

    async def _stop(self) -> None:
        self.pool.close()
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def new_sockets(home: Path) -> Path:
    """An empty private folder for the runners' sockets: not in `home`, for a socket's path must be short.

    `home/sockets` leads to it, so that what a killed worker left is found and removed.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = home / "sockets"
    if link.is_symlink():
        shutil.rmtree(link.readlink(), ignore_errors=True)
        link.unlink()
    folder = Path(tempfile.mkdtemp(prefix="shoal-"))
    link.symlink_to(folder)
    return folder
