"""A real signer on loopback, asked over HTTP; and a webhook of a few lines."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from shoal.money.funds import ChainSeen, FundsSeen
from shoal.money.ticket import Payment, TicketParams, address_bytes
from shoal.money.wei import Price
from shoal.runtime.door import Door, Reply, Request
from shoal.runtime.http import Server, bind
from shoal.signer.config import Rules, Settings
from shoal.signer.service import TOKEN_FILE, Service
from shoal.wire import net
from shoal.wire.payment import params_out, payment_in, price_out
from shoal.wire.protobuf import decode, encode
from shoal.wire.signing import order
from signing import PRICE, TICKET
from tickets import ETHER, PAYEE, VIEW

ROUTES = (
    "GET /address",
    "GET /spending",
    "POST /sign-tickets",
    "POST /sign-orchestrator-info",
    "POST /generate-live-payment",
    "GET /discover-orchestrators",
)


class Caller:
    """A signer, and somebody who has its token."""

    def __init__(self, service: Service, client: httpx.AsyncClient, token: str) -> None:
        self.service = service
        self.client = client
        self.token = token
        self.address = service.node.key.id

    def see(self, *, deposit: int = 10 * ETHER) -> None:
        """What a chain would show."""
        post = self.service.node.post
        post(ChainSeen(VIEW.block, VIEW.round, VIEW.round_hash, True, VIEW.gas_price_wei, VIEW.pool_size))
        post(FundsSeen(self.address, deposit, 10 * ETHER, 0, 0))

    async def tickets(self, *nonces: int, params: TicketParams = TICKET, **changes: Any) -> httpx.Response:
        """Ask for tickets."""
        body = msgspec.to_builtins(order(params, self.address, nonces)) | changes
        return await self.client.post("/sign-tickets", json=body)

    async def pays(self, state: Any = None, **changes: Any) -> httpx.Response:
        """Ask for live work to be paid."""
        body: dict[str, Any] = {"orchestrator": b64encode(encode(offered())).decode(), "type": "live"}
        if state is not None:
            body |= {"state": state, "ManifestID": "manifest"}
        return await self.client.post("/generate-live-payment", json=body | changes)

    @property
    def spent(self) -> int:
        """What it has counted."""
        return self.service.machine.spending.total


def offered(**changes: Any) -> net.OrchestratorInfo:
    """What an orchestrator offers."""
    fields: dict[str, Any] = {
        "transcoder": "https://orchestrator.example:8935",
        "ticket_params": params_out(TICKET),
        "price_info": price_out(PRICE),
        "address": address_bytes(PAYEE.id),
        "auth_token": net.AuthToken(b"token", "0a1b2c3d", 0),
    }
    return net.OrchestratorInfo(**fields | changes)


def info(**changes: Any) -> dict[str, Any]:
    """An offer, as it is asked with."""
    return {"orchestrator": b64encode(encode(offered(**changes))).decode()}


def payment(reply: httpx.Response) -> tuple[Payment, Price]:
    """The payment in an answer."""
    assert reply.status_code == 200, reply.text
    found, sender, price = payment_in(b64decode(reply.json()["payment"]))
    assert found is not None
    assert price is not None
    assert sender == found.sender
    return found, price


def credentials(reply: httpx.Response) -> net.SegData:
    """What stands beside it."""
    return decode(net.SegData, b64decode(reply.json()["segCreds"]), bytes_max=10_000)


@asynccontextmanager
async def signer(home: Path, *, rules: Rules | None = None, **settings: Any) -> AsyncIterator[Caller]:
    """A signer that runs inside this."""
    chosen = Settings(home=str(home), http_addr="127.0.0.1:0", rules=rules or Rules(), **settings)
    service = Service(chosen)
    await service.start()
    token = chosen.tokens[0] if chosen.tokens else (home / TOKEN_FILE).read_text()
    url = f"http://127.0.0.1:{service.port}"
    try:
        async with httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {token}"}, trust_env=False
        ) as client:
            yield Caller(service, client, token)
    finally:
        await service.stop()


@asynccontextmanager
async def webhook(answer: Callable[[Any], Any]) -> AsyncIterator[str]:
    """A webhook that answers so; a `Reply` as it is, all else as JSON."""

    async def asked(request: Request) -> Reply:
        value = answer(msgspec.json.decode(await request.body(100_000)))
        return value if isinstance(value, Reply) else Reply(msgspec.json.encode(value))

    listener = bind("127.0.0.1", 0)
    server = Server(Door({"POST /auth": asked}), listener)
    await server.open()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/auth"
    finally:
        await server.close()
