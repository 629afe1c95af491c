"""A redeemer's books: its intents, totals and untold notices, as the facts tell them.

A fact depends on earlier facts alone, so that a replay arrives where the live
machine was. Nothing is decided here; every handler raises before it changes
anything, or not at all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Broken
from shoal.machine import Event, Fact, Machine, Quarantined
from shoal.money.ticket import uint256
from shoal.redeemer.events import Notice
from shoal.redeemer.intent import (
    Confirmed,
    Displaced,
    Fill,
    Intent,
    Pay,
    Phase,
    Redeem,
    Refused,
    Reverted,
    Signed,
    Taken,
)
from shoal.redeemer.rules import Rules
from shoal.units import Instant
from shoal.wire.words import Part

#: What the totals call the pipelines that are too many, and payments to workers.
OTHERS = "(others)"
PAYOUTS = "(payouts)"
NONCES = "(nonces)"


class Total(Part, frozen=True, array_like=True):
    """What came of all intents for one pipeline."""

    taken: int = 0
    confirmed: int = 0
    refused: int = 0
    wei: bytes = b""
    fee_wei: bytes = b""

    def plus(
        self, *, taken: int = 0, confirmed: int = 0, refused: int = 0, wei: int = 0, fee: int = 0
    ) -> Total:
        """This and more."""
        return Total(
            self.taken + taken,
            self.confirmed + confirmed,
            self.refused + refused,
            uint256(int.from_bytes(self.wei) + wei),
            uint256(int.from_bytes(self.fee_wei) + fee),
        )


class Untold(Struct, frozen=True, array_like=True):
    """A notice and the webhooks that have not taken it."""

    notice: Notice
    hooks: tuple[str, ...]
    since: Instant


class Told(Fact, frozen=True):
    """A webhook has taken a notice, or `why` it is not tried any more."""

    id: str
    hook: str
    why: str = ""


class State(Struct, frozen=True):
    """What a snapshot holds."""

    intents: tuple[Intent, ...] = ()
    ended: tuple[Intent, ...] = ()
    totals: dict[str, Total] = {}
    untold: tuple[Untold, ...] = ()
    given_up: int = 0
    aside: dict[str, str] = {}


class Books(Machine[State]):
    """Everything that was ever to be done, and how it ended."""

    facts = (Taken, Signed, Confirmed, Reverted, Displaced, Refused, Told, Quarantined)
    state = State

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules.tick_ms)
        self.rules = rules
        self.intents: dict[str, Intent] = {}
        self.ended: OrderedDict[str, Intent] = OrderedDict()
        self.totals: dict[str, Total] = {}
        self.untold: dict[str, Untold] = {}
        #: Notices that no webhook would take.
        self.given_up = 0
        #: Intents that met a bug, and what it said: nothing more is begun for them.
        self.aside: dict[str, str] = {}
        #: Who holds which nonce.
        self.nonces: dict[int, str] = {}

    def known(self, name: str) -> Intent | None:
        """An intent, open or ended."""
        return self.intents.get(name) or self.ended.get(name)

    # Facts

    def _taken(self, fact: Taken, now: Instant) -> None:
        if self.known(fact.id) is not None:
            raise Broken(f"{fact.id} is taken twice")
        self.intents[fact.id] = Intent(fact.id, fact.peer, fact.what, now)
        self._add(self.intents[fact.id], taken=1)

    def _signed(self, fact: Signed, now: Instant) -> None:
        intent = self.intents[fact.id]
        nonce = fact.attempt.nonce
        if self.nonces.get(nonce, fact.id) != fact.id:
            raise Broken(f"nonce {nonce} is given to {fact.id}, and {self.nonces[nonce]} has it")
        if intent.phase is Phase.SENT and intent.last.nonce != nonce:
            raise Broken(f"{fact.id} has nonce {intent.last.nonce} and is given {nonce}")
        self.intents[fact.id] = intent.move(fact, now)
        self.nonces[nonce] = fact.id

    def _confirmed(self, fact: Confirmed, now: Instant) -> None:
        intent = self.intents[fact.id]
        moved = intent.move(fact, now)
        wei, fee = int.from_bytes(fact.wei), int.from_bytes(fact.fee_wei)
        self._end(intent, moved)
        self._add(moved, confirmed=1, wei=wei, fee=fee)
        if fact.hooks and isinstance(intent.what, Redeem):
            ticket = intent.what.winning.signed.ticket
            notice = Notice(
                fact.id,
                intent.what.pipeline,
                ticket.sender,
                ticket.recipient,
                fact.wei,
                moved.fee_wei,
                fact.transaction,
                fact.block,
            )
            self.untold[fact.id] = Untold(notice, fact.hooks, now)

    def _reverted(self, fact: Reverted, now: Instant) -> None:
        intent = self.intents[fact.id]
        moved = intent.move(fact, now)
        self._free(intent)
        self.intents[fact.id] = moved
        self._add(moved, fee=int.from_bytes(fact.fee_wei))

    def _displaced(self, fact: Displaced, now: Instant) -> None:
        intent = self.intents[fact.id]
        moved = intent.move(fact, now)
        self._free(intent)
        self.intents[fact.id] = moved

    def _refused(self, fact: Refused, now: Instant) -> None:
        intent = self.intents[fact.id]
        moved = intent.move(fact, now)
        self._end(intent, moved)
        self._add(moved, refused=1)

    def _told(self, fact: Told, now: Instant) -> None:
        untold = self.untold[fact.id]
        hooks = tuple(hook for hook in untold.hooks if hook != fact.hook)
        self.given_up += bool(fact.why)
        if hooks:
            self.untold[fact.id] = replace(untold, hooks=hooks)
        else:
            del self.untold[fact.id]

    def _quarantined(self, fact: Quarantined, now: Instant) -> None:
        self.aside[fact.job] = fact.cause

    # Their parts

    def _end(self, was: Intent, intent: Intent) -> None:
        self._free(was)
        del self.intents[was.id]
        self.aside.pop(was.id, None)
        self.ended[was.id] = intent
        if len(self.ended) > self.rules.ended_max:
            self.ended.popitem(last=False)

    def _free(self, intent: Intent) -> None:
        if intent.phase is Phase.SENT:
            del self.nonces[intent.last.nonce]

    def _add(self, intent: Intent, **more: int) -> None:
        name = _total_name(intent)
        if name not in self.totals and len(self.totals) >= self.rules.pipelines_max:
            name = OTHERS
        self.totals[name] = self.totals.get(name, Total()).plus(**more)

    # The host

    def check(self) -> None:
        """Raise `Broken` unless nonces, intents, totals and notices tell one story."""
        sent = {i.last.nonce: i.id for i in self.intents.values() if i.phase is Phase.SENT}
        if sent != self.nonces:
            raise Broken(f"the nonces {self.nonces} and the intents that were sent {sent} differ")
        for intent in self.intents.values():
            if not intent.open:
                raise Broken(f"{intent.id} has ended, and is among the open ones")
        if not self.intents.keys().isdisjoint(self.ended):
            raise Broken("an intent is open and has ended")
        totals = self.totals.values()
        open_count = sum(total.taken - total.confirmed - total.refused for total in totals)
        if open_count != len(self.intents):
            raise Broken(f"the totals say that {open_count} intents are open, and {len(self.intents)} are")
        for untold in self.untold.values():
            if not untold.hooks:
                raise Broken(f"nobody is left to be told of {untold.notice.id}")

    def dump(self) -> State:
        """Everything durable."""
        return State(
            tuple(self.intents.values()),
            tuple(self.ended.values()),
            dict(self.totals),
            tuple(self.untold.values()),
            self.given_up,
            dict(self.aside),
        )

    def load(self, state: State) -> None:
        """Take a snapshot's state; who holds which nonce follows from the intents."""
        self.intents = {intent.id: intent for intent in state.intents}
        self.ended = OrderedDict((intent.id, intent) for intent in state.ended)
        self.totals = dict(state.totals)
        self.untold = {untold.notice.id: untold for untold in state.untold}
        self.given_up = state.given_up
        self.aside = dict(state.aside)
        self.nonces = {i.last.nonce: i.id for i in state.intents if i.phase is Phase.SENT}

    def busy(self) -> bool:
        """True while something is to be done or told."""
        return bool(self.intents or self.untold)

    fact_handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        Taken: _taken,
        Signed: _signed,
        Confirmed: _confirmed,
        Reverted: _reverted,
        Displaced: _displaced,
        Refused: _refused,
        Told: _told,
        Quarantined: _quarantined,
    }


def _total_name(intent: Intent) -> str:
    match intent.what:
        case Redeem() as redeem:
            return redeem.pipeline
        case Pay():
            return PAYOUTS
        case Fill():
            return NONCES
