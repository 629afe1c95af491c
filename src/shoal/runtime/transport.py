"""The nodes this node is connected to, by their ids; words to them and from them.

A word is sent at most once and may be lost with its connection; a small word may
overtake a large one. Whoever needs more repeats. Nothing is believed about a
peer that it has not proved, and nothing off this computer is listened to unless
somebody decides who may come in.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Callable
from random import Random
from secrets import token_bytes

from shoal.errors import Busy, Refused, Unreachable
from shoal.ids import NodeId
from shoal.machine import Connected, Disconnected, Event
from shoal.runtime.certificate import dialler_tls, fingerprint, listener_tls
from shoal.runtime.connection import Connection, Limits
from shoal.runtime.handshake import NONCE_BYTES, VERSION, Admit, Handshake, Hello, Side
from shoal.runtime.keys import NodeKey
from shoal.units import SECOND_MS
from shoal.wire.codec import encode
from shoal.wire.words import Word

log = logging.getLogger("shoal.transport")


class Peers:
    """Every connection of one node, in one event loop. Make it where the loop runs.

    `post` is called for every event in the order of its happening, never from
    within `send` or another of the host's calls.
    """

    def __init__(
        self,
        key: NodeKey,
        role: str,
        boot: str,
        post: Callable[[Event], None],
        *,
        rng: Random,
        admit: Admit | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`admit` decides about every peer that is not pinned; without it, all on this computer may come."""
        self.limits = limits or Limits()
        self.post = post
        self._key = key
        self._role = role
        self._boot = boot
        self._rng = rng
        self._admit = admit
        self._loop = asyncio.get_running_loop()
        self._live: dict[NodeId, Connection] = {}
        self._unproven: set[Connection] = set()
        self._unwritten: list[Connection] = []
        self._open: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._dials: set[asyncio.Task[None]] = set()
        self._closing = False
        self._tls = dialler_tls()
        self._sweep_at = self._loop.time() + self.limits.sweep_ms / SECOND_MS
        self._sweeper = self._loop.call_at(self._sweep_at, self._sweep)

    # For the host.

    async def listen(self, host: str, port: int) -> int:
        """Take connections here and say on which port (0: on any). Raises `Refused` if that cannot be."""
        if self._admit is None and not _loopback(host):
            raise Refused(
                f"{host} is open to other computers: say which keys are admitted, or listen on 127.0.0.1"
            )
        context, certificate = listener_tls()
        half_s = self.limits.handshake_ms / 2 / SECOND_MS
        try:
            server = await self._loop.create_server(
                lambda: Connection(self, lambda _: self._handshake(Side.LISTENER, certificate)),
                host,
                port,
                ssl=context,
                ssl_handshake_timeout=half_s,
                ssl_shutdown_timeout=self.limits.farewell_ms / SECOND_MS,
            )
        except (OSError, OverflowError, UnicodeError) as error:
            raise Refused(f"cannot listen on {host}:{port}: {error}; name another address") from error
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def dial(self, host: str, port: int, expect: NodeId | None = None) -> None:
        """Keep a connection to this address for as long as this lives; `expect` pins who must be there."""
        task = self._loop.create_task(self._keep(host, port, expect), name=f"dial {host}:{port}")
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    def send(self, peer: NodeId, word: Word) -> bool:
        """Send a word, once. False if the peer is not connected, or reads so slowly that it is let go."""
        connection = self._live.get(peer)
        if connection is None:
            return False
        message = encode(word)
        if len(message) > self.limits.message_bytes_max:
            log.error(
                "a %s of %d bytes was not sent: the limit is %d",
                type(word).__name__,
                len(message),
                self.limits.message_bytes_max,
            )
            return False
        return connection.send(message, patient=word.patient)

    def flush(self) -> None:
        """Write what was sent in this turn of the loop; at its end this happens by itself."""
        unwritten, self._unwritten = self._unwritten, []
        for connection in unwritten:
            connection.flush()

    def connected(self, peer: NodeId) -> bool:
        """Whether this peer can be sent to now."""
        connection = self._live.get(peer)
        return connection is not None and not connection.choked

    async def close(self) -> None:
        """Take leave of everybody, and stop. Nothing is posted any more."""
        self._closing = True
        self.post = _ignore
        self._sweeper.cancel()
        for server in self._servers:
            server.close()
        dials = list(self._dials)
        for dial in dials:
            dial.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        for connection in list(self._open):
            connection.end(Unreachable(f"{self._role} {self._key.id} is stopping"), loud=False)
        if self._open:
            await asyncio.wait([c.gone for c in self._open], timeout=2 * self.limits.farewell_ms / SECOND_MS)
        for connection in list(self._open):
            connection.abort()
            await asyncio.wait([connection.gone])
        for server in self._servers:
            await server.wait_closed()

    # For its connections.

    def flush_soon(self, connection: Connection) -> None:
        """Let a link write at the end of this turn, together with the others."""
        if not self._unwritten:
            self._loop.call_soon(self.flush)
        self._unwritten.append(connection)

    def opened(self, connection: Connection) -> None:
        """Count a link that has proved nothing yet."""
        self._open.add(connection)
        if self._closing:
            raise Unreachable("this node is stopping")
        if len(self._unproven) >= self.limits.unproven_max:
            raise Busy("too many strangers at once; try again later")
        self._unproven.add(connection)

    def proved(self, connection: Connection) -> None:
        """Take a link for the one of its node; an older one gives way.

        The machine hears `Connected` again, without a `Disconnected` between if it
        is the same process: words may have been lost with the older link, so all
        that is only said at the start must be said anew.
        """
        assert connection.peer is not None
        node = NodeId(connection.peer.node)
        older = self._live.get(node)
        if older is None and len(self._live) >= self.limits.peers_max:
            raise Busy("too many peers; try another node")
        self._unproven.discard(connection)
        self._live[node] = connection
        if older is not None and older.peer is not None:
            older.end(Refused("a newer connection of this node takes its place"))
            if older.peer.boot != connection.peer.boot:
                self.post(Disconnected(node))
        self.post(Connected(node, connection.peer.role, connection.peer.boot))

    def ended(self, connection: Connection) -> None:
        """Forget a link; its peer is gone unless it has another."""
        self._unproven.discard(connection)
        if connection.peer is None:
            return
        node = NodeId(connection.peer.node)
        if self._live.get(node) is connection:
            del self._live[node]
            self.post(Disconnected(node))

    def closed(self, connection: Connection) -> None:
        """Nothing of this link is left."""
        self._open.discard(connection)

    # The rest is its own affair.

    def _handshake(self, side: Side, certificate: bytes, expect: NodeId | None = None) -> Handshake:
        hello = Hello(VERSION, self._role, self._key.id, self._boot, token_bytes(NONCE_BYTES))
        return Handshake(side, self._key, hello, certificate=certificate, expect=expect, admit=self._admit)

    async def _keep(self, host: str, port: int, expect: NodeId | None) -> None:
        """Dial, again and again, with longer and longer pauses while it is of no use."""
        node, trouble, failures = expect, "", 0
        while True:
            # Two addresses may lead to one node. Dialling the second would only end the first.
            if node is None or not self.connected(node):
                try:
                    connection = await self._connect(host, port, expect)
                except (OSError, OverflowError, UnicodeError) as error:
                    if str(error) != trouble:
                        trouble = str(error)
                        log.warning("%s:%d cannot be reached: %s; trying on", host, port, trouble)
                else:
                    trouble = ""
                    # Not `await connection.gone`: cancelling this task would cancel that.
                    await asyncio.wait([connection.gone])
                    if connection.peer is not None:
                        node = NodeId(connection.peer.node)
                        if self._loop.time() - connection.since > self.limits.backoff_ms_max / SECOND_MS:
                            failures = 0
            ceiling_ms = min(self.limits.backoff_ms_max, self.limits.backoff_ms_min << min(failures, 30))
            failures += 1
            await asyncio.sleep(self._rng.uniform(0, ceiling_ms) / SECOND_MS)

    async def _connect(self, host: str, port: int, expect: NodeId | None) -> Connection:
        half_s = self.limits.handshake_ms / 2 / SECOND_MS

        def introduce(tls: ssl.SSLObject) -> Handshake:
            certificate = tls.getpeercert(binary_form=True)
            return self._handshake(Side.DIALLER, fingerprint(certificate or b""), expect)

        try:
            async with asyncio.timeout(half_s):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self, introduce),
                    host,
                    port,
                    ssl=self._tls,
                    ssl_handshake_timeout=half_s,
                    ssl_shutdown_timeout=self.limits.farewell_ms / SECOND_MS,
                )
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {half_s:g} s") from error
        return connection

    def _sweep(self) -> None:
        """Look for the silent, and show the others that this node lives."""
        limits = self.limits
        now = self._loop.time()
        # If this process itself stood still, nobody else is to be judged by that time.
        late_s = now - self._sweep_at
        if late_s > limits.sweep_ms / SECOND_MS:
            for connection in self._open:
                connection.excuse(late_s)
        self._sweep_at = now + limits.sweep_ms / SECOND_MS
        self._sweeper = self._loop.call_at(self._sweep_at, self._sweep)
        for connection in list(self._open):
            connection.watch(now)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ignore(event: Event) -> None:
    """Where events go once nobody wants them."""
