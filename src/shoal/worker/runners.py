"""Runners: one child process per (pipeline, model), started, watched, started again, and stopped.

A runner that ends takes only its own jobs with it. One that is kept cold is
started by its first job, and put away again when nobody has asked it for a
while. Its output goes to the worker's log, a line at a time.
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
from shoal.runtime.clock import stopwatch_s
from shoal.runtime.errand import Later
from shoal.units import SECOND_MS
from shoal.wire.pipelines import pipeline
from shoal.work.queue import Need
from shoal.worker.config import RunnerSettings
from shoal.worker.exchange import Pool
from shoal.worker.machine import RunnerGone, RunnerReady
from shoal.worker.starts import Starts

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
        self,
        settings: RunnerSettings,
        model_folder: Path,
        socket: Path,
        post: Callable[[Event], None],
        starts: Starts,
    ) -> None:
        self.need: Need = (settings.pipeline, settings.model)
        self.pool = Pool(socket)
        self._settings = settings
        self._model_folder = model_folder
        self._socket = socket
        self._post = post
        self._starts = starts
        self._process: asyncio.subprocess.Process | None = None
        self._pause_s = RESTART_FIRST_S
        #: A cold one is started when it is wanted; jobs wait until it is loaded.
        self._is_cold = settings.keep == "cold"
        self._loaded = False
        self._wanted = asyncio.Event()
        self._waiting: list[Later[None]] = []
        self._calls = 0
        self._idle_since_s = 0.0

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self) -> None:
        """Keep the runner running, or ready to be started, until this is cancelled."""
        try:
            while True:
                if self._is_cold:
                    self._take_jobs(self._starts.cold_ms(self.need))
                    await self._wanted.wait()
                try:
                    await self._live()
                    await self._stop()
                except ShoalError as error:
                    log.error("the runner of %s %s: %s", *self.need, error.message)
                    self._post(RunnerGone(self.need))
                    for job in self._stop_waiting():
                        job.fail(error)
                    await self._stop()
                    await asyncio.sleep(self._pause_s)
                    self._pause_s = min(2 * self._pause_s, RESTART_MAX_S)
        finally:
            self._post(RunnerGone(self.need))
            await self._stop()

    # Jobs

    def begin_call(self) -> None:
        """A job is about to ask: until it ends, this is not idle."""
        self._calls += 1

    def end_call(self) -> None:
        """A job needs this no more."""
        self._calls -= 1
        self._idle_since_s = stopwatch_s()

    async def loaded(self) -> None:
        """Wait, in an errand, until a cold runner is loaded; start it if nobody has. Raises what its start fails of."""
        if self._is_cold and not self._loaded:
            self._wanted.set()
            job = Later[None]()
            self._waiting.append(job)
            await job

    def _take_jobs(self, cold_ms: int) -> None:
        self._post(RunnerReady(self.need, self._settings.slots, cold_ms, self._settings.batch))

    def _stop_waiting(self) -> list[Later[None]]:
        jobs, self._waiting = self._waiting, []
        return jobs

    # The process

    async def _live(self) -> None:
        """From its start until it ends, which raises Failed; or until it was idle for long, if it is kept cold."""
        began_s = stopwatch_s()
        process = self._process = await self._spawn()
        reading = asyncio.create_task(self._read_lines(process))
        try:
            await self._until_healthy(process)
            now_s = stopwatch_s()
            self._starts.learn(self.need, round((now_s - began_s) * SECOND_MS))
            self._pause_s = RESTART_FIRST_S
            self._loaded, self._idle_since_s = True, now_s
            self._take_jobs(cold_ms=0)
            for job in self._stop_waiting():
                job.set(None)
            await self._until_idle(process)
        finally:
            reading.cancel()

    async def _until_idle(self, process: asyncio.subprocess.Process) -> None:
        ending = asyncio.create_task(process.wait())
        try:
            while (left_s := self._idle_left_s()) is None or left_s > 0:
                done, _ = await asyncio.wait({ending}, timeout=left_s)
                if done:
                    raise Failed(f"ended with exit code {ending.result()}; starting it again")
        finally:
            ending.cancel()
        log.info("the runner of %s %s is idle and is put away", *self.need)

    def _idle_left_s(self) -> float | None:
        """How long it may stay if nobody asks it; None for as long as it lives."""
        if not self._is_cold:
            return None
        idle_s = 0.0 if self._calls else stopwatch_s() - self._idle_since_s
        return self._settings.idle_ms / SECOND_MS - idle_s

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
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C in a terminal is the worker's to handle
            env=SLEEPING | os.environ,
        )
        _let_others_finish(process.pid)
        return process

    async def _until_healthy(self, process: asyncio.subprocess.Process) -> None:
        while process.returncode is None:
            health: dict[str, str] = {}
            with contextlib.suppress(ShoalError):  # it does not listen yet
                health = msgspec.json.decode((await self.pool.get("/health")).body)
            if health.get("status") in ("OK", "IDLE"):
                return
            if health.get("status") == "ERROR":
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
        self._loaded = False
        self._wanted.clear()
        self.pool.close()
        process = self._process
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


def _let_others_finish(pid: int) -> None:
    """On Linux: a runner that is woken waits for its turn instead of taking the place of whoever hands jobs on."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # it has ended, or may not be told so
            # One thread, as a rule; those that it begins are like it.
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setscheduler(int(thread.name), os.SCHED_BATCH, os.sched_param(0))


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
