"""A gateway's machine with orchestrators of one line each, under a clock that a test turns on.

Every event is followed by the machine's own check; every fact is kept with its instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from shoal.gateway.config import Rules
from shoal.gateway.events import CancelAsked, Reply, Submitted
from shoal.gateway.machine import GatewayMachine
from shoal.gateway.why import why_value
from shoal.ids import ClientId, JobId, NodeId, digest
from shoal.machine import Connected, Deliver, Disconnected, Effect, Event, Fact, Heard, Restarted, Tick
from shoal.money.wei import Price
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import Fault, JobSpec, Media, Payload, Quote
from shoal.work.lifecycle import Job, Preference
from shoal.work.receipt import Terms

ANNA = ClientId("anna")
START = Instant(1_000_000)
BODY = encode_payload(Payload(b"{}"))
WHOLE = encode_payload(Payload(b"{}"))
#: An answer that names a file which did not come, and one that is no JSON.
TORN = encode_payload(Payload(b'{"images": [{"url": "file:0.png"}]}', (Media("1.png", "image/png", b"1"),)))
GARBLED = encode_payload(Payload(b"\xff\xfe"))


class Market:
    """One gateway, and whoever sells to it."""

    def __init__(self, *, pipeline: str = "echo", **rules: Any) -> None:
        self.rules = Rules(**rules)
        self.machine = self._made()
        self.now = START
        self.need = (pipeline, pipeline)
        self.facts: list[tuple[Instant, Fact]] = []
        self.region: dict[str, str] = {}

    def _made(self) -> GatewayMachine:
        return GatewayMachine(self.rules, verify=lambda node, data, signature: signature == b"signed")

    def handle(self, event: Event) -> Sequence[Effect | Fact]:
        """Tell the machine, and have it look at itself."""
        out = self.machine.handle(event, self.now)
        self.facts += [(self.now, thing) for thing in out if isinstance(thing, Fact)]
        self.machine.check()
        return out

    def after(self, ms: int, *, tick_ms: int | None = None) -> Sequence[Effect | Fact]:
        """Let time pass, and the machine look at it every so often; whoever runs a job says so."""
        out: list[Effect | Fact] = []
        step_ms, end = tick_ms or self.rules.tick_ms, later(self.now, ms)
        while self.now < end:
            self.now = min(later(self.now, step_ms), end)
            for node, standing in self.machine.sellers.standings.items():
                held = tuple(words.Held(JobId(x.task), x.epoch) for _, x in self.machine.leased_to(node))
                if held and standing.connected:
                    out += self.handle(Heard(node, words.Heartbeat(held)))
            out += self.handle(Tick())
        return out

    # Orchestrators

    def sells(
        self, name: str, slots: int = 1, *, price: int = 1, taken: int = 0, region: str = "", cold_ms: int = 0
    ) -> None:
        """An orchestrator is here, and says what it has."""
        if NodeId(name) not in self.machine.sellers:
            self.handle(Connected(NodeId(name), "orchestrator", "boot"))
        quote = Quote(*self.need, slots, taken, Price(price), cold_ms)
        self.handle(Heard(NodeId(name), words.Capacity((quote,), region)))

    def leaves(self, name: str) -> None:
        """An orchestrator's connection breaks."""
        self.handle(Disconnected(NodeId(name)))

    def answers(
        self, job: str, *, epoch: int = 0, run_ms: int = 100, body: bytes = WHOLE
    ) -> Sequence[Effect | Fact]:
        """Whoever runs this attempt (the one that the job stands by, unless another is named) answers."""
        known = self.job(job)
        attempt = known.attempt(epoch or known.epoch)
        terms = Terms(known.id, attempt.epoch, attempt.orchestrator, known.spec, attempt.price, known.request)
        units = known.spec.units_max
        receipt = terms.receipt(NodeId("worker"), units, digest(body), run_ms)
        signed = replace(receipt, signature=b"signed")
        word = words.Result(known.id, attempt.epoch, units, run_ms, digest(body), body, signed)
        return self.handle(Heard(attempt.orchestrator, word))

    def fails(self, job: str, code: str = "failed", *, epoch: int = 0) -> Sequence[Effect | Fact]:
        """Whoever runs this attempt says that it did not work."""
        known = self.job(job)
        attempt = known.attempt(epoch or known.epoch)
        return self.handle(
            Heard(attempt.orchestrator, words.Failure(known.id, attempt.epoch, Fault(code, "so it was")))
        )

    def learns(self, name: str, run_ms: int, *, times: int = 5, units: int = 1) -> None:
        """An orchestrator that sells answers some jobs in this time each, while nobody else may have them."""
        others = [node for node in self.machine.sellers.standings if node != name]
        away = [node for node in others if self.machine.sellers.standings[node].connected]
        for node in away:
            self.handle(Disconnected(node))
        for number in range(times):
            job = f"lesson {name} {run_ms} {number} {self.now}"
            self.submit(job, units=units)
            self.now = later(self.now, run_ms)
            self.handle(Heard(NodeId(name), words.Heartbeat((words.Held(JobId(job), 1),))))
            self.answers(job, run_ms=run_ms)
        for node in away:
            self.handle(Connected(node, "orchestrator", "boot"))

    # Clients

    def submit(
        self,
        job: str,
        client: str = ANNA,
        *,
        units: int = 1,
        deadline_ms: int = 600_000,
        limit: int = 1_000,
        stream: bool = False,
        session: str = "",
        **wants: Any,
    ) -> Reply:
        """Ask for a job."""
        spec = JobSpec(*self.need, units, stream, session)
        event = Submitted(
            JobId(job), ClientId(client), spec, BODY, Price(limit), deadline_ms, "", Preference(**wants)
        )
        (reply,) = [effect for effect in self.handle(event) if isinstance(effect, Reply)]
        return reply

    def refused(self, job: str, client: str = ANNA, **wanted: Any) -> Fault:
        """Ask for a job that is turned away."""
        fault = self.submit(job, client, **wanted).fault
        assert fault is not None, f"{job} is accepted"
        return fault

    def cancel(self, job: str) -> Sequence[Effect | Fact]:
        """A job's client wants it no more."""
        return self.handle(CancelAsked(JobId(job), self.job(job).client))

    # What is seen

    def job(self, job: str) -> Job:
        """One job as it stands."""
        return self.machine.jobs[JobId(job)]

    def at(self, job: str) -> str:
        """Who has a job, "" if it waits."""
        known = self.job(job)
        return known.orchestrator if known.id in self.machine.leases else ""

    def told(self, outcome: Sequence[Effect | Fact], word: type[words.Word]) -> list[str]:
        """Who is told a word of this kind until it is heard."""
        return [e.peer for e in outcome if isinstance(e, Deliver) and isinstance(e.word, word)]

    def why(self, job: str) -> dict[str, Any]:
        """What the gateway says of its choices for a job."""
        return why_value(self.machine, self.job(job), self.now)

    # Endings of the process

    def replayed(self) -> GatewayMachine:
        """Another machine that knows the facts alone."""
        machine = self._made()
        for instant, fact in self.facts:
            machine.handle(fact, instant)
            machine.check()
        return machine

    def restart(self) -> None:
        """The process ends, and another takes its snapshot up."""
        state = self.machine.dump()
        self.machine = self._made()
        self.machine.load(msgspec.json.decode(msgspec.json.encode(state), type=type(state)))
        self.machine.check()
        self.handle(Restarted())


def uneven(**rules: Any) -> Market:
    """One node that takes a second for a job and is busy, and one that takes ten and is free."""
    market = Market(**rules)
    market.sells("quick", 1)
    market.learns("quick", 1_000, times=10)
    market.sells("slow", 1)
    market.learns("slow", 10_000, times=10)
    market.leaves("slow")
    assert market.submit("first").fault is None
    market.sells("slow", 1)
    market.machine.sellers.connect(NodeId("slow"))
    assert market.at("first") == "quick"
    return market
