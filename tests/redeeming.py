"""A redeemer's machine over a model chain, step by step, with nothing else round it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelchain import ModelChain
from shoal.ids import NodeId
from shoal.machine import Alarm, Connected, Effect, Event, Fact, Heard, Restarted, Send, Tick
from shoal.redeemer.events import Broadcast, Draft, Look, Post, Posted, Weigh
from shoal.redeemer.intent import Intent
from shoal.redeemer.machine import RedeemerMachine
from shoal.redeemer.rules import Rules
from shoal.units import Instant
from shoal.wire.words import Word

ORCHESTRATOR = NodeId("o")
RULES = Rules(stuck_ms=20_000, rebroadcast_ms=10_000, again_ms=4_000, in_flight_max=3)


class Desk:
    """One redeemer and one chain. Answers come at once, unless `late`: then they wait in `answers`."""

    def __init__(self, chain: ModelChain, rules: Rules = RULES, hooks: tuple[str, ...] = ("hook",)) -> None:
        self.chain = chain
        self.rules = rules
        self.hooks = hooks
        self.now = Instant(1_000_000)
        self.facts: list[tuple[Instant, Fact]] = []
        self.said: list[Any] = []
        self.alarms: list[str] = []
        self.sent: list[Draft] = []
        self.posts: list[Post] = []
        self.post_answer: Callable[[Post], Posted] = lambda post: Posted(post.notice.id, post.hook)
        self.late = False
        self.answers: list[Event] = []
        self.machine = self._begin()

    def hear(self, word: Word) -> None:
        self.post(Heard(ORCHESTRATOR, word))

    def see_through(self, word: Word) -> None:
        """A word, and as many blocks as make final what follows from it."""
        self.hear(word)
        self.tick()
        self.tick(8, mine=1)

    def post(self, event: Event) -> None:
        """An event, and whatever follows from it."""
        self.answers.append(event)
        self.settle()

    def settle(self) -> None:
        while self.answers:
            self._handle(self.answers.pop(0))

    def _handle(self, event: Event) -> None:
        coming: list[Event] = []
        for effect in self.machine.handle(event, self.now):
            match effect:
                case Fact():
                    self.facts.append((self.now, effect))
                case Send():
                    self.said.append(effect.word)
                case Alarm():
                    self.alarms.append(effect.text)
                case Effect():
                    if (answer := self._answer(effect)) is not None:
                        coming.append(answer)
        self.answers += coming
        self.machine.check()

    def _answer(self, effect: Effect) -> Event | None:
        match effect:
            case Look():
                return self.chain.look(effect)
            case Weigh():
                return self.chain.weigh(effect)
            case Broadcast():
                self.sent.append(self.chain.drafts[effect.attempt.transaction])
                return self.chain.broadcast(effect)
            case Post():
                self.posts.append(effect)
                return self.post_answer(effect)
        return None

    def tick(self, times: int = 1, *, mine: int = 0, ms: int = 5_000) -> None:
        for _ in range(times):
            self.chain.mine(mine)
            self.now = Instant(self.now + ms)
            self.post(Tick())

    def restart(self) -> None:
        """Die, and go on from the facts."""
        self.answers = []
        self.machine = self._begin()

    def intent(self, name: str) -> Intent:
        found = self.machine.known(name)
        assert found is not None
        return found

    def _begin(self) -> RedeemerMachine:
        self.machine = RedeemerMachine(self.rules, sign=self.chain.sign, hooks=self.hooks)
        for at, fact in self.facts:
            self.machine.handle(fact, at)
        self.post(Restarted())
        self.post(Connected(ORCHESTRATOR, "orchestrator", "boot"))
        return self.machine
