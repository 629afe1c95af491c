"""Requests for live payments as Livepeer's clients send them, and the states that they bring back, as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from shoal.errors import Refused, Untrusted
from shoal.ids import NodeId
from shoal.money.address import checksummed
from shoal.money.wei import Price
from shoal.signer.live import UNITS, Bill, State
from shoal.units import SECOND_MS, Instant
from shoal.wire import net
from shoal.wire.payment import params_in
from shoal.wire.protobuf import decode

T = TypeVar("T")

INFO_BYTES_MAX = 512 * 1024
STATE_BYTES_MAX = 4_096
#: No amount of wei has so many digits, before or after the point.
DIGITS_MAX = 40
_ADDRESS_BYTES = 20

Text = Annotated[str, Meta(max_length=256)]
#: Of plain letters: it is signed as it is, and must not be taken for anything else that is.
ManifestId = Annotated[str, Meta(max_length=128, pattern=r"^[ -~]*\Z")]


class SignedState(Struct, frozen=True):
    """A state and our signature, as they are handed out and brought back."""

    state: Annotated[bytes, Meta(max_length=STATE_BYTES_MAX)] = field(name="State", default=b"")
    sig: Annotated[bytes, Meta(max_length=65)] = field(name="Sig", default=b"")


class MaxPrice(Struct, frozen=True):
    """The most that somebody wants to pay for a unit."""

    price: Decimal
    currency: str = "wei"
    unit: str = ""

    def read(self, kind: str) -> Price:
        """As a price of this kind of work. Raises `Refused` if it is none."""
        if self.currency.lower() != "wei" or self.unit != UNITS[kind]:
            wanted = f"of {UNITS[kind]}" if kind else "of nothing: name a type with it"
            raise Refused(f"maxPrice must be in wei for a unit {wanted}")
        if not self.price.is_finite() or self.price < 0 or not _is_short(self.price):
            raise Refused("maxPrice is no amount of wei")
        price = Fraction(self.price)
        return Price(price.numerator, price.denominator)


class PaymentRequest(Struct, frozen=True):
    """`POST /generate-live-payment`."""

    orchestrator: Annotated[bytes, Meta(max_length=INFO_BYTES_MAX)] = b""
    state: SignedState | None = None
    manifest_id: ManifestId = field(name="ManifestID", default="")
    app: Text = ""
    in_pixels: int = field(name="inPixels", default=0)
    type: str = ""
    max_price: MaxPrice | None = field(name="maxPrice", default=None)
    capabilities: Annotated[bytes, Meta(max_length=INFO_BYTES_MAX)] = b""


class StateJson(Struct, frozen=True, rename="pascal"):
    """A state as Livepeer's signer writes it, for webhooks to read."""

    state_id: str = field(name="StateID")
    pm_session_id: str = field(name="PMSessionID")
    last_update: datetime
    orchestrator_address: str
    app: str
    auth_expiry: int
    sender_nonce: int
    balance: str
    initial_price_per_unit: int
    initial_pixels_per_unit: int
    type: str
    sequence_number: int
    auth_id: str = field(name="AuthID")

    @classmethod
    def of(cls, state: State, app: str) -> StateJson:
        """A state, and the work that it is for."""
        return cls(
            state_id=state.id,
            pm_session_id=state.stream,
            last_update=datetime.fromtimestamp(state.last_update / SECOND_MS, UTC),
            orchestrator_address=checksummed(state.orchestrator),
            app=app,
            auth_expiry=state.auth_expiry,
            sender_nonce=state.nonce,
            balance=state.balance,
            initial_price_per_unit=state.price.wei,
            initial_pixels_per_unit=state.price.per_units,
            type=state.kind,
            sequence_number=state.sequence,
            auth_id=state.auth_id,
        )

    def read(self) -> State:
        """The state that this is."""
        return State(
            self.state_id,
            NodeId(self.orchestrator_address.lower()),
            Price(self.initial_price_per_unit, self.initial_pixels_per_unit),
            self.type,
            self.sequence_number,
            self.balance,
            Instant(round(self.last_update.timestamp() * SECOND_MS)),
            self.pm_session_id,
            self.sender_nonce,
            self.auth_expiry,
            self.auth_id,
        )


class Json(Generic[T]):
    """Reads JSON of one type."""

    def __init__(self, kind: type[T], example: str) -> None:
        self._decode: Any = msgspec.json.Decoder(kind).decode
        self._example = example

    def read(self, data: bytes) -> T:
        """The value in `data`. Raises `Refused`, and says what is wrong."""
        try:
            value: T = self._decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(f"the request is not valid: {error}; send JSON, as in {self._example}") from error
        return value


payment_requests = Json(PaymentRequest, '{"orchestrator": "BASE64", "type": "live"}')
states = Json(StateJson, "a state that was handed out here")


def offer(request: PaymentRequest) -> net.OrchestratorInfo:
    """What the orchestrator offers. Raises `Refused` if it is not said, or cannot be paid."""
    if not request.orchestrator:
        raise Refused("missing orchestrator")
    try:
        return decode(net.OrchestratorInfo, request.orchestrator, bytes_max=INFO_BYTES_MAX)
    except Untrusted as error:
        raise Refused(f"orchestrator is no OrchestratorInfo: {error.message}") from error


def capabilities(request: PaymentRequest) -> net.Capabilities | None:
    """What the work needs, if it is said."""
    if not request.capabilities:
        return None
    try:
        return decode(net.Capabilities, request.capabilities, bytes_max=INFO_BYTES_MAX)
    except Untrusted as error:
        raise Refused(f"capabilities are none: {error.message}") from error


def bill(request: PaymentRequest, info: net.OrchestratorInfo, state: State | None, new_id: str) -> Bill:
    """What is to be paid. Raises `Refused` if that cannot be told."""
    if request.type not in UNITS:
        raise Refused(f"invalid job type: there are {', '.join(kind for kind in UNITS if kind)}")
    priced = info.price_info
    if priced is None or priced.price_per_unit <= 0 or priced.pixels_per_unit <= 0:
        raise Refused("missing or zero priceInfo")
    if info.ticket_params is None:
        raise Refused("missing ticketParams in OrchestratorInfo")
    if len(info.address) != _ADDRESS_BYTES:
        raise Refused("missing address in OrchestratorInfo")
    if state is not None and not request.manifest_id:
        raise Refused("missing manifestID: it goes on from a state, so name the one that it began with")
    try:
        params = params_in(info.ticket_params)
    except Untrusted as error:
        raise Refused(f"failed to derive ticket params from OrchestratorInfo: {error.message}") from error
    return Bill(
        NodeId("0x" + info.address.hex()),
        params,
        Price(priced.price_per_unit, priced.pixels_per_unit),
        request.type,
        request.in_pixels,
        request.max_price.read(request.type) if request.max_price else None,
        state,
        new_id,
    )


def _is_short(amount: Decimal) -> bool:
    """An amount of few digits: one of many millions would take all our time."""
    exponent = amount.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -DIGITS_MAX and amount.adjusted() <= DIGITS_MAX
