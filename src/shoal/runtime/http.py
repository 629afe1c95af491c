"""Serving HTTP: an ASGI application on an address, inside a loop that is not its own."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn

from shoal.errors import Refused
from shoal.units import KIB

HEADER_BYTES_MAX = 16 * KIB
DRAIN_S = 30


class Server(uvicorn.Server):
    """A server whose owner handles the signals and decides when it ends."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=DRAIN_S,
                h11_max_incomplete_event_size=HEADER_BYTES_MAX,
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


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `Refused` if the address cannot be had."""
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
