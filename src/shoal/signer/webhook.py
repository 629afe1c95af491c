"""Asking the operator's webhook whether somebody's live work may be paid, as Livepeer's signer asks it.

Whatever it does not answer clearly is a no.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
import msgspec
from msgspec import Struct, field

from shoal.errors import Failed
from shoal.runtime.url import require_private
from shoal.signer.requests import MaxPrice, StateJson

ANSWER_S = 5.0
ANSWER_BYTES_MAX = 64 * 1024
OK = 200
#: Statuses that a webhook may have its caller told, if it does not allow it.
STATUSES = range(400, 600)


class Verdict(Struct, frozen=True):
    """What a webhook says; `status` is what its caller is told."""

    status: int
    reason: str = ""
    #: Until when it need not be asked again, in seconds since 1970.
    expiry: int = 0
    auth_id: str = ""
    max_price: MaxPrice | None = field(name="maxPrice", default=None)


class Webhook:
    """The operator's webhook. Make it where the loop runs."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Raises `Refused` if the URL is none to send this to."""
        self._url = require_private(url, "auth_url")
        self._headers = dict(headers)
        self._client = httpx.AsyncClient(timeout=ANSWER_S, follow_redirects=False, trust_env=False)

    async def ask(self, headers: Mapping[bytes, bytes], state: StateJson) -> Verdict:
        """What it says to this caller's headers, and to what this payment would come to. Raises `Failed`."""
        shown = {name.decode("latin-1").title(): [value.decode("latin-1")] for name, value in headers.items()}
        body = msgspec.json.encode({"headers": shown, "state": state})
        try:
            async with asyncio.timeout(ANSWER_S):
                return _read(await self._post(body))
        except TimeoutError as error:
            raise Failed(f"the signer's webhook did not answer within {ANSWER_S:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failed(f"the signer's webhook cannot be reached: {type(error).__name__}") from error

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def _post(self, body: bytes) -> bytes:
        headers = {**self._headers, "content-type": "application/json"}
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            if response.status_code != OK:
                raise Failed(f"the signer's webhook answers {response.status_code}")
            pieces, size = [], 0
            async for piece in response.aiter_bytes():
                size += len(piece)
                if size > ANSWER_BYTES_MAX:
                    raise Failed("the signer's webhook answers too much")
                pieces.append(piece)
        return b"".join(pieces)


def _read(body: bytes) -> Verdict:
    try:
        verdict = msgspec.json.decode(body, type=Verdict)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failed("the signer's webhook does not answer as it should: it must name a status") from error
    if verdict.status != OK and verdict.status not in STATUSES:
        raise Failed(f"the signer's webhook names the status {verdict.status}, and may say 200 or 400 to 599")
    return verdict
