"""A streamed job between an honest gateway and an honest orchestrator: however it ends, their books are equal.

Words are lost and late, either side is killed before its facts are on disk, the client cancels, time runs out, the
worker fails or answers. In the end both have booked the same for every attempt, to the wei; no less than what was
acknowledged, but for an attempt that its orchestrator gave up itself; and nobody is suspected of anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shoal.gateway.config import Rules as GatewayRules
from shoal.gateway.events import CancelAsked, Consumed, Submitted
from shoal.gateway.machine import GatewayMachine
from shoal.ids import ClientId, JobId, NodeId, digest
from shoal.machine import (
    Alarm,
    Connected,
    Deliver,
    Disconnected,
    Effect,
    Event,
    Fact,
    Gather,
    Gathered,
    Heard,
    Restarted,
    Retire,
    Send,
    SendAtOnce,
    Tick,
)
from shoal.money.wei import Price
from shoal.orchestrator.config import Rules as OrchestratorRules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.sim.houses import sign, verify
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import JobSpec, Payload
from shoal.work.lifecycle import ENDED, Acknowledged
from shoal.work.task import Phase

G, O1, W = NodeId("g"), NodeId("o"), NodeId("w")
ANNA, JOB = ClientId("anna"), JobId("job")
PRICE = Price(7, 3)
UNITS = 30
BODY = encode_payload(Payload(b"{}"))
ANSWER = encode_payload(Payload(b'"answer"'))
SPEC = JobSpec("llm", "m", UNITS, stream=True)
G_RULES = GatewayRules(fee_ppm=100_000, lease_ms=4_000, reconnect_ms=2_000)
O_RULES = OrchestratorRules(
    prices={"llm": PRICE}, window_units_max=4, share_ppm=700_000, lease_ms=4_000, heartbeat_ms=1_000
)


class Side:
    """One machine with its disk and its outbox. What it decided last is not on disk yet."""

    def __init__(self, name: NodeId, make: Callable[[], Any]) -> None:
        self.name = name
        self.make = make
        self.machine: Any = make()
        self.facts: list[tuple[Fact, Instant]] = []
        self.outbox: dict[str, words.Word] = {}
        self.pending: list[tuple[Fact | Effect, Instant]] = []

    def see(self, event: Event, now: Instant) -> list[Send]:
        """Handle an event; what may be said at once."""
        things = list(self.machine.handle(event, now))
        if Gather() in things:
            things += self.machine.handle(Gathered(), now)
        self.machine.check()
        assert not any(isinstance(thing, Alarm) for thing in things), things
        self.pending += [(thing, now) for thing in things if not isinstance(thing, SendAtOnce)]
        return [thing for thing in things if isinstance(thing, SendAtOnce)]

    def commit(self) -> list[Send]:
        """All that was decided is on disk; what is said now."""
        done, self.pending = self.pending, []
        self.facts += [(thing, at) for thing, at in done if isinstance(thing, Fact)]
        said = [thing for thing, _ in done if isinstance(thing, Send)]
        for thing, _ in done:
            said += self.keep(thing)
        return said

    def keep(self, thing: Fact | Effect) -> list[Send]:
        """What is said until it is heard."""
        if isinstance(thing, Deliver) and isinstance(thing.word, words.Word):
            self.outbox[thing.key] = thing.word
            return [Send(thing.peer, thing.word)]
        if isinstance(thing, Retire):
            self.outbox.pop(thing.key, None)
        return []

    def die(self, now: Instant) -> None:
        """Begin anew from what is on disk."""
        self.pending, self.outbox, self.machine = [], {}, self.make()
        for fact, at in self.facts:
            for thing in self.machine.handle(fact, at):
                self.keep(thing)
        self.see(Restarted(), now)


class Deal:
    """Both sides, the line between them, a client and a worker."""

    def __init__(self) -> None:
        self.now = Instant(1_000_000)
        self.gateway = Side(G, lambda: GatewayMachine(G_RULES, verify=verify))
        self.orchestrator = Side(
            O1, lambda: OrchestratorMachine(O_RULES, node=O1, sign=lambda data: sign(O1, data))
        )
        self.to_gateway: deque[words.Word] = deque()
        self.to_orchestrator: deque[words.Word] = deque()
        self.up = False
        self.running: dict[int, int] = {}
        self.hire()
        self.connect()
        self.pass_on()
        self.buy(Submitted(JOB, ANNA, SPEC, BODY, PRICE, 20_000))
        self.pass_on()

    # What they do

    def buy(self, event: Event) -> None:
        self.say(self.gateway.see(event, self.now))

    def sell(self, event: Event) -> None:
        self.say(self.orchestrator.see(event, self.now))

    def commit(self) -> None:
        self.say(self.gateway.commit())
        self.say(self.orchestrator.commit())

    def say(self, said: list[Send]) -> None:
        for effect in said:
            word = effect.word
            assert isinstance(word, words.Word)
            if effect.peer == W:
                self.work(word)
            elif self.up and effect.peer == G:
                self.to_gateway.append(word)
            elif self.up:
                self.to_orchestrator.append(word)

    def work(self, word: words.Word) -> None:
        match word:
            case words.Job():
                self.running.setdefault(word.epoch, 0)
            case words.Cancel():
                self.running.pop(word.epoch, None)
            case words.Settled():
                for closed in word.leases:
                    self.running.pop(closed.epoch, None)

    def hire(self) -> None:
        self.sell(Connected(W, "worker", "boot"))
        self.sell(Heard(W, words.Offers((words.Offer("llm", "m", 3),))))

    # What may happen

    def connect(self) -> None:
        self.part()
        self.up = True
        self.buy(Connected(O1, "orchestrator", "boot"))
        self.sell(Connected(G, "gateway", "boot"))
        self.to_orchestrator += self.gateway.outbox.values()

    def part(self) -> None:
        if self.up:
            self.up = False
            self.to_gateway.clear()
            self.to_orchestrator.clear()
            self.buy(Disconnected(O1))
            self.sell(Disconnected(G))

    def hear_gateway(self) -> None:
        if self.to_orchestrator:
            word = self.to_orchestrator.popleft()
            self.sell(Heard(G, replace(word, body=BODY) if isinstance(word, words.Job) else word))

    def hear_orchestrator(self) -> None:
        if self.to_gateway:
            self.buy(Heard(O1, self.to_gateway.popleft()))

    def pass_on(self) -> None:
        self.commit()
        while self.to_orchestrator or self.to_gateway:
            self.hear_gateway()
            self.hear_orchestrator()
            self.commit()

    def speak(self) -> None:
        for epoch, units in list(self.running.items()):
            if units < UNITS:
                self.running[epoch] = units + 1
                self.sell(Heard(W, words.Progress(JOB, epoch, units + 1, units, "x")))

    def read(self) -> None:
        self.buy(Consumed(JOB, UNITS))

    def flow(self) -> None:
        for _ in range(3):
            self.speak()
            self.pass_on()
            self.read()
        self.pass_on()

    def acknowledge_and_die(self) -> None:
        self.flow()
        self.speak()
        self.speak()
        self.commit()
        self.hear_orchestrator()
        self.hear_orchestrator()
        self.read()
        self.hear_gateway()
        self.kill_gateway()

    def cancel(self) -> None:
        self.buy(CancelAsked(JOB, ANNA))

    def fail(self, code: str = "failed") -> None:
        for epoch in list(self.running):
            del self.running[epoch]
            self.sell(Heard(W, words.Failure(JOB, epoch, words.Fault(code, "it did not work"))))

    def answer(self) -> None:
        for epoch, units in list(self.running.items()):
            self.sell(Heard(W, words.Result(JOB, epoch, units, 5, digest(ANSWER), ANSWER)))

    def spoil(self) -> None:
        """An answer that its gateway refuses."""
        for epoch in list(self.running):
            self.sell(Heard(W, words.Result(JOB, epoch, 9, 5, digest(b"?"), b"?")))

    def tick(self) -> None:
        self.now = later(self.now, 1_000)
        held = tuple(words.Held(JOB, epoch) for epoch in self.running)
        self.sell(Heard(W, words.Heartbeat(held)))
        self.buy(Tick())
        self.sell(Tick())

    def kill_gateway(self) -> None:
        were_up, self.up = self.up, False
        self.to_gateway.clear()
        self.to_orchestrator.clear()
        self.gateway.die(self.now)
        if were_up:
            self.sell(Disconnected(G))

    def kill_orchestrator(self) -> None:
        were_up, self.up = self.up, False
        self.to_gateway.clear()
        self.to_orchestrator.clear()
        self.orchestrator.die(self.now)
        self.hire()
        if were_up:
            self.buy(Disconnected(O1))

    def calm(self) -> None:
        """Nothing goes wrong any more, until everything has ended."""
        for _ in range(60):
            if not self.up:
                self.connect()
            self.pass_on()
            self.tick()
        self.connect()
        self.pass_on()

    # What must hold

    def judge(self) -> None:
        job = self.gateway.machine.jobs[JOB]
        tasks = self.orchestrator.machine.tasks
        assert job.phase in ENDED
        assert not self.gateway.outbox
        acknowledged: dict[int, int] = {}
        for fact, _ in self.gateway.facts:
            if isinstance(fact, Acknowledged):
                acknowledged[fact.epoch] = fact.units
        for attempt in job.attempts:
            task = tasks.get(f"{JOB}/{attempt.epoch}")
            done = job.phase.value == "done" and attempt.epoch == job.epoch
            paid = (job.units, job.wei) if done else (attempt.units, attempt.wei)
            assert paid == ((task.units, task.wei) if task is not None else (0, 0))
            if task is not None and task.phase is not Phase.RELEASED:
                assert paid[0] >= min(UNITS, acknowledged.get(attempt.epoch, 0))
        there = self.orchestrator.machine.ledger.balances.get("gateway:g", 0)
        here = self.gateway.machine.ledger.balances
        assert here.get("orchestrator:o", 0) == -there
        charged = -here.get("client:anna", 0)
        assert charged == job.wei + job.fee
        assert charged - here.get("spilt", 0) == -there + job.fee
        assert not self.gateway.machine.purse.estranged


STEPS: dict[str, Callable[[Deal], None]] = {
    "speak": Deal.speak,
    "read": Deal.read,
    "flow": Deal.flow,
    "commit": Deal.commit,
    "pass on": Deal.pass_on,
    "hear the gateway": Deal.hear_gateway,
    "hear the orchestrator": Deal.hear_orchestrator,
    "tick": Deal.tick,
    "connect": Deal.connect,
    "part": Deal.part,
    "cancel": Deal.cancel,
    "fail": Deal.fail,
    "is too slow": lambda deal: deal.fail("expired"),
    "answer": Deal.answer,
    "spoil": Deal.spoil,
    "acknowledge and die": Deal.acknowledge_and_die,
    "kill the gateway": Deal.kill_gateway,
    "kill the orchestrator": Deal.kill_orchestrator,
}
USUAL = ("flow", "speak", "read", "commit", "hear the gateway", "hear the orchestrator", "tick") * 2


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([*STEPS, *USUAL]), max_size=60))
def test_both_books_are_equal_to_the_wei(steps: list[str]) -> None:
    deal = Deal()
    for step in steps:
        STEPS[step](deal)
    deal.calm()
    deal.judge()
