"""One load in virtual time: a trace's fleet, one gateway that is judged, and every job to its end.

The machines and hosts are those that run in production; the network is calm
but for what the trace says goes wrong. The same trace under the same policy
comes to the same, event for event.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from msgspec import Struct

from shoal.gateway.config import Rules as GatewayRules
from shoal.gateway.events import Submitted
from shoal.ids import ClientId, JobId, NodeId
from shoal.money.wei import Price
from shoal.orchestrator.config import Rules as OrchestratorRules
from shoal.runtime.virtual import Calendar, Network, Weather
from shoal.sim.load.rivals import Insistent, Outcome
from shoal.sim.load.stalls import Hands, OurGateway, RivalGateway, Stall
from shoal.sim.load.trace import Arrival, Ended, Operator, Taken, Trace, Trouble
from shoal.sim.node import Node
from shoal.units import MINUTE_MS, SECOND_MS
from shoal.wire.words import JobSpec
from shoal.work.lifecycle import Preference

#: The trace begins when everybody has found everybody.
OPENING_MS = 10 * SECOND_MS
#: After the last job's deadline, everything must have been told within this.
CLOSING_MS = 1 * MINUTE_MS
#: How often an orchestrator looks at its clock: a load has too many of them for the usual quarter of a second.
TICK_MS = 1 * SECOND_MS
#: How often progress is told.
STEP_MS = 1 * SECOND_MS
LIMIT = Price(10**12)

Progress = Callable[[float], None]
#: Makes the gateway that is judged.
MakeGateway = Callable[[NodeId, Network, Random], OurGateway | RivalGateway]


class Street:
    """Everybody in one trace."""

    def __init__(self, trace: Trace, gateway: MakeGateway) -> None:
        self.trace = trace
        self.calendar = Calendar()
        self.rng = Random(f"street {trace.name} {trace.seed}")
        links = [operator.link_ms for operator in trace.fleet.orchestrators]
        weather = Weather(delay_mean_ms=max(1, round(sum(links) / max(1, len(links)))), redial_max_ms=500)
        self.network = Network(self.calendar, self.rng, weather)
        self.gateway = gateway(NodeId("g"), self.network, self.rng)
        self.stalls: dict[str, Stall] = {}
        self.hands: dict[str, list[Hands]] = {}
        self.ended: list[Ended] = []
        self._settle_down()

    def run(self, progress: Progress | None = None) -> list[Ended]:
        """Let the whole trace happen; what became of each arrival, in the order of arrivals."""
        arrivals = self.trace.arrivals
        last_ms = OPENING_MS + max((a.at_ms + a.deadline_ms for a in arrivals), default=0) + CLOSING_MS
        self._submit_next(0)
        while len(self.ended) < len(arrivals) and self.calendar.now < last_ms:
            self.calendar.run(self.calendar.now + STEP_MS)
            if progress is not None:
                progress(len(self.ended) / len(arrivals))
        if len(self.ended) < len(arrivals):
            raise AssertionError(f"{len(arrivals) - len(self.ended)} jobs of {self.trace.name} never ended")
        self.ended.sort(key=_index)
        return self.ended

    # Who lives here

    def _settle_down(self) -> None:
        nodes: list[Node] = [self.gateway]
        for operator in self.trace.fleet.orchestrators:
            nodes += self._move_in(operator)
        for operator in self.trace.fleet.orchestrators:
            for trouble in operator.troubles:
                self._schedule(operator, trouble)
        for node in nodes:
            node.start()

    def _move_in(self, operator: Operator) -> list[Node]:
        name = NodeId(operator.name)
        stall = self.stalls[operator.name] = Stall(name, self.network, self.rng, _rules(operator))
        self.network.dial(self.gateway.name, name)
        hands = self.hands[operator.name] = [
            Hands(NodeId(f"{name}.{n}"), self.network, self.rng, operator, self._run_ms)
            for n in range(operator.workers)
        ]
        for worker in hands:
            self.network.dial(worker.name, name)
        others: list[Node] = []
        if operator.taken:
            other = RivalGateway(NodeId(f"g.{name}"), self.network, self.rng, Insistent)
            self.network.dial(other.name, name)
            others.append(other)
            for number, taken in enumerate(operator.taken):
                when = OPENING_MS + taken.at_ms
                self.calendar.at(when, partial(self._take, other, number, taken))
        return [stall, *hands, *others]

    def _run_ms(self, body: bytes, operator: Operator) -> int:
        if body.startswith(b"hold "):
            until = int(body[5:])
            return max(1, until - self.calendar.now)
        return operator.run_ms(self.trace.arrivals[int(body)].work_ms)

    # What they do

    def _submit_next(self, index: int) -> None:
        if index < len(self.trace.arrivals):
            when = OPENING_MS + self.trace.arrivals[index].at_ms
            self.calendar.at(when, partial(self._submit, index))

    def _submit(self, index: int) -> None:
        arrival = self.trace.arrivals[index]
        event = Submitted(
            JobId(f"job_{index:08x}"),
            ClientId(arrival.tenant),
            JobSpec(arrival.pipeline, arrival.model, arrival.units, session=arrival.session),
            b"%d" % index,
            LIMIT,
            arrival.deadline_ms,
            preference=Preference(priority=arrival.priority),
        )
        self.gateway.ask(event, lambda told: self._note(index, arrival, told))
        self._submit_next(index + 1)

    def _note(self, index: int, arrival: Arrival, told: Outcome) -> None:
        began_ms = OPENING_MS + arrival.at_ms
        total_ms = self.calendar.now - began_ms
        self.ended.append(
            Ended(
                index=index,
                at_ms=arrival.at_ms,
                tenant=arrival.tenant,
                pipeline=arrival.pipeline,
                model=arrival.model,
                work_ms=arrival.work_ms,
                accepted=told.accepted,
                done=told.done,
                in_time=told.done and total_ms <= arrival.deadline_ms,
                code=told.code,
                retry_after_ms=told.retry_after_ms,
                queue_ms=max(0, told.placed_at - began_ms) if told.attempts else total_ms,
                run_ms=told.run_ms,
                total_ms=total_ms,
                attempts=told.attempts,
                turned_away=told.turned_away,
                failed=told.failed,
                wei=told.wei,
                orchestrator=told.orchestrator,
            )
        )

    def _take(self, other: RivalGateway, number: int, taken: Taken) -> None:
        for slot in range(taken.slots):
            event = Submitted(
                JobId(f"job_{other.name}_{number}_{slot}"),
                ClientId("another"),
                JobSpec(taken.pipeline, taken.model, 1),
                b"hold %d" % (self.calendar.now + taken.for_ms),
                LIMIT,
                taken.for_ms + CLOSING_MS,
            )
            other.ask(event, _ignore)

    # What goes wrong

    def _schedule(self, operator: Operator, trouble: Trouble) -> None:
        begins_ms = OPENING_MS + trouble.at_ms
        self.calendar.at(begins_ms, partial(self._begin, operator, trouble))
        if trouble.kind != "mute":
            self.calendar.at(begins_ms + trouble.for_ms, partial(self._end, operator, trouble))

    def _begin(self, operator: Operator, trouble: Trouble) -> None:
        stall, hands = self.stalls[operator.name], self.hands[operator.name]
        if trouble.kind == "crash":
            for node in (stall, *hands):
                node.crash()
        elif trouble.kind == "mute":
            self.network.cut(self.gateway.name, stall.name, trouble.for_ms)
            self.network.cut(stall.name, self.gateway.name, trouble.for_ms)
        else:
            for worker in hands:
                worker.begin_trouble(trouble.kind, trouble.factor)

    def _end(self, operator: Operator, trouble: Trouble) -> None:
        stall, hands = self.stalls[operator.name], self.hands[operator.name]
        if trouble.kind == "crash":
            for node in (stall, *hands):
                node.start()
        else:
            for worker in hands:
                worker.end_trouble(trouble.kind)


class Report(Struct, frozen=True, kw_only=True):
    """One run: what became of each job, and what it took to find out."""

    ended: tuple[Ended, ...]
    virtual_ms: int
    words: int


def run(trace: Trace, gateway: MakeGateway, progress: Progress | None = None) -> Report:
    """Let a trace happen under a gateway."""
    street = Street(trace, gateway)
    ended = street.run(progress)
    return Report(ended=tuple(ended), virtual_ms=street.calendar.now - OPENING_MS, words=street.network.words)


def our_rules(trace: Trace, policy: str) -> GatewayRules:
    """The gateway's defaults under a policy, but for a limit that a load of few tenants would meet by itself."""
    stakes = {NodeId(operator.name): operator.stake for operator in trace.fleet.orchestrators}
    return GatewayRules(policy=policy, stakes=stakes, queue_jobs_per_client_max=1_000)


def _rules(operator: Operator) -> OrchestratorRules:
    prices = {
        f"{ware.pipeline}/{ware.model}": Price(ware.wei) for ware in operator.wares if ware.wei is not None
    }
    return OrchestratorRules(prices=prices, tick_ms=TICK_MS)


def _index(ended: Ended) -> int:
    return ended.index


def _ignore(told: Outcome) -> None:
    """Nobody asks how another's job went."""
