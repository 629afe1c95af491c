"""A signer's machine step by step, with nothing else round it; and what it is asked for."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from shoal.machine import Alarm, Effect, Event, Fact, Restarted
from shoal.money.funds import ChainSeen, FundsSeen
from shoal.money.ticket import WIN_PROB_MAX, TicketParams, uint256
from shoal.money.wei import Price
from shoal.signer.events import Answer, PaymentAsked, TicketsAsked
from shoal.signer.live import Bill, State
from shoal.signer.machine import SignerMachine, SignerState
from shoal.signer.rules import Rules
from shoal.units import Instant
from tickets import ETHER, PAYEE, PAYER, VIEW

START = Instant(1_800_000_000_000)
TICKET = TicketParams(
    PAYEE.id,
    uint256(10**15),
    uint256(WIN_PROB_MAX // 1_000),  # worth 10**12 wei
    bytes([7]) * 32,
    bytes([8]) * 32,
    VIEW.block + 40,
    VIEW.round,
    VIEW.round_hash,
)
WORTH = 10**12
#: A second of live work for as much as a ticket is worth.
PRICE = Price(WORTH)


def ticket(**changes: Any) -> TicketParams:
    """The same parameters with something else about them; numbers may be plain."""
    words = {name: uint256(value) for name, value in changes.items() if name in ("face_value", "win_prob")}
    return replace(TICKET, **{**changes, **words})


class Desk:
    """One signer's machine, under a clock that a test turns on."""

    def __init__(self, *, seen: bool = True, **rules: Any) -> None:
        self.rules = Rules(**rules)
        self.now = START
        self.facts: list[tuple[Instant, Fact]] = []
        self.alarms: list[str] = []
        self.seen = seen
        self.machine = self._begin()

    def tickets(self, *nonces: int, params: TicketParams = TICKET) -> Answer:
        """Have tickets allowed, or refused."""
        return self._answer(TicketsAsked(1, params, nonces))

    def refused(self, *nonces: int, params: TicketParams = TICKET) -> str:
        """Why tickets are refused; "" if they are not."""
        fault = self.tickets(*nonces, params=params).fault
        return "" if fault is None else fault.message

    def pays(self, state: State | None = None, name: str = "one", **changes: Any) -> Answer:
        """Have live work paid."""
        wanted = Bill(PAYEE.id, TICKET, PRICE, "live", state=state, new_id=name)
        return self._answer(PaymentAsked(1, replace(wanted, **changes)))

    def handle(self, event: Event) -> list[Effect]:
        """An event, and whatever follows from it."""
        effects: list[Effect] = []
        for effect in self.machine.handle(event, self.now):
            match effect:
                case Fact():
                    self.facts.append((self.now, effect))
                case Alarm():
                    self.alarms.append(effect.text)
                case Effect():
                    effects.append(effect)
        self.machine.check()
        return effects

    def pass_time(self, ms: int) -> None:
        """Later."""
        self.now = Instant(self.now + ms)

    def restart(self, *, snapshot: bool = False) -> None:
        """Die, and go on from the facts, or from a snapshot as it is written."""
        state = msgspec.msgpack.encode(self.machine.dump())
        self.machine = self._begin()
        if snapshot:
            self.machine = SignerMachine(self.rules, PAYER.id)
            self.machine.load(msgspec.msgpack.decode(state, type=SignerState))
            self._look()

    def _begin(self) -> SignerMachine:
        self.machine = SignerMachine(self.rules, PAYER.id)
        for at, fact in self.facts:
            self.machine.handle(fact, at)
        self._look()
        return self.machine

    def _look(self) -> None:
        self.handle(Restarted())
        if self.seen:
            see(self)

    def _answer(self, event: Event) -> Answer:
        (answer,) = self.handle(event)
        assert isinstance(answer, Answer)
        assert self.alarms == []
        return answer


def see(desk: Desk, *, block: int = VIEW.block, deposit: int = 10 * ETHER) -> None:
    """What the chain shows."""
    desk.handle(ChainSeen(block, VIEW.round, VIEW.round_hash, True, VIEW.gas_price_wei, VIEW.pool_size))
    desk.handle(FundsSeen(PAYER.id, deposit, 10 * ETHER, 0, 0))
