"""What a tenant may ask about its own account: its statement, and with a key made for that its keys.

Nobody sees or changes another's: an id that is not the tenant's own is answered as one that there is not.
"""

from __future__ import annotations

from shoal.errors import NotFound, NotGranted
from shoal.gateway.accounts import ADMIN, USAGE, Key
from shoal.gateway.clients import Clients
from shoal.gateway.desk import Desk
from shoal.gateway.office import BODY_BYTES_MAX, Office, key_requests
from shoal.runtime.door import Feed, Handler, Reply, Request, encode


class TenantDoors:
    """The routes of accounts at the gateway's own door."""

    def __init__(self, desk: Desk, clients: Clients) -> None:
        self._desk = desk
        self._clients = clients
        self._office = Office(desk)

    def routes(self) -> dict[str, Handler]:
        """Where each request finds its handler."""
        return {
            "GET /v1/usage": self.usage,
            "GET /v1/keys": self.keys,
            "POST /v1/keys": self.make_key,
            "DELETE /v1/keys/*": self.revoke_key,
        }

    async def usage(self, request: Request) -> Reply | Feed:
        """`GET /v1/usage`: what the client's tenant was charged for, and what is held for its open jobs."""
        visitor = self._clients.identify(request, USAGE)
        await self._desk.durable()
        return Reply(encode(self._office.usage_value(request, visitor.client)))

    async def keys(self, request: Request) -> Reply | Feed:
        """`GET /v1/keys`: the tenant's own."""
        key = self._admin(request)
        await self._desk.durable()
        return Reply(encode(self._office.keys_value(key.tenant)))

    async def make_key(self, request: Request) -> Reply | Feed:
        """`POST /v1/keys`: a key that goes no further than the one by which it was asked for."""
        key = self._admin(request)
        wanted = key_requests.read(await request.body(BODY_BYTES_MAX))
        tenant = self._office.accounts.tenants[key.tenant]
        if wanted.tenant not in ("", tenant.id, tenant.name):
            raise NotFound(f"there is no tenant {wanted.tenant[:100]!r}")
        return Reply(encode(await self._office.make_key(wanted, tenant, key)), 201)

    async def revoke_key(self, request: Request) -> Reply | Feed:
        """`DELETE /v1/keys/{id}`: one of the tenant's own."""
        key = self._admin(request)
        return Reply(encode(await self._office.revoke_key(request.part, key.tenant)))

    def _admin(self, request: Request) -> Key:
        """The key of a request that only a key can make: at an open gateway nobody is whose keys they could be."""
        key = self._clients.identify(request, ADMIN).key
        if key is None:
            raise NotGranted("this gateway is open: its operator makes the first key, `shoal keys create`")
        return key
