"""Serving HTTP: an ASGI application on an address, inside a loop that is not its own.

Off this computer it listens only for an application that keeps strangers out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shoal.errors import Refused
from shoal.runtime.door import PRESENCE, Presence, error_reply
from shoal.units import KIB, MIB

HEADER_BYTES_MAX = 64 * KIB
#: How long a request's head may take to come.
HEADER_S_MAX = 20
#: What still comes of a request that has its answer is read and dropped, so that its sender gets to read that
#: answer; up to here.
DROPPED_BYTES_MAX = 128 * MIB
CONNECTIONS_MAX = 10_000
KEEP_ALIVE_S = 75
DRAIN_S = 30


class Gathered:
    """A transport on which everything that is written in one turn of the loop leaves in one write.

    A head and its body are two writes to uvicorn; two calls of the system, and
    perhaps two wake-ups of the client, would cost a tenth of a small request.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write, soon."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Write what waits, and hang up."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(b"".join(parts))


class Protocol(HttpToolsProtocol):
    """One connection, on which everything is bounded that the parser itself would take without end.

    Its application finds in `scope["extensions"][PRESENCE]` whether the client is still there.
    """

    _in_head = True
    _head_bytes = 0
    _dropped_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is here; it has so long to say what it wants."""
        super().connection_made(cast(asyncio.Transport, Gathered(transport, self.loop)))
        self._presence = Presence()
        self._head_timer = self.loop.call_later(HEADER_S_MAX, transport.close)

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._await_head(False)
        super().connection_lost(error)
        self._presence.end()

    def data_received(self, data: bytes) -> None:
        """Bytes have come: of a head, of a body, or of both."""
        was_in_head = self._in_head
        super().data_received(data)
        if self._in_head:
            # What came with the end of the request before is not counted; it is at most one read.
            self._head_bytes += len(data) if was_in_head else 0
            if self._head_bytes > HEADER_BYTES_MAX and not self.transport.is_closing():
                self.send_400_response(f"The head of a request has at most {HEADER_BYTES_MAX} bytes.")
            self._await_head(not self.transport.is_closing())

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with a head in the shapes that clients parse, and end the connection."""
        reply = error_reply(Refused(msg))
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head % (reply.content_type, len(reply.body)) + reply.body)
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()
        self.scope["extensions"] = {PRESENCE: self._presence}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        """A request's head is whole."""
        self._in_head = False
        if self._head_timer is not None:
            self._await_head(False)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body has come, perhaps too late."""
        if self.cycle.response_complete:
            self._dropped_bytes += len(body)
            if self._dropped_bytes > DROPPED_BYTES_MAX:
                self.transport.close()
        super().on_body(body)

    def _await_head(self, awaited: bool) -> None:
        """Give a head that is not whole its time; take it back from one that is."""
        if awaited and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEADER_S_MAX, self.transport.close)
        elif not awaited and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """A server whose owner handles the signals and decides when it ends."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._listener = listener
        self._running: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()

    async def open(self) -> None:
        """Serve from now on; returns once connections are taken."""
        self._running = asyncio.get_running_loop().create_task(self._serve([self._listener]))
        await self._opened.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn's own start; `open` waits for its end."""
        await super().startup(sockets)
        self._opened.set()

    async def close(self) -> None:
        """Take no new requests, let open ones end (for at most `DRAIN_S`), then close."""
        if self._running is not None:
            self.should_exit = True
            await self._running


def bind(host: str, port: int, *, guarded: bool = False) -> socket.socket:
    """A listening socket. Raises `Refused` off this computer unless `guarded` by keys, or if it cannot be had."""
    if not guarded and not _loopback(host):
        raise Refused(f"{host} is open to other computers: set API keys, or listen on 127.0.0.1")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1_024)
    except OSError as error:
        listener.close()
        raise Refused(f"cannot listen on {host}:{port}: {error.strerror}; name another address") from error
    return listener


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
