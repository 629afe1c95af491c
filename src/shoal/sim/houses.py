"""The three houses as simulated nodes: the production machines, and doors that need no sockets.

The gateway's door answers a client only what is on disk, as its service does.
The worker's runner takes drawn time and gives the same answer to the same
request, wherever and however often it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Failed, Refused
from shoal.gateway.config import Rules as GatewayRules
from shoal.gateway.events import CancelAsked, Consumed, Reply, Streamed, Submitted
from shoal.gateway.machine import GatewayMachine
from shoal.ids import ClientId, Digest, JobId, NodeId, digest
from shoal.machine import Effect, Machine
from shoal.orchestrator.config import Rules as OrchestratorRules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.runtime.host import Rules
from shoal.runtime.virtual import Network
from shoal.sim.node import Node, Trace
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import Fault, Payload, Word
from shoal.work.lifecycle import ENDED, Job, Phase
from shoal.work.queue import Need
from shoal.worker.config import Rules as WorkerRules
from shoal.worker.machine import (
    Run,
    RunnerAnswered,
    RunnerFailed,
    RunnerGone,
    RunnerReady,
    RunnerSpoke,
    Stop,
    WorkerMachine,
)


def sign(node: NodeId, data: bytes) -> bytes:
    """A node's signature: a keyed hash is as good as any among ourselves, and quick."""
    return blake2b(data, key=node.encode()[:64], digest_size=64).digest() + b"\0"


def verify(node: NodeId, data: bytes, signature: bytes) -> bool:
    """True if the node signed this."""
    return signature == sign(node, data)


class View(Struct, frozen=True):
    """What a client is told of its job."""

    phase: Phase
    units: int = 0
    charged_wei: int = 0
    answer: Digest = Digest("")
    body: bytes = b""
    fault: Fault | None = None

    @property
    def ended(self) -> bool:
        """True if nothing will change any more."""
        return self.phase in ENDED


class GatewayNode(Node):
    """A gateway and its door."""

    role = "gateway"

    def __init__(
        self,
        name: NodeId,
        network: Network,
        rng: Random,
        trace: Trace,
        rules: Rules,
        gateway_rules: GatewayRules,
    ) -> None:
        super().__init__(name, network, rng, trace, rules)
        self.gateway_rules = gateway_rules
        self._asked: dict[JobId, Callable[[Reply], None]] = {}
        self._listeners: dict[JobId, Callable[[Streamed], None]] = {}

    def machine(self) -> Machine[Any]:
        """A gateway that knows nothing yet."""
        return GatewayMachine(self.gateway_rules, verify=verify)

    def begun(self) -> None:
        """The clients' connections did not survive."""
        self._asked, self._listeners = {}, {}

    @property
    def state(self) -> GatewayMachine:
        """What the machine knows."""
        assert self.host is not None
        assert isinstance(self.host.machine, GatewayMachine)
        return self.host.machine

    def complete(self, word: Word) -> Word:
        """An order's body comes from the disk."""
        if isinstance(word, words.Job):
            body = self.journal.body(word.digest)
            assert body is not None, f"the body of {word.job} is gone"
            return replace(word, body=body)
        return word

    def perform(self, effect: Effect) -> None:
        """Speak to clients."""
        match effect:
            case Reply():
                reply = self._asked.pop(effect.asked, None)
                if reply is not None:
                    reply(effect)
            case Streamed():
                listener = self._listeners.get(effect.job)
                if listener is not None:
                    listener(effect)

    # The door: everything here runs in the gateway's process

    def submit(self, event: Submitted, reply: Callable[[Reply], None]) -> None:
        """Take a job; the reply comes once it is on disk."""
        self._asked[event.job] = reply
        self.post(event)

    def listen(self, job: JobId, listener: Callable[[Streamed], None]) -> None:
        """Hear a job's stream from now on."""
        self._listeners[job] = listener

    def consumed(self, job: JobId, units: int) -> None:
        """The client has so much of its stream."""
        self.post(Consumed(job, units))

    def cancel(self, job: JobId, client: ClientId) -> None:
        """The client wants its job stopped."""
        if job in self.state.jobs:
            self.post(CancelAsked(job, client))

    def look(self, job_id: JobId, tell: Callable[[View | None], None]) -> None:
        """Tell what became of a job: what is known now, once that is on disk."""
        assert self.host is not None
        job = self.state.jobs.get(job_id)
        view = None if job is None else self._view(job)
        self.host.when_durable(lambda: tell(view))

    def _view(self, job: Job) -> View:
        body = (self.journal.body(job.answer) or b"") if job.answer else b""
        return View(job.phase, job.units, job.wei + job.fee, job.answer, body, job.fault)


class OrchestratorNode(Node):
    """An orchestrator: it has no door but the network."""

    role = "orchestrator"

    def __init__(
        self,
        name: NodeId,
        network: Network,
        rng: Random,
        trace: Trace,
        rules: Rules,
        orchestrator_rules: OrchestratorRules,
    ) -> None:
        super().__init__(name, network, rng, trace, rules)
        self.orchestrator_rules = orchestrator_rules

    def machine(self) -> Machine[Any]:
        """An orchestrator that knows nothing yet."""
        return OrchestratorMachine(
            self.orchestrator_rules, node=self.name, sign=lambda data: sign(self.name, data)
        )

    @property
    def state(self) -> OrchestratorMachine:
        """What the machine knows."""
        assert self.host is not None
        assert isinstance(self.host.machine, OrchestratorMachine)
        return self.host.machine

    def perform(self, effect: Effect) -> None:
        """There is nothing but words."""
        raise AssertionError(f"an orchestrator cannot {effect}")


class Answer(Struct, frozen=True):
    """What a request comes to: the same everywhere, always."""

    units: int
    pieces: tuple[str, ...]

    @property
    def body(self) -> bytes:
        """The answer as it crosses the wire."""
        return encode_payload(Payload(f'"{"".join(self.pieces)}"'.encode()))


def answer_to(body: bytes, stream: bool) -> Answer:
    """The one answer to a request."""
    name = digest(body)
    units = 1 + int(name[:4], 16) % 24
    count = min(units, 6) if stream else 1
    return Answer(units, tuple(f"{name[4 * n : 4 * n + 4]} " for n in range(count)))


class Temper(Struct, kw_only=True):
    """How good a worker's runners are now."""

    run_min_ms: int = 50
    run_mean_ms: int = 1_500
    fail_ppm: int = 0
    crash_ppm: int = 0


class WorkerNode(Node):
    """A worker and its runners."""

    role = "worker"
    awaited = False
    worker_rules = WorkerRules(receipts_every=4)

    def __init__(
        self,
        name: NodeId,
        network: Network,
        rng: Random,
        trace: Trace,
        rules: Rules,
        slots: dict[Need, int],
    ) -> None:
        super().__init__(name, network, rng, trace, rules)
        self.slots = slots
        self.temper = Temper()
        self._rng = rng
        self._running: dict[tuple[JobId, int], Need] = {}

    def machine(self) -> Machine[Any]:
        """A worker that knows nothing yet."""
        return WorkerMachine(self.worker_rules, node=self.name, verify=verify)

    @property
    def state(self) -> WorkerMachine:
        """What the machine knows."""
        assert self.host is not None
        assert isinstance(self.host.machine, WorkerMachine)
        return self.host.machine

    def begun(self) -> None:
        """Load the models."""
        self._running = {}
        for need in self.slots:
            self._load(need)

    def perform(self, effect: Effect) -> None:
        """Run, or stop running."""
        match effect:
            case Run():
                self._run(effect.order)
            case Stop():
                self._running.pop((effect.job, effect.epoch), None)

    def _load(self, need: Need) -> None:
        self.life.after(self._rng.randint(10, 2_000), lambda: self.post(RunnerReady(need, self.slots[need])))

    def _run(self, order: words.Job) -> None:
        run = (order.job, order.epoch)
        need = (order.spec.pipeline, order.spec.model)
        self._running[run] = need
        temper = self.temper
        run_ms = temper.run_min_ms + int(self._rng.expovariate(1) * temper.run_mean_ms)
        luck = self._rng.randrange(1_000_000)
        if luck < temper.crash_ppm:
            self.life.after(run_ms, lambda: self._runner_crashes(run, need))
            return
        answer = answer_to(order.body, order.spec.stream)
        if order.spec.stream:
            self._speak(run, answer, run_ms)
        if luck < temper.crash_ppm + temper.fail_ppm:
            code = Failed.code if luck % 4 else Refused.code
            self.life.after(run_ms, lambda: self._fails(run, Fault(code, "the model gave up")))
        else:
            self.life.after(run_ms, lambda: self._answers(run, answer, run_ms))

    def _speak(self, run: tuple[JobId, int], answer: Answer, run_ms: int) -> None:
        offset = 0
        for index, piece in enumerate(answer.pieces):
            units = answer.units * (index + 1) // len(answer.pieces)
            word = RunnerSpoke(*run, units, offset, piece)
            self.life.after(run_ms * (index + 1) // (len(answer.pieces) + 1), partial(self._says, run, word))
            offset += len(piece)

    def _says(self, run: tuple[JobId, int], word: RunnerSpoke) -> None:
        if run in self._running:
            self.post(word)

    def _answers(self, run: tuple[JobId, int], answer: Answer, run_ms: int) -> None:
        if self._running.pop(run, None) is not None:
            self.post(RunnerAnswered(*run, answer.units, run_ms, answer.body))

    def _fails(self, run: tuple[JobId, int], fault: Fault) -> None:
        if self._running.pop(run, None) is not None:
            self.post(RunnerFailed(*run, fault))

    def _runner_crashes(self, run: tuple[JobId, int], need: Need) -> None:
        if run not in self._running:
            return
        self.post(RunnerGone(need))
        for other in [other for other, its in self._running.items() if its == need]:
            self._fails(other, Fault(Failed.code, "the runner died"))
        self._load(need)
