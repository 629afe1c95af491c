"""Serving HTTP: a table of routes on an address, inside a loop that is not its own.

Off this computer it listens only for an application that keeps strangers out.
"""

from __future__ import annotations

import asyncio
import socket

from shoal.errors import Refused
from shoal.runtime.caller import Caller
from shoal.runtime.door import Door
from shoal.runtime.hall import Hall, Limits
from shoal.runtime.url import loopback

LIMITS = Limits()
BACKLOG = 1_024
#: How long requests that are open may take when the server closes.
DRAIN_S = 30


class Server:
    """A server whose owner handles the signals and decides when it ends."""

    def __init__(
        self, door: Door, listener: socket.socket, *, limits: Limits | None = None, drain_s: float = DRAIN_S
    ) -> None:
        """The listener is a socket of TCP or of this computer alone; `drain_s` is how long open requests may take."""
        self._hall = Hall(door.serve, limits or LIMITS)
        self._listener = listener
        self._drain_s = drain_s
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Serve from now on; returns once connections are taken."""
        loop = asyncio.get_running_loop()
        local = self._listener.family is socket.AF_UNIX
        create = loop.create_unix_server if local else loop.create_server
        self._server = await create(lambda: Caller(self._hall), sock=self._listener, backlog=BACKLOG)

    async def close(self) -> None:
        """Take no new requests, let open ones end while there is time, then close."""
        if self._server is None:
            self._listener.close()
            return
        self._server.close()
        await self._hall.clear(self._drain_s)


def bind(host: str, port: int, *, guarded: bool = False) -> socket.socket:
    """A listening socket. Raises `Refused` off this computer unless `guarded` by keys, or if it cannot be had."""
    if not guarded and not loopback(host):
        raise Refused(f"{host} is open to other computers: set API keys, or listen on 127.0.0.1")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Refused(f"cannot listen on {host}:{port}: {error.strerror}; name another address") from error
    return listener
