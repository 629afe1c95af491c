"""Where a request comes from: the token that it carries, and whether a web page from elsewhere has sent it."""

from __future__ import annotations

import re
from functools import lru_cache

from shoal.errors import Refused
from shoal.runtime.door import Request

BEARER = b"bearer "
HERE = b"localhost"

_HERE = re.compile(rb"(https?://)?(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)


class ForeignPage(Refused):
    """A web page from elsewhere may not use this door; make a key for it."""

    code = "foreign_page"
    http_status = 403


def bearer(request: Request) -> bytes:
    """What stands in `Authorization: Bearer`."""
    given = request.headers.get(b"authorization", b"")
    return given[len(BEARER) :].strip() if given[: len(BEARER)].lower() == BEARER else b""


def require_here(request: Request) -> None:
    """Raise `ForeignPage` for what a page from elsewhere has a browser send."""
    headers = request.headers
    if not (_is_here(headers.get(b"host", HERE)) and _is_here(headers.get(b"origin", HERE))):
        raise ForeignPage


@lru_cache(64)
def _is_here(place: bytes) -> bool:
    return _HERE.fullmatch(place) is not None
