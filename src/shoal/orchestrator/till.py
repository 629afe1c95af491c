"""Which payments were booked: a payment that is said again is answered again, and booked once."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from shoal.ids import NodeId
from shoal.machine import Fact
from shoal.money.payee import TicketsTaken
from shoal.money.wei import Wei

#: So many of a gateway's payments are remembered; it repeats none that it has heard of.
PAYMENTS_MAX = 1_000
#: Where credit comes from.
TICKETS = "tickets"


class Paid(Fact, frozen=True):
    """A gateway has paid ahead, and has credit for the tickets that were taken; if none were, that is final too."""

    gateway: NodeId
    number: int
    wei: Wei
    taken: TicketsTaken | None
    #: Why not all of it was taken.
    fault: str = ""
    #: What it was paid for.
    pipeline: str = ""


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """What was booked of one payment, and why not all of it."""

    wei: Wei
    fault: str


class TillState(Struct, frozen=True):
    """What a snapshot holds."""

    booked: dict[NodeId, dict[int, Entry]] = {}


class Till:
    """What was booked for each gateway's latest payments, by their numbers."""

    def __init__(self) -> None:
        self._booked: dict[NodeId, OrderedDict[int, Entry]] = {}

    def booked(self, gateway: NodeId, number: int) -> Entry | None:
        """What was booked for this payment; None if it is new."""
        return self._booked.get(gateway, OrderedDict[int, Entry]()).get(number)

    def take(self, fact: Paid) -> None:
        """Remember a payment."""
        payments = self._booked.setdefault(fact.gateway, OrderedDict())
        payments[fact.number] = Entry(fact.wei, fact.fault)
        if len(payments) > PAYMENTS_MAX:
            payments.popitem(last=False)

    def dump(self) -> TillState:
        """Everything durable."""
        return TillState({gateway: dict(payments) for gateway, payments in self._booked.items()})

    def load(self, state: TillState) -> None:
        """Take a snapshot's state."""
        self._booked = {gateway: OrderedDict(payments) for gateway, payments in state.booked.items()}
