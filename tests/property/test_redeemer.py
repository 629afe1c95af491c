"""The redeemer over a chain that goes back, forgets, is dear, or does not answer; and that somebody else uses too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelchain import ETHER, GWEI, ROUND_BLOCKS, ModelChain, address, winner
from shoal.ids import NodeId
from shoal.machine import Connected, Effect, Event, Fact, Heard, Restarted, Send, Tick
from shoal.money.ticket import uint256
from shoal.redeemer.events import Broadcast, Look, Post, Posted, Weigh
from shoal.redeemer.intent import Confirmed, Phase, Redeem, Signed
from shoal.redeemer.machine import RedeemerMachine
from shoal.redeemer.rules import Rules
from shoal.units import Instant
from shoal.wire import words
from shoal.wire.codec import Coder
from shoal.wire.words import Payee

ORCHESTRATOR = NodeId("o")
MAX_EXAMPLES = 150
RULES = Rules(stuck_ms=20_000, rebroadcast_ms=10_000, again_ms=4_000, in_flight_max=3)


class Redeeming(RuleBasedStateMachine):
    """Everything that may happen, in any order; at the end the world heals, and every intent must have ended."""

    @initialize(confirmations=st.sampled_from((0, 1, 6)))
    def begin(self, confirmations: int) -> None:
        self.chain = ModelChain(confirmations=confirmations)
        self.depth_max = confirmations
        self.rules = (
            RULES if confirmations == 6 else Rules(**{**as_dict(RULES), "confirmations": confirmations})
        )
        self.now = Instant(1_000_000)
        self.facts: list[tuple[Instant, bytes]] = []
        self.coder: Coder[Fact] = Coder(*RedeemerMachine.facts)
        self.answers: list[Event] = []
        self.told: dict[str, int] = {}
        self.words: list[Any] = []
        self.signed: set[str] = set()
        self.wanted: list[Any] = []
        self.number = 0
        self.machine = self._new()
        self._post(Restarted())
        self._post(Connected(ORCHESTRATOR, "orchestrator", "boot"))

    # What may happen

    @rule(face_wei=st.sampled_from((10**13, ETHER // 100, ETHER)), wait=st.sampled_from((0, 0, 0, 5)))
    def wins(self, face_wei: int, wait: int) -> None:
        self.number += 1
        ticket = winner(
            self.number, face_wei=face_wei, block=self.chain.head + wait, round_number=self.chain.round
        )
        word = words.Winner(ticket, "llm")
        self.wanted.append(word)
        self._post(Heard(ORCHESTRATOR, word))

    @rule(wei=st.integers(1, ETHER))
    def owes(self, wei: int) -> None:
        self.number += 1
        word = words.Payout(uint256(self.number), (Payee(address(5), uint256(wei)),))
        self.wanted.append(word)
        self._post(Heard(ORCHESTRATOR, word))

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def says_it_again(self, data: st.DataObject) -> None:
        self._post(Heard(ORCHESTRATOR, data.draw(st.sampled_from(self.wanted))))

    @rule(blocks=st.integers(1, 8))
    def mines(self, blocks: int) -> None:
        self.chain.mine(blocks)

    @rule(depth=st.sampled_from((1, 3, 6, 6)), forget=st.booleans())
    def goes_back(self, depth: int, forget: bool) -> None:
        self.chain.reorganise(min(depth, self.depth_max), forget=forget)

    @rule()
    def forgets_the_pool(self) -> None:
        self.chain.forget_pool()

    @rule(down=st.booleans(), forgetful=st.booleans())
    def fails(self, down: bool, forgetful: bool) -> None:
        self.chain.down, self.chain.forgetful = down, forgetful

    @rule(price_gwei=st.sampled_from((1, 3, 50, 400, 2_000)))
    def changes_price(self, price_gwei: int) -> None:
        self.chain.price_wei = price_gwei * GWEI

    @rule()
    def is_used_by_another_program(self) -> None:
        self.chain.use_nonce()

    @precondition(lambda self: any(isinstance(w, words.Winner) for w in self.wanted))
    @rule(data=st.data())
    def is_robbed(self, data: st.DataObject) -> None:
        word = data.draw(st.sampled_from([w for w in self.wanted if isinstance(w, words.Winner)]))
        self.chain.rob(Redeem(word.winning, ""))

    @rule(ms=st.sampled_from((1_000, 2_000, 5_000, 30_000, 200_000)))
    def passes(self, ms: int) -> None:
        self.now = Instant(self.now + ms)
        self._post(Tick())

    @precondition(lambda self: self.answers)
    @rule(number=st.integers(0, 5))
    def answer_comes(self, number: int) -> None:
        self._post(self.answers.pop(number % len(self.answers)))

    @rule(rounds=st.integers(1, 6), blocks=st.integers(0, 2), ms=st.sampled_from((2_000, 21_000)))
    def goes_on(self, rounds: int, blocks: int, ms: int) -> None:
        """What happens when nothing happens."""
        for _ in range(rounds):
            while self.answers:
                self._post(self.answers.pop(0))
            self.chain.mine(blocks)
            self.now = Instant(self.now + ms)
            self._post(Tick())

    @rule()
    def dies(self) -> None:
        self.answers = []
        before = self.machine.dump()
        self.machine = self._new()
        for at, fact in self.facts:
            self.machine.handle(self.coder.decode(fact), at)
        assert self.machine.dump() == before
        self._post(Restarted())
        self._post(Connected(ORCHESTRATOR, "orchestrator", "boot"))

    # What must hold

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "machine"):
            self.machine.check()

    def teardown(self) -> None:
        if not hasattr(self, "machine"):
            return
        chain = self.chain
        chain.down, chain.forgetful, chain.price_wei = False, False, GWEI
        for _ in range(3 * ROUND_BLOCKS + 200):
            while self.answers:
                self._post(self.answers.pop(0))
            if not self.machine.intents and not self.machine.untold:
                break
            chain.mine()
            self.now = Instant(self.now + 3_000)
            self._post(Tick())
        self.machine.check()
        assert not self.machine.intents, [
            (i.id, i.phase, self.machine.why(i)) for i in self.machine.intents.values()
        ]
        self._judge()

    def _judge(self) -> None:
        """Our books and the chain tell one story, and the orchestrator was told it."""
        used = self.chain.state.used
        last: dict[str, Any] = {}
        for word in self.words:
            last[name_of_word(word)] = word
        for want in self.wanted:
            name = name_of_word(want)
            intent = self.machine.ended[name]
            by_us = used.get(name, "") in self.signed
            assert (intent.phase is Phase.CONFIRMED) == by_us, (intent, used.get(name))
            assert last[name].state == intent.phase.value
            if intent.phase is Phase.CONFIRMED:
                mined = self.chain.state.mined[used[name]]
                assert intent.transaction == used[name]
                assert intent.wei == uint256(mined.wei)
                if isinstance(want, words.Winner):
                    assert mined.wei > mined.fee_wei, "redeemed at a loss"
                    assert mined.block >= want.winning.expiration_block - self.depth_max - 1
                    assert self.told[name] >= 1
            else:
                assert intent.why
                assert name not in self.told

    # The host

    def _new(self) -> RedeemerMachine:
        return RedeemerMachine(self.rules, sign=self._sign, hooks=("hook",))

    def _sign(self, draft: Any) -> tuple[bytes, str]:
        raw, name = self.chain.sign(draft)
        self.signed.add(name)
        return raw, name

    def _post(self, event: Event) -> None:
        asks: dict[type[Effect], Callable[[Any], Event]] = {
            Look: self.chain.look,
            Weigh: self.chain.weigh,
            Broadcast: self._broadcast,
            Post: self._tell,
        }
        for effect in self.machine.handle(event, self.now):
            if isinstance(effect, Fact):
                assert not isinstance(effect, Confirmed) or effect.transaction in self.chain.state.mined
                self.facts.append((self.now, self.coder.encode(effect)))
            elif type(effect) in asks:
                self.answers.append(asks[type(effect)](effect))
            elif isinstance(effect, Send):
                self.words.append(effect.word)

    def _broadcast(self, effect: Broadcast) -> Event:
        known = [self.coder.decode(fact) for _, fact in self.facts]
        assert any(isinstance(f, Signed) and f.attempt == effect.attempt for f in known), (
            "sent before written"
        )
        return self.chain.broadcast(effect)

    def _tell(self, effect: Post) -> Event:
        self.told[effect.notice.id] = self.told.get(effect.notice.id, 0) + 1
        return Posted(effect.notice.id, effect.hook)


def as_dict(rules: Rules) -> dict[str, Any]:
    return {name: getattr(rules, name) for name in rules.__struct_fields__}


def name_of_word(word: Any) -> str:
    match word:
        case words.Winner(winning):
            return f"ticket/{winning.ticket_hash.hex()}"
        case words.Redemption(ticket):
            return f"ticket/{ticket.hex()}"
        case _:
            return f"payout/{word.batch.hex()}"


TestRedeeming = Redeeming.TestCase
TestRedeeming.settings = settings(
    max_examples=MAX_EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
