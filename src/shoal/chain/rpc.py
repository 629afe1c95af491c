"""Asking an Ethereum node: JSON-RPC over HTTP, with a limit on everything.

A node that does not answer raises `Unreachable`, one that says no raises
`NodeRefused`, a call that the contract rejects raises `Reverted`. Nothing is
asked twice here: whoever asks knows whether that does harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Struct

from shoal.chain.revert import reason_of
from shoal.errors import Failed, Refused, Unreachable

Json = Any


class NodeRefused(Failed):
    """The Ethereum node refused the request."""

    def __init__(self, message: str, *, number: int = 0) -> None:
        super().__init__(message)
        self.number = number


class Reverted(Refused):
    """The contract rejected the call; the message is its reason."""


class Limits(Struct, frozen=True, kw_only=True):
    """What one client goes by."""

    connect_ms: int = 3_000
    answer_ms: int = 10_000
    answer_bytes_max: int = 16 << 20
    at_once_max: int = 8


class _Answer(Struct, frozen=True):
    """A JSON-RPC answer; one of the two is there."""

    result: Json = None
    error: _Error | None = None


class _Error(Struct, frozen=True):
    """Why there is no result."""

    code: int = 0
    message: str = ""
    data: Json = None


_answers = msgspec.json.Decoder(_Answer)
_encode = msgspec.json.Encoder().encode

#: What nodes answer if an `eth_call` or an estimate ends in a revert.
_REVERT_CODE = 3


class Rpc:
    """One Ethereum node, by its URL. Make it where the loop runs, and close it there."""

    def __init__(self, url: str, *, limits: Limits | None = None) -> None:
        """Raises `Refused` unless the URL is one of HTTP."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"{url!r} is no Ethereum node; write http://host:port or https://host/path")
        #: Who is asked, without a password or a key that the URL may carry.
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._url = url
        self._limits = limits or Limits()
        self._asked = 0
        self._turn = asyncio.Semaphore(self._limits.at_once_max)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(
                self._limits.answer_ms / 1_000, connect=self._limits.connect_ms / 1_000, pool=None
            ),
            limits=httpx.Limits(max_connections=self._limits.at_once_max),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def ask(self, method: str, *params: Json) -> Json:
        """One question and its answer. Raises `Unreachable`, `NodeRefused` or `Reverted`."""
        self._asked += 1
        question = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        async with self._turn:
            body = await self._post(_encode(question))
        try:
            answer = _answers.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreachable(f"{self.name} does not speak JSON-RPC; is it an Ethereum node?") from error
        if answer.error is not None:
            raise _cast(method, answer.error)
        return answer.result

    async def _post(self, body: bytes) -> bytes:
        try:
            async with (
                asyncio.timeout(self._limits.answer_ms / 1_000),
                self._client.stream(
                    "POST", self._url, content=body, headers={"content-type": "application/json"}
                ) as response,
            ):
                pieces, size = [], 0
                async for piece in response.aiter_bytes():
                    size += len(piece)
                    if size > self._limits.answer_bytes_max:
                        raise Unreachable(
                            f"{self.name} answers more than {self._limits.answer_bytes_max} bytes"
                        )
                    pieces.append(piece)
        except TimeoutError as error:
            raise Unreachable(f"{self.name} did not answer within {self._limits.answer_ms} ms") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = str(error) or type(error).__name__
            raise Unreachable(f"the Ethereum node {self.name} cannot be reached: {said}") from error
        if response.status_code >= 500 or response.status_code in (401, 403, 404, 429):
            raise Unreachable(f"the Ethereum node {self.name} answers {response.status_code}")
        return b"".join(pieces)


def _cast(method: str, error: _Error) -> Failed | Refused:
    data = _revert_data(error.data)
    if error.code == _REVERT_CODE or data or "revert" in error.message.lower():
        return Reverted(reason_of(data) or _said(error.message))
    return NodeRefused(f"{method}: {error.message or 'no reason given'}", number=error.code)


def _revert_data(data: Json) -> bytes:
    """What a revert carried: nodes put it in the error's data, or one level deeper."""
    if isinstance(data, Mapping):
        data = data.get("data") or data.get("result")
    if isinstance(data, str):
        text = data.partition("0x")[2] if "0x" in data else ""
        try:
            return bytes.fromhex(text)
        except ValueError:
            return b""
    return b""


def _said(message: str) -> str:
    """A node's own words about a revert, without those that every node adds."""
    for mark in ("execution reverted:", "revert:", "reverted with reason string", "execution reverted"):
        _, found, tail = message.partition(mark)
        if found:
            return tail.strip(" '\"") or "reverted without a reason"
    return message
