"""What a signer's door asks its machine, and what it is told."""

from __future__ import annotations

from shoal.machine import Effect, Event
from shoal.money.ticket import TicketParams
from shoal.signer.live import Bill, State
from shoal.wire.words import Fault


class TicketsAsked(Event, frozen=True):
    """Somebody wants these tickets signed. `ask` is theirs to know the answer by."""

    ask: int
    params: TicketParams
    nonces: tuple[int, ...]


class PaymentAsked(Event, frozen=True):
    """Somebody wants live work paid, and may: its state is ours, and the webhook has nothing against it."""

    ask: int
    bill: Bill
    auth_expiry: int = 0
    auth_id: str = ""


class Answer(Effect, frozen=True):
    """Tickets of these parameters and nonces may be signed now: they are counted. Or they may not."""

    ask: int
    params: TicketParams | None = None
    nonces: tuple[int, ...] = ()
    state: State | None = None
    fault: Fault | None = None
