"""The nodes of a simulated load: the production machines, with runners that take the trace's time.

How long a job runs is the arrival's work over its operator's speed, so that
every policy is given the very same work. Nothing is traced or checked here:
that is what `make sim` is for.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from msgspec.structs import replace

from shoal.errors import Failed
from shoal.gateway.config import Rules as GatewayRules
from shoal.gateway.events import Notice, Reply, Submitted
from shoal.ids import JobId, NodeId
from shoal.machine import Effect, Event, Machine
from shoal.orchestrator.config import Rules as OrchestratorRules
from shoal.policy.retries import began
from shoal.runtime.host import Rules
from shoal.runtime.virtual import Network
from shoal.sim.houses import GatewayNode, OrchestratorNode, WorkerNode, verify
from shoal.sim.load.rivals import Outcome, Rival
from shoal.sim.load.trace import Operator
from shoal.sim.node import Node, Trace
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import Fault, Payload
from shoal.work.lifecycle import Job, Phase
from shoal.worker.config import Rules as WorkerRules
from shoal.worker.machine import Run, RunnerAnswered, WorkerMachine

#: How long a request's body runs on a node of this operator, in milliseconds.
Work = Callable[[bytes, Operator], int]
Told = Callable[[Outcome], None]

HOST_RULES = Rules()
WORKER_RULES = WorkerRules(tick_ms=5_000)
ANSWER = encode_payload(Payload(b"{}"))
#: How soon a runner that fails gives up.
FAIL_MS = 50


class Silent(Trace):
    """A trace that nobody reads."""

    def add(self, when: int, node: NodeId, event: Event) -> None:
        """Say nothing."""

    def say(self, when: int, node: NodeId, text: str) -> None:
        """Say nothing."""


SILENT = Silent()


class OurGateway(GatewayNode):
    """The production gateway, with a client that is told how its job ended."""

    watched = False

    def __init__(
        self, name: NodeId, network: Network, rng: Random, rules: GatewayRules, *, hedge: bool = False
    ) -> None:
        super().__init__(name, network, rng, SILENT, HOST_RULES, rules)
        self._hedge = hedge
        self._told: dict[JobId, Told] = {}

    def ask(self, event: Submitted, told: Told) -> None:
        """Take a job, and say once what became of it."""
        self._told[event.job] = told
        if self._hedge:
            event = replace(event, preference=replace(event.preference, hedge=True))
        self.post(event)

    def perform(self, effect: Effect) -> None:
        """Tell how a job ended, once."""
        match effect:
            case Notice(ended=True):
                told = self._told.pop(effect.job, None)
                if told is not None:
                    told(outcome(self.state.jobs[effect.job]))
            case Reply(job=None, fault=Fault() as fault):
                self._told.pop(effect.asked)(
                    Outcome(
                        job=effect.asked,
                        accepted=False,
                        code=fault.code,
                        retry_after_ms=fault.retry_after_ms,
                    )
                )


def outcome(job: Job) -> Outcome:
    """What our gateway's books say of an ended job."""
    turned_away = failed = 0
    for attempt in job.attempts:
        if attempt.fault is not None and not began(attempt.fault):
            turned_away += 1
        elif attempt.fault is not None or attempt.epoch != job.epoch or job.phase is not Phase.DONE:
            failed += 1
    return Outcome(
        job=job.id,
        accepted=True,
        done=job.phase is Phase.DONE,
        code=job.fault.code if job.fault is not None else "",
        placed_at=job.attempt(job.epoch).placed_at if job.epoch else job.ended_at,
        run_ms=job.run_ms,
        attempts=len(job.attempts),
        turned_away=turned_away,
        failed=failed,
        wei=job.wei + job.fee,
        orchestrator=job.orchestrator,
    )


class RivalGateway(Node):
    """Another's gateway."""

    watched = False
    role = "gateway"

    def __init__(self, name: NodeId, network: Network, rng: Random, rival: Callable[[Random], Rival]) -> None:
        super().__init__(name, network, rng, SILENT, HOST_RULES)
        self._rival = rival
        self._rng = rng
        self._told: dict[JobId, Told] = {}

    def machine(self) -> Machine[Any]:
        """A rival that knows nothing yet."""
        return self._rival(self._rng)

    def ask(self, event: Submitted, told: Told) -> None:
        """Take a job, and say once what became of it."""
        self._told[event.job] = told
        self.post(event)

    def perform(self, effect: Effect) -> None:
        """Tell how a job ended."""
        assert isinstance(effect, Outcome)
        self._told.pop(effect.job)(effect)


class Stall(OrchestratorNode):
    """An operator's orchestrator."""

    watched = False

    def __init__(self, name: NodeId, network: Network, rng: Random, rules: OrchestratorRules) -> None:
        super().__init__(name, network, rng, SILENT, HOST_RULES, rules)


class Hands(WorkerNode):
    """A worker that takes as long as the trace says."""

    watched = False

    def __init__(self, name: NodeId, network: Network, rng: Random, operator: Operator, work: Work) -> None:
        slots = {ware.need: ware.slots for ware in operator.wares}
        super().__init__(name, network, rng, SILENT, HOST_RULES, slots)
        self.operator = operator
        #: What is wrong with the runners now.
        self.hangs = False
        self.fails = False
        self.slowness = 1.0
        self._work = work
        self._cold = {ware.need: ware.cold_ms for ware in operator.wares if ware.cold_ms}

    def machine(self) -> Machine[Any]:
        """A worker that looks at its clock as seldom as it can."""
        return WorkerMachine(WORKER_RULES, node=self.name, verify=verify)

    def begun(self) -> None:
        """What was loaded is not any more."""
        self._cold = {ware.need: ware.cold_ms for ware in self.operator.wares if ware.cold_ms}
        super().begun()

    def perform(self, effect: Effect) -> None:
        """Run as long as the trace says."""
        if isinstance(effect, Run):
            self._work_on(effect.order)
        else:
            super().perform(effect)

    def _work_on(self, order: words.Job) -> None:
        run = (order.job, order.epoch)
        need = (order.spec.pipeline, order.spec.model)
        self._running[run] = need
        if self.hangs:
            return
        if self.fails:
            self.life.after(FAIL_MS, lambda: self._fails(run, Fault(Failed.code, "the runner is broken")))
            return
        run_ms = round(self._work(order.body, self.operator) * self.slowness) + self._cold.pop(need, 0)
        units = order.spec.units_max
        self.life.after(run_ms, lambda: self._done(run, units, run_ms))

    def _done(self, run: tuple[JobId, int], units: int, run_ms: int) -> None:
        if self.hangs or self._running.pop(run, None) is None:
            return
        self.post(RunnerAnswered(*run, units, run_ms, ANSWER))

    def begin_trouble(self, kind: str, factor: float) -> None:
        """Its runners go wrong."""
        self.hangs |= kind == "hang"
        self.fails |= kind == "fail"
        if kind == "slow":
            self.slowness = factor

    def end_trouble(self, kind: str) -> None:
        """Its runners are mended; those that hung are killed, and what they ran has failed."""
        if kind == "hang":
            self.hangs = False
            for run in list(self._running):
                self._fails(run, Fault(Failed.code, "the runner was killed"))
        elif kind == "fail":
            self.fails = False
        elif kind == "slow":
            self.slowness = 1.0
