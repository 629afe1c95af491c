"""Serving HTTP: an ASGI application on an address, inside a loop that is not its own.

Off this computer it listens only for an application that keeps strangers out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shoal.errors import Refused
from shoal.units import KIB, MIB

HEADER_BYTES_MAX = 16 * KIB
#: What still comes of a request that has its answer is read and dropped, so that its sender gets to read that
#: answer; up to here.
DROPPED_BYTES_MAX = 128 * MIB
CONNECTIONS_MAX = 10_000
KEEP_ALIVE_S = 75
DRAIN_S = 30


class Protocol(HttpToolsProtocol):
    """One connection, on which everything is bounded that the parser itself would take without end."""

    _head_bytes = 0
    _dropped_bytes = 0

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address has come."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A piece of the body has come, perhaps too late."""
        if self.cycle.response_complete:
            self._dropped_bytes += len(body)
            if self._dropped_bytes > DROPPED_BYTES_MAX:
                self.transport.close()
        super().on_body(body)

    def _count(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > HEADER_BYTES_MAX:
            raise ValueError(f"the head of a request has more than {HEADER_BYTES_MAX} bytes")


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
