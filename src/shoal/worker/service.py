"""A worker's process: it dials its orchestrators, keeps its runners, and lets its machine decide.

It listens nowhere but on its runners' sockets, which only its own user can open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from functools import partial
from pathlib import Path

from shoal.errors import Failed, ShoalError
from shoal.ids import JobId
from shoal.machine import Effect
from shoal.runtime.chance import draw
from shoal.runtime.errand import Abandoned, Errand
from shoal.runtime.keys import NodeKey, verify
from shoal.runtime.node import Address, Node, heed_signals, until_told_to_stop
from shoal.wire import words
from shoal.wire.codec import decode_payload, encode_payload
from shoal.wire.faults import fault_of
from shoal.wire.pipelines import PIPELINES, Pipeline, pipeline
from shoal.work.queue import Need
from shoal.worker import translation
from shoal.worker.cashier import Cashier
from shoal.worker.config import RunnerSettings, Settings
from shoal.worker.exchange import Pool
from shoal.worker.fetching import fetched
from shoal.worker.machine import (
    Drained,
    Draining,
    Run,
    RunnerAnswered,
    RunnerFailed,
    RunnerSpoke,
    Stop,
    WorkerMachine,
)
from shoal.worker.payments import FindPayment
from shoal.worker.runners import Runner, new_sockets
from shoal.worker.starts import Starts

log = logging.getLogger("shoal.worker")

DRAIN_S = 30


class Service:
    """One running worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runners: dict[Need, Runner] = {}
        self._keeping: list[asyncio.Task[None]] = []
        self._jobs: dict[tuple[JobId, int], Errand[None]] = {}
        self._drained = asyncio.Event()
        self._sockets = new_sockets(Path(settings.home))
        self._starts = Starts(Path(settings.home) / "starts.json")
        self.node = Node("worker", Path(settings.home), self._build, self._perform, awaited=False)
        payout = settings.payout or self.node.key.id
        self._cashier = Cashier(Path(settings.home), settings.chain, payout, self.node.post_soon)

    async def start(self) -> None:
        """Dial the orchestrators, and start the runners; each takes jobs when its model is here."""
        self.node.start()
        self._cashier.start()
        self.node.dial([Address.parse(text) for text in self._settings.orchestrators])
        for number, runner in enumerate(self._settings.runners):
            self._keeping.append(asyncio.create_task(self._keep(number, runner)))

    async def stop(self) -> None:
        """Take no new jobs, let the running ones end (for at most `DRAIN_S`), then stop the runners."""
        self.node.post(Draining())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), DRAIN_S)
        for job in tuple(self._jobs.values()):
            job.cancel()
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await self._cashier.stop()
        await self.node.close()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _build(self, key: NodeKey) -> WorkerMachine:
        self.machine = WorkerMachine(
            self._settings.rules,
            node=key.id,
            verify=verify,
            payout=self._settings.payout,
            draw=draw,
            sees_chain=not self._settings.chain.off,
        )
        return self.machine

    async def _keep(self, number: int, settings: RunnerSettings) -> None:
        folder = Path()
        if not settings.command and pipeline(settings.pipeline).has_models:
            folder = await asyncio.to_thread(fetched, settings)
        socket = self._sockets / f"{number}.sock"
        runner = Runner(settings, folder, socket, self.node.post, self._starts)
        self._runners[runner.need] = runner
        await runner.run()

    # Jobs

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Run(order):
                self._begin(order)
            case Drained():
                self._drained.set()
            case FindPayment():
                self._cashier.find(effect)
            case Stop(job, epoch):
                if (running := self._jobs.get((job, epoch))) is not None:
                    running.cancel()

    def _begin(self, order: words.Job) -> None:
        name = (order.job, order.epoch)
        runner = self._runners[order.spec.pipeline, order.spec.model]
        runner.begin_call()

        def end(outcome: Exception | None) -> None:
            runner.end_call()
            self._jobs.pop(name, None)
            if isinstance(outcome, Exception) and not isinstance(outcome, Abandoned):
                log.error("job %s met a bug", order.job, exc_info=outcome)

        job = Errand(self._run(order, runner), end)
        if not job.over:
            self._jobs[name] = job

    async def _run(self, order: words.Job, runner: Runner) -> None:
        try:
            await runner.loaded()
            began = self.node.clock.now()
            answer, units = await self._ask_runner(order, runner.pool)
        except ShoalError as error:
            self._fail(order, error)
        except Exception as error:  # a runner may answer anything: this job fails, the worker lives
            log.exception("job %s failed", order.job)
            self._fail(order, Failed(f"the runner's answer cannot be used: {error}"))
        else:
            run_ms = self.node.clock.now() - began
            body = encode_payload(answer)
            self.node.post(RunnerAnswered(order.job, order.epoch, units, run_ms, body))

    def _fail(self, order: words.Job, error: ShoalError) -> None:
        # Soon, for a job may fail before it has begun to wait: while the machine's last effects are performed.
        self.node.post_soon(RunnerFailed(order.job, order.epoch, fault_of(error)))

    async def _ask_runner(self, order: words.Job, pool: Pool) -> tuple[words.Payload, int]:
        row = PIPELINES[order.spec.pipeline]
        content_type, body = translation.request(row, order.job, decode_payload(order.body))
        if not order.spec.stream:
            return await self._in_steps(row, order, pool, content_type, body)
        assembly = translation.Assembly()
        pieces = partial(self._stream, order, assembly)
        response = await pool.post(f"/{row.name}", content_type, body, on_piece=pieces)
        translation.require_good(response.status, response.body)
        return assembly.whole(), assembly.units

    async def _in_steps(
        self, row: Pipeline, order: words.Job, pool: Pool, content_type: str, body: bytes
    ) -> tuple[words.Payload, int]:
        """An answer in one piece, from a runner that may say meanwhile how far it is."""
        steps = translation.Steps(order.spec.units_max)

        def hear(data: bytes) -> None:
            if (units := steps.feed(data)) is not None:
                self.node.post(RunnerSpoke(order.job, order.epoch, units, 0, ""))

        response = await pool.post(f"/{row.name}", content_type, body, on_piece=hear)
        translation.require_good(response.status, response.body)
        if steps.spoke:
            return steps.whole(row)
        answer = translation.answer(row, response.headers.get("content-type", ""), response.body)
        return answer, int(response.headers.get("shoal-units", "0"))

    def _stream(self, order: words.Job, assembly: translation.Assembly, data: bytes) -> None:
        for piece in assembly.feed(data):
            self.node.post(RunnerSpoke(order.job, order.epoch, piece.units, piece.offset, piece.text))


async def serve(settings: Settings) -> None:
    """Run a worker until it is told to stop."""
    told = heed_signals()
    service = Service(settings)
    await service.start()
    log.info("ready: worker %s for %s", service.node.key.id, ", ".join(settings.orchestrators))
    try:
        await until_told_to_stop(service.node, told)
    finally:
        await service.stop()
