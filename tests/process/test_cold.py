"""A runner that is kept cold: started by its first job, put away when nobody asks, and honest about a start."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from shoal.errors import Failed
from shoal.machine import Event
from shoal.runtime.errand import in_task
from shoal.worker.config import RunnerSettings
from shoal.worker.machine import RunnerGone, RunnerReady
from shoal.worker.runners import Runner
from shoal.worker.starts import PROCESS_MS, Starts

COLD = RunnerSettings(pipeline="echo", model="echo", keep="cold", idle_ms=100, batch=2)
WAIT_S = 20


class Kept:
    """A runner, and what it has said."""

    def __init__(self, folder: Path, settings: RunnerSettings) -> None:
        self.starts = Starts(folder / "starts.json")
        self._said: asyncio.Queue[Event] = asyncio.Queue()
        self.runner = Runner(settings, folder, folder / "r.sock", self._said.put_nowait, self.starts)

    async def said(self) -> Event:
        return await asyncio.wait_for(self._said.get(), WAIT_S)

    async def ask(self, text: str) -> bytes:
        self.runner.begin_call()
        try:
            return await in_task(self._ask(text))
        finally:
            self.runner.end_call()

    async def _ask(self, text: str) -> bytes:
        await self.runner.loaded()
        response = await self.runner.pool.post("/echo", "application/json", b'{"text": "%s"}' % text.encode())
        return response.body


@asynccontextmanager
async def kept(folder: Path, settings: RunnerSettings = COLD) -> AsyncIterator[Kept]:
    it = Kept(folder, settings)
    running = asyncio.create_task(it.runner.run())
    try:
        yield it
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert it.runner.pid is None


def ready(cold_ms: int) -> RunnerReady:
    return RunnerReady(("echo", "echo"), 1, cold_ms, 2)


def test_it_is_started_by_its_first_job_and_put_away_when_nobody_asks(tmp_path: Path) -> None:
    async def run() -> None:
        async with kept(tmp_path) as it:
            assert await it.said() == ready(PROCESS_MS)
            assert it.runner.pid is None
            answers = await asyncio.gather(it.ask("one"), it.ask("two"))
            assert answers == [b'{"text": "one"}', b'{"text": "two"}']
            assert await it.said() == ready(0)
            took_ms = it.starts.cold_ms(("echo", "echo"))
            assert 0 < took_ms != PROCESS_MS
            assert await it.said() == ready(took_ms)
            assert it.runner.pid is None
            assert await it.ask("three") == b'{"text": "three"}'
        assert Starts(tmp_path / "starts.json").cold_ms(("echo", "echo")) != PROCESS_MS

    asyncio.run(run())


def test_a_start_that_fails_fails_the_jobs_that_wait_and_no_other(tmp_path: Path) -> None:
    async def run() -> None:
        broken = RunnerSettings(
            pipeline="echo", model="echo", keep="cold", command=(sys.executable, "-c", "raise SystemExit(3)")
        )
        async with kept(tmp_path, broken) as it:
            assert isinstance(await it.said(), RunnerReady)
            with pytest.raises(Failed, match="exit code 3 before it was ready"):
                await it.ask("one")
            assert isinstance(await it.said(), RunnerGone)
            assert isinstance(await it.said(), RunnerReady)

    asyncio.run(run())


def test_a_model_that_cannot_be_loaded_fails_the_jobs_that_wait_for_it(tmp_path: Path) -> None:
    async def run() -> None:
        empty = RunnerSettings(pipeline="upscale", model="none", keep="cold")
        async with kept(tmp_path, empty) as it:
            assert isinstance(await it.said(), RunnerReady)
            with pytest.raises(Failed, match="cannot load its model"):
                await it.ask("one")
            assert isinstance(await it.said(), RunnerGone)

    asyncio.run(run())


def test_a_warm_one_is_never_put_away(tmp_path: Path) -> None:
    async def run() -> None:
        warm = RunnerSettings(pipeline="echo", model="echo", idle_ms=100)
        async with kept(tmp_path, warm) as it:
            assert await it.said() == RunnerReady(("echo", "echo"), 1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(it.said(), 3 * warm.idle_ms / 1000)
            assert await it.ask("one") == b'{"text": "one"}'

    asyncio.run(run())


def policies(pid: int) -> set[int]:
    """How the system treats the threads of a process."""
    return {os.sched_getscheduler(int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir()}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells batch work apart")
@pytest.mark.parametrize("nice", [0, 5])
def test_all_of_a_runner_is_batch_work_to_the_system(tmp_path: Path, nice: int) -> None:
    async def run() -> None:
        async with kept(tmp_path, RunnerSettings(pipeline="echo", model="echo", nice=nice)) as it:
            assert await it.said() == RunnerReady(("echo", "echo"), 1, 0, 1)
            pid = it.runner.pid
            assert pid is not None
            assert policies(pid) == {os.SCHED_BATCH}
            assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + nice

    asyncio.run(run())
