"""The operator's door of a gateway: tenants, keys, and what everybody has used.

It is only ever open on this computer, and only to who can read the file `operator.token` in the gateway's home: other
users of this computer cannot, and no page that a browser shows here.
"""

from __future__ import annotations

from hmac import compare_digest
from pathlib import Path

from shoal.errors import Unauthorized
from shoal.gateway.answers import network_value
from shoal.gateway.desk import Desk
from shoal.gateway.office import BODY_BYTES_MAX, Office, key_requests, tenant_changes, tenant_requests
from shoal.ids import NodeId
from shoal.runtime import token as tokens
from shoal.runtime.door import Door, Feed, Handler, Reply, Request, encode
from shoal.runtime.origin import bearer, require_here

TOKEN_FILE = "operator.token"  # noqa: S105 - the file's name


class Operator:
    """What an operator may ask for."""

    def __init__(self, desk: Desk, token: str) -> None:
        self._desk = desk
        self._office = Office(desk)
        self._token = token.encode()

    def door(self) -> Door:
        """Every route asks for the token, but for `GET /health`."""
        routes: dict[str, Handler] = {
            "GET /status": self.status,
            "GET /tenants": self.tenants,
            "POST /tenants": self.make_tenant,
            "PATCH /tenants/*": self.change_tenant,
            "GET /keys": self.keys,
            "POST /keys": self.make_key,
            "DELETE /keys/*": self.revoke_key,
            "GET /usage": self.usage,
            "DELETE /estranged/*": self.forgive,
        }
        guarded = {route: self._guarded(handler) for route, handler in routes.items()}
        return Door({**guarded, "GET /health": self.health})

    def _guarded(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Reply | Feed:
            require_here(request)
            if not compare_digest(bearer(request), self._token):
                raise Unauthorized(
                    f"this is the operator's door: send what stands in the gateway's {TOKEN_FILE} as "
                    "`Authorization: Bearer`"
                )
            return await handler(request)

        return answer

    async def health(self, request: Request) -> Reply | Feed:
        """`GET /health`: whether this gateway still takes jobs."""
        require_here(request)
        return Reply(encode({"ready": not self._desk.closing}), 503 if self._desk.closing else 200)

    async def status(self, request: Request) -> Reply | Feed:
        """`GET /status`: who sells what, what waits and runs, and the ledger's sums."""
        value = network_value(self._desk.machine)
        await self._desk.durable()
        accounts = self._office.accounts
        counts = {"tenants": len(accounts.tenants), "keys": len(accounts.keys), "closed": accounts.closed}
        return Reply(encode({**value, "accounts": counts}))

    async def tenants(self, request: Request) -> Reply | Feed:
        """`GET /tenants`."""
        await self._desk.durable()
        return Reply(encode(self._office.tenants_value()))

    async def make_tenant(self, request: Request) -> Reply | Feed:
        """`POST /tenants`."""
        wanted = tenant_requests.read(await request.body(BODY_BYTES_MAX))
        return Reply(encode(await self._office.make_tenant(wanted)), 201)

    async def change_tenant(self, request: Request) -> Reply | Feed:
        """`PATCH /tenants/{id}`, or by its name: what is said changes."""
        wanted = tenant_changes.read(await request.body(BODY_BYTES_MAX))
        return Reply(encode(await self._office.change_tenant(request.part, wanted)))

    async def keys(self, request: Request) -> Reply | Feed:
        """`GET /keys`, of one tenant with `?tenant=`."""
        await self._desk.durable()
        return Reply(encode(self._office.keys_value(request.query("tenant"))))

    async def make_key(self, request: Request) -> Reply | Feed:
        """`POST /keys`: the answer holds the key, and nothing ever will again."""
        wanted = key_requests.read(await request.body(BODY_BYTES_MAX))
        tenant = self._office.accounts.tenant_named(wanted.tenant)
        return Reply(encode(await self._office.make_key(wanted, tenant)), 201)

    async def revoke_key(self, request: Request) -> Reply | Feed:
        """`DELETE /keys/{id}`."""
        return Reply(encode(await self._office.revoke_key(request.part)))

    async def usage(self, request: Request) -> Reply | Feed:
        """`GET /usage`: everybody's, or one tenant's with `?tenant=`."""
        await self._desk.durable()
        name = request.query("tenant")
        tenant = self._office.accounts.tenant_named(name).id if name else ""
        return Reply(encode(self._office.usage_value(request, tenant)))

    async def forgive(self, request: Request) -> Reply | Feed:
        """`DELETE /estranged/{node}`: an orchestrator whose books did not fit ours is dealt with again."""
        node = NodeId(request.part.lower())
        return Reply(encode({"node": node, "was_estranged_because": await self._desk.forgive(node)}))


def load_or_create_token(home: Path) -> str:
    """The operator's token: made at the first start, and readable by the gateway's own user alone."""
    return tokens.load_or_create(home / TOKEN_FILE)
