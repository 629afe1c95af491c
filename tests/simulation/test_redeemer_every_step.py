"""A redeemer dies before and after each fact and each effect, once for each: nothing is done twice, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from modelchain import GWEI, ModelChain, address, winner
from shoal.ids import NodeId
from shoal.machine import Connected, Effect, Event, Heard, Value
from shoal.money.ticket import uint256
from shoal.redeemer.events import Broadcast, Look, Post, Posted, Weigh
from shoal.redeemer.intent import Phase, Redeem, pay_id, redeem_id
from shoal.redeemer.machine import RedeemerMachine
from shoal.redeemer.rules import Rules
from shoal.runtime.host import Rules as HostRules
from shoal.runtime.virtual import Calendar, Life, Network, Weather
from shoal.sim.node import Node, Trace
from shoal.units import SECOND_MS
from shoal.wire import words
from shoal.wire.words import Payee

REDEEMER, ORCHESTRATOR = NodeId("r"), NodeId("o")
RULES = Rules(
    tick_ms=SECOND_MS,
    stuck_ms=12 * SECOND_MS,
    rebroadcast_ms=5 * SECOND_MS,
    again_ms=2 * SECOND_MS,
    confirmations=3,
)
BLOCK_MS = 2 * SECOND_MS
WINNERS = [words.Winner(winner(number), "llm") for number in (1, 2, 3)]
BATCH = words.Payout(uint256(9), (Payee(address(5), uint256(7)),))


class Count(Trace):
    """A trace that counts alone: what is seen of a chain has amounts that no encoder takes."""

    def add(self, when: int, node: NodeId, event: Event) -> None:
        self.events += 1


class RedeemerNode(Node):
    """The production host and machine, whose questions the model chain answers a moment later."""

    role = "redeemer"

    def __init__(self, chain: ModelChain, *about: Any) -> None:
        super().__init__(REDEEMER, *about, HostRules())
        self.chain = chain
        self.told: list[str] = []

    def machine(self) -> RedeemerMachine:
        return RedeemerMachine(RULES, sign=self.chain.sign, hooks=("hook",))

    def perform(self, effect: Effect) -> None:
        asks: dict[type[Effect], Callable[[Any], Event]] = {
            Look: self.chain.look,
            Weigh: self.chain.weigh,
            Broadcast: self.chain.broadcast,
            Post: self._tell,
        }
        answer = asks[type(effect)](effect)
        self.life.after(20, lambda: self.post(answer))

    def _tell(self, effect: Post) -> Posted:
        self.told.append(effect.notice.id)
        return Posted(effect.notice.id, effect.hook)


class Office:
    """An orchestrator that says its words again until they have ended."""

    role = "orchestrator"
    name = ORCHESTRATOR
    boot = "boot"

    def __init__(self, network: Network) -> None:
        self.network = network
        self.life = Life(network.calendar, lambda: None)
        self.life.begin()
        self.ended: dict[bytes, Value] = {}
        network.add(self)

    def post(self, event: Event) -> None:
        if isinstance(event, Connected):
            self.say()
        elif isinstance(event, Heard):
            word = event.word
            assert isinstance(word, words.Redemption | words.PaidOut)
            if word.state in ("confirmed", "refused"):
                name = word.ticket if isinstance(word, words.Redemption) else word.batch
                assert self.ended.setdefault(name, word) == word, "it ended twice, in two ways"

    def say(self) -> None:
        for each in WINNERS:
            if each.winning.ticket_hash not in self.ended:
                self.network.send(ORCHESTRATOR, REDEEMER, each)
        if BATCH.batch not in self.ended:
            self.network.send(ORCHESTRATOR, REDEEMER, BATCH)
        self.life.after(5 * SECOND_MS, self.say)


def run(die_at: int) -> int:
    """One small world with a spike of gas and a reorganisation, in which the process dies at step `die_at`."""
    steps = 0

    def step(_: NodeId, what: str) -> bool:
        nonlocal steps
        steps += 1
        return steps == die_at

    calendar, rng = Calendar(), Random(1)
    network = Network(calendar, rng, Weather(delay_mean_ms=5))
    chain = ModelChain(confirmations=RULES.confirmations)
    node = RedeemerNode(chain, network, rng, Count())
    node.on_step = step
    office = Office(network)
    network.dial(REDEEMER, ORCHESTRATOR)

    def block() -> None:
        if chain.pool:
            chain.price_wei = 5 * GWEI  # now that something was sent
        chain.mine()
        if not node.life.alive:
            node.start()
        calendar.at(calendar.now + BLOCK_MS, block)

    def back() -> None:
        chain.reorganise(3, forget=True)

    node.start()
    calendar.at(1, block)
    calendar.at(22 * SECOND_MS, back)
    calendar.run(120 * SECOND_MS)
    assert node.host is not None
    machine = node.host.machine
    assert isinstance(machine, RedeemerMachine)
    machine.check()
    judge(machine, chain, node, office)
    return steps


def judge(machine: RedeemerMachine, chain: ModelChain, node: RedeemerNode, office: Office) -> None:
    """The books, the chain and what was said are one."""
    assert machine.intents == {}
    assert machine.untold == {}
    for each in WINNERS:
        name = redeem_id(each.winning.ticket_hash)
        assert machine.ended[name].phase is Phase.CONFIRMED
        assert machine.ended[name].transaction == chain.state.used[name]
        assert 1 <= node.told.count(name) <= 2, "told once; twice if it died in between"
        assert office.ended[each.winning.ticket_hash].wei == uint256(each.winning.face_wei)  # type: ignore[attr-defined]
    assert machine.ended[pay_id(BATCH.batch)].phase is Phase.CONFIRMED
    assert chain.state.nonce == 4, "four transactions, no fifth"
    assert len(chain.drafts) > 4, "some had to be replaced"
    mined = [draft.what for name, draft in chain.drafts.items() if name in chain.state.mined]
    assert len([what for what in mined if isinstance(what, Redeem)]) == 3


STEPS = run(0)


def test_there_is_much_to_die_at() -> None:
    assert STEPS > 100


@pytest.mark.parametrize("start", range(1, STEPS + 1, 50))
def test_whoever_dies_wherever(start: int) -> None:
    for die_at in range(start, min(start + 50, STEPS + 1)):
        run(die_at)
