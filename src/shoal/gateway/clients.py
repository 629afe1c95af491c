"""Who a client is: the hash of its key, never the key itself; and what it is granted.

Without configured keys everybody on this computer is let in, but no web page
from elsewhere that a browser on this computer happens to show.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hmac import compare_digest

from msgspec import Struct

from shoal.errors import Refused, Unauthorized
from shoal.gateway.config import Tenant
from shoal.ids import ClientId
from shoal.runtime.door import Request
from shoal.work.queue import PRIORITIES

ANONYMOUS = ClientId("anonymous")
BEARER = b"bearer "
CLIENT_ID_DIGITS = 32
HERE = b"localhost"

_HERE = re.compile(rb"(https?://)?(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)


class ForeignPage(Refused):
    """A web page from elsewhere may not use this gateway; set api_keys to let it."""

    code = "foreign_page"
    http_status = 403


class NotGranted(Refused):
    """This key does not go so far; ask whoever runs this gateway."""

    code = "not_granted"
    http_status = 403


class Grant(Struct, frozen=True):
    """What a client may have of a busy network: its share beside others', and its highest class."""

    weight: int = 1
    priority_max: str = "high"

    def require(self, priority: str) -> None:
        """Raise `NotGranted` for a class above this one's highest."""
        if PRIORITIES[priority] > PRIORITIES[self.priority_max]:
            raise NotGranted(
                f"your key is granted priority {self.priority_max} at most; leave {priority} out, "
                "or ask whoever runs this gateway for more"
            )


#: Whoever uses a gateway without keys is at home there.
OPEN = Grant()
#: A key of which nothing else is said.
PLAIN = Grant(priority_max="normal")


class Clients:
    """Who may come in, and what each may have."""

    def __init__(self, keys: Iterable[str], tenants: Sequence[Tenant] = ()) -> None:
        """Raises `Refused` if two have the same key or the same name, or a key is empty."""
        all_keys = [*keys, *(tenant.key for tenant in tenants)]
        names = [tenant.name for tenant in tenants]
        if "" in all_keys or len(set(all_keys)) < len(all_keys) or len(set(names)) < len(names):
            raise Refused("every key and every tenant's name is its own, and none is empty")
        self._known = tuple(_hash(key.encode()) for key in all_keys)
        self._grants = {
            _name(_hash(tenant.key.encode())): Grant(tenant.weight, tenant.priority_max) for tenant in tenants
        }

    @property
    def closed(self) -> bool:
        """True if a key is needed."""
        return bool(self._known)

    def grant(self, client: ClientId) -> Grant:
        """What this client may have."""
        return self._grants.get(client, PLAIN) if self._known else OPEN

    def identify(self, request: Request) -> ClientId:
        """The client of this request. Raises `Unauthorized`, or `ForeignPage`."""
        headers = request.headers
        given = headers.get(b"authorization", b"")
        token = given[len(BEARER) :].strip() if given[: len(BEARER)].lower() == BEARER else b""
        if not self._known:
            if not (_is_here(headers.get(b"host", HERE)) and _is_here(headers.get(b"origin", HERE))):
                raise ForeignPage
            return _name(_hash(token)) if token else ANONYMOUS
        hashed = _hash(token)
        # Every key is compared, each in constant time: how long it takes tells nothing.
        if not sum(compare_digest(hashed, known) for known in self._known):
            raise Unauthorized
        return _name(hashed)


@lru_cache(64)
def _is_here(place: bytes) -> bool:
    return _HERE.fullmatch(place) is not None


def _hash(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _name(hashed: bytes) -> ClientId:
    return ClientId("client_" + hashed.hex()[:CLIENT_ID_DIGITS])
