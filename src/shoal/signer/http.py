"""A signer's door: Livepeer's routes for live work, and one of ours for blocks of credit.

Every request brings a token, and is refused without one before its body is read. What is signed was counted first.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Coroutine, Sequence
from hmac import compare_digest
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec
from msgspec.structs import replace

from shoal.errors import Busy, Conflict, Failed, Refused, Unauthorized
from shoal.machine import Event
from shoal.money.ticket import Payment, SignedNonce
from shoal.money.wei import Price
from shoal.runtime.chance import new_secret
from shoal.runtime.door import Door, Feed, Handler, Reply, Request, encode, error_reply
from shoal.runtime.origin import bearer, require_here
from shoal.signer.config import Listed
from shoal.signer.events import Answer, PaymentAsked, TicketsAsked
from shoal.signer.live import Bill, State
from shoal.signer.machine import SignerMachine
from shoal.signer.pen import Pen
from shoal.signer.refusals import RefreshNeeded, refusal
from shoal.signer.requests import (
    Json,
    PaymentRequest,
    StateJson,
    bill,
    capabilities,
    offer,
    payment_requests,
    states,
)
from shoal.signer.webhook import OK, Verdict, Webhook
from shoal.units import MIB, SECOND_MS, Instant
from shoal.wire.payment import payment_out
from shoal.wire.signing import SignerAddress, TicketOrder, TicketSignatures

BODY_BYTES_MAX = 2 * MIB
#: An offer whose token ends sooner is to be asked for again.
TOKEN_LEFT_S = 3 * 60
ID_DIGITS = 16

orders = Json(TicketOrder, '{"sender": "0x...", "recipient": "0x...", "nonces": [1], ...}')


class Desk(Protocol):
    """What a door stands at."""

    machine: SignerMachine

    def ask(self, make: Callable[[int], Event]) -> Coroutine[Any, None, Answer]:
        """Have the machine decide; what it says is on disk by then."""
        ...

    def now(self) -> Instant:
        """This node's instant."""
        ...


class Doors:
    """Everything that a signer answers."""

    def __init__(
        self,
        desk: Desk,
        pen: Pen,
        tokens: Sequence[str],
        *,
        webhook: Webhook | None = None,
        listed: Sequence[Listed] = (),
        here: bool = True,
    ) -> None:
        """`here` says that it is open on this computer only."""
        self._desk = desk
        self._pen = pen
        self._tokens = [token.encode() for token in tokens]
        self._webhook = webhook
        self._listed = listed
        self._here = here

    def door(self) -> Door:
        """Every route asks for a token, but for `GET /health`."""
        routes: dict[str, Handler] = {
            "GET /address": self.address,
            "GET /spending": self.spending,
            "POST /sign-tickets": self.sign_tickets,
            "POST /sign-orchestrator-info": self.sign_orchestrator_info,
            "POST /generate-live-payment": self.generate_live_payment,
            "GET /discover-orchestrators": self.discover_orchestrators,
        }
        return Door(
            {route: self._guarded(handler) for route, handler in routes.items()}
            | {"GET /health": self.health}
        )

    def _guarded(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Reply | Feed:
            self._require_near(request)
            given = bearer(request)
            # All are compared, each in constant time: how long it takes tells nothing.
            if not sum(compare_digest(given, token) for token in self._tokens):
                raise Unauthorized("this is a signer: send its token as `Authorization: Bearer`")
            return await handler(request)

        return answer

    def _require_near(self, request: Request) -> None:
        if self._here:
            require_here(request)

    async def health(self, request: Request) -> Reply:
        """`GET /health`."""
        self._require_near(request)
        return Reply(encode({"ready": True}))

    async def address(self, request: Request) -> Reply:
        """`GET /address`: whose tickets are signed here."""
        return Reply(encode(SignerAddress(self._pen.address)))

    async def spending(self, request: Request) -> Reply:
        """`GET /spending`: what was signed away, and what may be. Amounts are decimal."""
        machine = self._desk.machine
        spending, rules = machine.spending, machine.rules
        value = {
            "address": self._pen.address,
            "spent_wei": str(spending.total),
            "left_now_wei": str(spending.left_wei(self._desk.now())),
            "limits": {
                "ticket_ev_wei_max": str(rules.ticket_ev_wei_max),
                "ticket_face_wei_max": str(rules.ticket_face_wei_max),
                "ev_wei_per_minute": str(rules.ev_wei_per_minute),
                "ev_wei_per_day": str(rules.ev_wei_per_day),
                "ev_wei_in_all": str(rules.ev_wei_in_all),
            },
            "payees": sorted(machine.payees),
            "live_payments": len(machine.sessions),
        }
        return Reply(encode(value))

    async def sign_tickets(self, request: Request) -> Reply:
        """`POST /sign-tickets`: for a gateway's credit with an orchestrator; it numbers its tickets itself."""
        order = orders.read(await request.body(BODY_BYTES_MAX))
        if order.sender != self._pen.address:
            raise Conflict(f"the tickets are {order.sender}'s, and this signer is {self._pen.address}")
        params, nonces = order.params, order.nonces
        answer = await self._desk.ask(lambda ask: TicketsAsked(ask, params, nonces))
        signatures = tuple("0x" + each.signature.hex() for each in self._signed(answer))
        return Reply(encode(TicketSignatures(signatures)))

    async def sign_orchestrator_info(self, request: Request) -> Reply:
        """`POST /sign-orchestrator-info`: what a gateway asks orchestrators for their offers with."""
        address, signature = self._pen.introduction()
        return Reply(encode({"address": address, "signature": "0x" + signature.hex()}))

    async def discover_orchestrators(self, request: Request) -> Reply:
        """`GET /discover-orchestrators`: those that can do one of `?caps=`, or all."""
        if not self._listed:
            raise Busy("cache empty: no orchestrators are in the signer's settings")
        wanted = {each for each in parse_qs(request.query_string).get("caps", ()) if each}
        found = [each for each in self._listed if not wanted or wanted & set(each.capabilities)]
        return Reply(encode(found))

    async def generate_live_payment(self, request: Request) -> Reply:
        """`POST /generate-live-payment`: tickets for live work, and a state to go on from."""
        asked = payment_requests.read(await request.body(BODY_BYTES_MAX))
        info, needed = offer(asked), capabilities(asked)
        wanted = bill(asked, info, self._state(asked), f"state_{new_secret().hex()[:ID_DIGITS]}")
        now = self._desk.now()
        token = info.auth_token
        if token is not None and token.expiration and token.expiration - TOKEN_LEFT_S < now // SECOND_MS:
            refused = RefreshNeeded("refresh session for remote signer: its auth token is about to expire")
            return _refresh(refused, info.transcoder)
        try:
            planned = self._desk.machine.plan(wanted, now)
        except RefreshNeeded as error:
            return _refresh(error, info.transcoder)
        verdict = await self._verdict(request, asked, wanted, planned.state)
        if verdict is not None and verdict.status != OK:
            said = verdict.reason or f"signer auth rejected request with status {verdict.status}"
            return Reply(encode({"error": {"message": said[:500]}}), verdict.status)
        if verdict is not None and verdict.max_price is not None:
            wanted = _no_dearer(wanted, verdict.max_price.read(asked.type))
        expiry, named = _named(request, verdict, planned.state)
        final = wanted
        answer = await self._desk.ask(lambda ask: PaymentAsked(ask, final, expiry, named))
        credentials = self._pen.credentials(asked.manifest_id or wanted.new_id, token, needed)
        return self._payment(answer, wanted, asked, credentials)

    def _state(self, asked: PaymentRequest) -> State | None:
        """What it goes on from: only what was signed here."""
        brought = asked.state
        if brought is None or not (brought.state or brought.sig):
            return None
        self._pen.require_own(brought.state, brought.sig)
        try:
            return states.read(brought.state).read()
        except Refused as error:
            raise Refused("invalid state") from error

    async def _verdict(
        self, request: Request, asked: PaymentRequest, wanted: Bill, planned: State
    ) -> Verdict | None:
        if self._webhook is None:
            return None
        if wanted.state is not None and self._desk.now() // SECOND_MS <= wanted.state.auth_expiry:
            return None
        shown = StateJson.of(planned, asked.app)
        return await asyncio.create_task(self._webhook.ask(request.headers, shown))

    def _payment(self, answer: Answer, wanted: Bill, asked: PaymentRequest, credentials: bytes) -> Reply:
        tickets = self._signed(answer)
        assert answer.state is not None, "a payment comes with a state"
        blob = msgspec.json.encode(StateJson.of(answer.state, asked.app))
        payment = payment_out(Payment(wanted.params, self._pen.address, tickets), wanted.price)
        value = {
            "payment": b64encode(payment).decode(),
            "segCreds": b64encode(credentials).decode(),
            "state": {"State": b64encode(blob).decode(), "Sig": b64encode(self._pen.sign(blob)).decode()},
        }
        return Reply(encode(value))

    def _signed(self, answer: Answer) -> tuple[SignedNonce, ...]:
        """The tickets that were allowed. Raises what they were refused with."""
        if answer.fault is not None:
            raise refusal(answer.fault)
        assert answer.params is not None, "what is allowed is named"
        return self._pen.tickets(answer.params, answer.nonces)


def _named(request: Request, verdict: Verdict | None, state: State) -> tuple[int, str]:
    """Until when the webhook need not be asked again, and whom it has named. Raises `Failed` if that changes."""
    named = verdict.auth_id if verdict is not None else ""
    named = named or request.header(b"signer-auth-id") or state.auth_id
    if state.auth_id and named != state.auth_id:
        raise Failed("remote signer auth ID changed")
    return (verdict.expiry if verdict is not None else state.auth_expiry), named[:256]


def _no_dearer(wanted: Bill, most: Price) -> Bill:
    """The same with the lower of two highest prices."""
    if wanted.price_max is not None and wanted.price_max.within(most):
        return wanted
    return replace(wanted, price_max=most)


def _refresh(error: RefreshNeeded, orchestrator: str) -> Reply:
    """Which orchestrator to ask again; a header must not be made of anything else."""
    where = orchestrator.encode("ascii", "ignore")[:512]
    if not where.isascii() or not where.decode().isprintable():
        where = b""
    return error_reply(error, ((b"livepeer-orchestrator-url", where),))
