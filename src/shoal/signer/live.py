"""How Livepeer's live work is paid through a signer: units by the clock, tickets for what credit does not cover.

What goes on from call to call is a `State`, which its owner keeps and brings
back signed. The arithmetic is that of Livepeer's signer. Pure.
"""

from __future__ import annotations

from fractions import Fraction

from msgspec import Struct

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.machine import Value
from shoal.money.ticket import WIN_PROB_MAX, TicketParams
from shoal.money.wei import Price
from shoal.signer.refusals import NoTickets, PriceExceeded
from shoal.units import SECOND_MS, Instant

LIVE, LV2V, FIXED = "live", "lv2v", "fixed"
#: What a price is for, by the kind of work; "" is work whose units the caller counts.
UNITS = {LIVE: "seconds", LV2V: "720p-pixel-seconds", FIXED: "fixed", "": ""}
#: The first payment of a kind covers so much time.
FIRST_MS = {LIVE: 10 * SECOND_MS, LV2V: 60 * SECOND_MS}
PIXELS_PER_SECOND = 1280 * 720 * 30
#: A price may rise so much while work goes on, before it is refused.
RISE_MAX = 2
UNITS_MAX = 2**63 - 1


class State(Value, frozen=True):
    """What a live payment goes on from."""

    id: str
    orchestrator: NodeId
    #: The price at the beginning: the one that is paid.
    price: Price
    kind: str
    sequence: int = 0
    #: What was paid and not used, in wei; a fraction, as worth is.
    balance: str = "0"
    last_update: Instant = Instant(0)
    #: The parameters of the last tickets, by the hash of their number, and the last nonce.
    stream: str = ""
    nonce: int = 0
    #: Until when (in seconds) the webhook need not be asked again, and whom it has named.
    auth_expiry: int = 0
    auth_id: str = ""


class Bill(Value, frozen=True):
    """A live payment that is asked for."""

    orchestrator: NodeId
    params: TicketParams
    price: Price
    kind: str = ""
    in_units: int = 0
    #: No payment at a higher price, says its caller.
    price_max: Price | None = None
    #: None at the beginning: then it gets a state of this id.
    state: State | None = None
    new_id: str = ""


class Plan(Struct, frozen=True):
    """How many tickets to sign, and what to go on from then; its stream and nonce are filled in when they are."""

    count: int
    state: State


def begun(bill: Bill) -> State:
    """What this payment goes on from. Raises `Refused` if it is another's."""
    state = bill.state
    if state is None:
        return State(bill.new_id, bill.orchestrator, bill.price, bill.kind)
    if state.orchestrator != bill.orchestrator:
        raise Refused("orchestratorAddress mismatch")
    if state.kind not in ("", bill.kind):
        raise Refused("job type mismatch")
    return state


def units(kind: str, in_units: int, elapsed_ms: int | None) -> int:
    """How much is to be paid for; `elapsed_ms` is the time since the last payment, None at the first."""
    if kind == FIXED:
        return 1
    if kind == "":
        if not 0 < in_units <= UNITS_MAX:
            raise Refused("missing billable unit or job type: send type, or inPixels")
        return in_units
    ms = elapsed_ms if elapsed_ms is not None and elapsed_ms > 0 else FIRST_MS[kind]
    return -(-ms // SECOND_MS) if kind == LIVE else ms * PIXELS_PER_SECOND // SECOND_MS


def require_price(bill: Bill, state: State, own_max: Price | None) -> None:
    """Raise `PriceExceeded` if the orchestrator asks for more than anybody here allows."""
    for most in (own_max, bill.price_max):
        if most is not None and not bill.price.within(most):
            raise PriceExceeded(f"orchestrator price {bill.price} exceeds maximum price {most}")
    first = state.price
    if not bill.price.within(Price(RISE_MAX * first.wei, first.per_units)):
        raise PriceExceeded(
            f"Orchestrator price has more than doubled: {bill.price}, and it was {first} at the beginning"
        )


def plan(bill: Bill, now: Instant, *, own_max: Price | None, tickets_max: int) -> Plan:
    """What this payment comes to. Raises `Refused` or one of `refusals`, and then nothing is to be signed."""
    state = begun(bill)
    elapsed_ms = None if bill.state is None else now - state.last_update
    fee = Fraction(units(bill.kind, bill.in_units, elapsed_ms) * state.price.wei, state.price.per_units)
    require_price(bill, state, own_max)
    worth = Fraction(bill.params.face_wei * int.from_bytes(bill.params.win_prob), WIN_PROB_MAX)
    if worth == 0:
        raise Refused("these tickets are worth nothing")
    credit = Fraction(state.balance)
    lacking = max(fee, worth) - credit
    if lacking <= 0:
        raise NoTickets
    count = -(-lacking // worth)
    if count > tickets_max:
        raise Refused(
            f"numTickets {count} exceeds maximum of {tickets_max}: its tickets are worth too little"
        )
    after = State(
        state.id,
        state.orchestrator,
        state.price,
        bill.kind,
        state.sequence + (bill.state is not None),
        str(credit + count * worth - fee),
        now,
        auth_expiry=state.auth_expiry,
        auth_id=state.auth_id,
    )
    return Plan(int(count), after)
