"""Who a client is: the hash of its key, never the key itself.

Without configured keys everybody on this computer is let in, but no web page
from elsewhere that a browser on this computer happens to show.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from hmac import compare_digest

from shoal.errors import Refused, Unauthorized
from shoal.ids import ClientId
from shoal.runtime.door import Request

ANONYMOUS = ClientId("anonymous")
BEARER = b"bearer "
CLIENT_ID_DIGITS = 32
HERE = b"localhost"

_HERE = re.compile(rb"(https?://)?(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)


class ForeignPage(Refused):
    """A web page from elsewhere may not use this gateway; set api_keys to let it."""

    code = "foreign_page"
    http_status = 403


class Clients:
    """Who may come in."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._known = tuple(_hash(key.encode()) for key in keys)

    @property
    def closed(self) -> bool:
        """True if a key is needed."""
        return bool(self._known)

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
