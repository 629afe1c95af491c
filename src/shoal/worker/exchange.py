"""HTTP/1.1 with a runner over its unix socket: kept-alive connections, one request at a time on each.

An answer goes on in the call that brings its last byte: see `runtime/errand.py`.
A caller that goes away (its errand is cancelled) takes its connection with it,
and the runner stops working for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httptools
from msgspec import Struct

from shoal.errors import Lost, Unreachable
from shoal.runtime.errand import Later, in_task

#: Called with each piece of a good answer as it comes, if it is a stream of events.
OnPiece = Callable[[bytes], None]
#: The headers of an answer that anybody looks at.
HEEDED = frozenset((b"content-type", b"shoal-units"))

EVENTS = "text/event-stream"


class Response(Struct):
    """A runner's answer, with the headers that count; the body is empty if its pieces were handed on."""

    status: int
    headers: dict[str, str]
    body: bytes


class Exchange(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: Later[Response] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._keeps = True
        self._begin(None)

    def ask(self, request: bytes, on_piece: OnPiece | None) -> Later[Response]:
        """Send a request; its response. `Lost` if the runner hangs up first."""
        assert self._transport is not None
        self._begin(on_piece)
        answer: Later[Response] = Later()
        self._answer = answer
        self._transport.write(request)
        return answer

    @property
    def usable(self) -> bool:
        """True if another request can be sent."""
        return self._transport is not None and not self._transport.is_closing() and self._keeps

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def _begin(self, on_piece: OnPiece | None) -> None:
        self._on_piece = on_piece
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._streams = False
        self._response: Response | None = None

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the runner does not speak HTTP: {error}")
            self.close()
        response, self._response = self._response, None
        if response is not None and self._answer is not None:
            self._answer.set(response)  # what follows from it is none of the parser's business

    def connection_lost(self, error: Exception | None) -> None:
        self._keeps = False
        self._fail("the runner ended before it answered")

    def _fail(self, message: str) -> None:
        if self._answer is not None:
            self._answer.fail(Lost(message))

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        if (name := name.lower()) in HEEDED:
            self._headers[name.decode()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        events = self._headers.get("content-type", "").startswith(EVENTS)
        self._streams = events and self._parser.get_status_code() == 200

    def on_body(self, piece: bytes) -> None:
        if self._on_piece is not None and self._streams:
            self._on_piece(piece)
        else:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self._keeps = self._parser.should_keep_alive()
        status = self._parser.get_status_code()
        self._response = Response(status, self._headers, b"".join(self._pieces))


class Pool:
    """The connections to one runner."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[Exchange] = []

    async def get(self, path: str) -> Response:
        """`GET path`, in a task. Raises `Unreachable` or `Lost`."""
        return await in_task(self._ask(f"GET {path} HTTP/1.1\r\nHost: runner\r\n\r\n".encode(), None))

    async def post(
        self, path: str, content_type: str, body: bytes, *, on_piece: OnPiece | None = None
    ) -> Response:
        """`POST path`, in an errand. Raises `Unreachable` or `Lost`."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: runner\r\nAccept: {EVENTS}, */*\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return await self._ask(head.encode("latin-1") + body, on_piece)

    def close(self) -> None:
        """Hang up everywhere."""
        for exchange in self._idle:
            exchange.close()
        self._idle.clear()

    async def _ask(self, request: bytes, on_piece: OnPiece | None) -> Response:
        exchange = await self._take()
        try:
            response = await exchange.ask(request, on_piece)
        except BaseException:
            exchange.close()
            raise
        if exchange.usable:
            self._idle.append(exchange)
        else:
            exchange.close()
        return response

    async def _take(self) -> Exchange:
        while self._idle:
            exchange = self._idle.pop()
            if exchange.usable:
                return exchange
        connecting = asyncio.create_task(self._connect())
        try:
            return await connecting
        except asyncio.CancelledError:
            connecting.add_done_callback(self._keep)
            raise

    async def _connect(self) -> Exchange:
        loop = asyncio.get_running_loop()
        try:
            _, exchange = await loop.create_unix_connection(Exchange, str(self._path))
        except OSError as error:
            raise Unreachable(f"the runner cannot be reached: {error.strerror}") from error
        return exchange

    def _keep(self, connecting: asyncio.Task[Exchange]) -> None:
        """It was there just as nobody wanted it any more: another will."""
        if not connecting.cancelled() and connecting.exception() is None:
            self._idle.append(connecting.result())
