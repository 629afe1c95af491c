"""Who a client is: the tenant of its key, told by the key's hash; and how far that key goes.

Without keys everybody on this computer is let in, but no web page from
elsewhere that a browser on this computer happens to show.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from msgspec import Struct

from shoal.errors import NotGranted, Unauthorized
from shoal.gateway.accounts import SUBMIT, Accounts, Key, client_id
from shoal.gateway.secret import hashed, is_mistyped
from shoal.ids import ClientId, KeyId
from shoal.runtime.door import Request
from shoal.runtime.origin import bearer, require_here
from shoal.units import Instant
from shoal.work.queue import PRIORITIES

ANONYMOUS = ClientId("anonymous")
NOBODY = bytes(32)


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


class Visitor(Struct, frozen=True):
    """Who sent a request, by which key (none at an open gateway), and what it is granted."""

    client: ClientId
    key: Key | None = None
    grant: Grant = OPEN

    @property
    def key_id(self) -> KeyId:
        """The key's name, "" for none."""
        return KeyId("") if self.key is None else self.key.id


class Clients:
    """Who may come in."""

    def __init__(self, accounts: Accounts, now: Callable[[], Instant]) -> None:
        self._accounts = accounts
        self._now = now

    def identify(self, request: Request, permission: str = "") -> Visitor:
        """Who sent this. Raises `Unauthorized`, `NotGranted`, `RateLimited` for a job too many, or `ForeignPage`."""
        accounts, headers = self._accounts, request.headers
        token = bearer(request)
        if not accounts.closed:
            require_here(request)
            return Visitor(client_id(hashed(token)) if token else ANONYMOUS)
        hash_ = hashed(token)
        key = accounts.find(hash_)
        # Once more in constant time: how long a guess takes tells nothing, whether or not it is found.
        known = compare_digest(hash_, NOBODY if key is None else key.hash)
        tenant = None if key is None else accounts.tenants.get(key.tenant)
        if key is None or tenant is None or not known:
            raise _unknown(token)
        now = self._now()
        key.require_good(now)
        key.require(permission)
        if permission == SUBMIT and b"idempotency-key" not in headers:
            accounts.require_pace(tenant.id, key.id, now)  # before its body is read: that is the dear part
        return Visitor(tenant.id, key, Grant(tenant.weight, tenant.priority_max))


def _unknown(token: bytes) -> Unauthorized:
    if is_mistyped(token.decode("latin-1")):
        return Unauthorized("this key is mistyped: its letters do not fit together; copy it anew")
    return Unauthorized()
