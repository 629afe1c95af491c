"""Lines to one gateway: kept-alive connections, bounded in number, one request at a time on each.

For whoever asks much: a request costs a few microseconds of parsing, and its answer is a future. It promises
nothing of what the answers say.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import httptools
from msgspec import Struct

from shoal.errors import Failed, Lost, Refused, Unreachable

#: A gateway hangs up on a line that rests for 75 s; one that rests for this long is not used again.
REST_S = 30.0
CONNECT_S = 5.0
ANSWER_BYTES_MAX = 64 << 20


class Reply(Struct):
    """An answer, read whole; its headers by their names in small letters."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.rests_since_s = 0.0
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Reply] | None = None
        self._open = False
        self._begin()

    def ask(self, request: bytes) -> asyncio.Future[Reply]:
        """Send a request; its answer, or `Lost` if the gateway hangs up first."""
        self._begin()
        answer = self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return answer

    @property
    def usable(self) -> bool:
        """True if another request can be sent."""
        return self._open

    def close(self) -> None:
        """Hang up."""
        self._open = False
        self._transport.abort()

    def _begin(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def _fail(self, error: Exception) -> None:
        self._open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(Failed(f"the gateway does not speak HTTP: {error}"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(Lost(f"the gateway hung up{f': {error}' if error else ''}"))

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, piece: bytes) -> None:
        self._size_bytes += len(piece)
        if self._size_bytes > ANSWER_BYTES_MAX:
            self._fail(Failed(f"an answer is longer than {ANSWER_BYTES_MAX} bytes"))
            self.close()
        else:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self._open = self._open and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            status = self._parser.get_status_code()
            self._answer.set_result(Reply(status, self._headers, b"".join(self._pieces)))


class Lines:
    """All connections to one gateway. Whoever finds none free waits for one, in turn."""

    def __init__(self, url: str, *, lines_max: int) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"{url!r} is no gateway; write http://host:port")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self.host = parts.netloc.rpartition("@")[2]
        self._name = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._free = asyncio.Semaphore(lines_max)
        self._idle: deque[Line] = deque()
        self._busy: set[Line] = set()

    async def ask(self, request: bytes, sent: Callable[[], None] | None = None) -> Reply:
        """Send a request once a line is free, and say so; its answer. Raises `Unreachable`, `Lost` or `Failed`."""
        async with self._free:
            line = await self._take()
            if sent is not None:
                sent()
            self._busy.add(line)
            try:
                reply = await line.ask(request)
            except BaseException:
                line.close()
                raise
            finally:
                self._busy.discard(line)
            if line.usable:
                line.rests_since_s = asyncio.get_running_loop().time()
                self._idle.append(line)
            return reply

    async def post(self, path: str, head: str, body: bytes, sent: Callable[[], None] | None = None) -> Reply:
        """`POST`, with these lines of head besides."""
        length = f"Content-Length: {len(body)}\r\n\r\n"
        request = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\n{head}{length}".encode() + body
        return await self.ask(request, sent)

    async def send(self, method: str, path: str, head: str = "") -> Reply:
        """A request without a body."""
        return await self.ask(f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{head}\r\n".encode())

    def close(self) -> None:
        """Hang up everywhere."""
        for line in (*self._idle, *self._busy):
            line.close()
        self._idle.clear()

    async def _take(self) -> Line:
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            line = self._idle.pop()
            if line.usable and now_s - line.rests_since_s < REST_S:
                return line
            line.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, line = await loop.create_connection(Line, self._name, self._port, ssl=self._tls)
        except OSError as error:
            raise Unreachable(f"no gateway answers at {self.url}; start a network with `shoal up`") from error
        return line
