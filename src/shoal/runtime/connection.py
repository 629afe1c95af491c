"""One TLS link to one node: a handshake, then words both ways.

Whatever the other side sends, it ends this link at worst: one line in the log,
a code for the peer, and never an exception in the loop. Words sent while the
loop turns once leave in one write.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from shoal.errors import Busy, Refused, ShoalError, Untrusted
from shoal.ids import NodeId
from shoal.machine import Event, Heard
from shoal.runtime import frames, handshake
from shoal.runtime.certificate import ALPN
from shoal.runtime.frames import FrameReader, FrameWriter, Kind
from shoal.runtime.handshake import Farewell, Handshake, Hello
from shoal.units import KIB, MIB, SECOND_MS
from shoal.wire.codec import decode

log = logging.getLogger("shoal.transport")

_WHOLE = int(Kind.WHOLE)
_DROPPED = "%s: connection dropped: %s"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a peer may take of us, and how long we wait for it."""

    #: How long a patient word waits for another to travel with.
    patience_ms: int = 20
    frame_bytes_max: int = frames.FRAME_BYTES_MAX
    message_bytes_max: int = frames.MESSAGE_BYTES_MAX
    open_messages_max: int = frames.OPEN_MESSAGES_MAX
    #: A message of somebody who has not proved who it is.
    unproven_bytes_max: int = 4 * KIB
    unproven_max: int = 256
    peers_max: int = 10_000
    #: Bytes waiting for one slow peer; more, and it is let go.
    write_bytes_max: int = 512 * MIB
    #: From the first byte to the last proof: half of it for TLS, half for our own handshake.
    handshake_ms: int = 5 * SECOND_MS
    ping_ms: int = 2_500
    silence_ms: int = 7_500
    #: How long a link may take to end politely.
    farewell_ms: int = 1_000
    backoff_ms_min: int = 200
    backoff_ms_max: int = 5 * SECOND_MS
    #: How often silence is looked for: a dead peer is noticed within `silence_ms` and this.
    sweep_ms: int = 250


class Keeper(Protocol):
    """What a connection needs of the one who keeps it."""

    limits: Limits
    post: Callable[[Event], None]

    def flush_soon(self, connection: Connection) -> None:
        """Let a link write, at the end of this turn."""

    def opened(self, connection: Connection) -> None:
        """A link is there, nothing is proved. Raises `Busy` if there are too many."""

    def proved(self, connection: Connection) -> None:
        """The other side has proved who it is. Raises `Busy` if there are too many."""

    def ended(self, connection: Connection) -> None:
        """Nothing will come from this link any more. Said once, as early as it is known."""

    def closed(self, connection: Connection) -> None:
        """The socket is gone. Said once, last."""


class Connection(asyncio.Protocol):
    """One link, from either side."""

    def __init__(self, keeper: Keeper, introduce: Callable[[ssl.SSLObject], Handshake]) -> None:
        """`introduce` makes the handshake, for which it may look at the other side's certificate."""
        self._keeper = keeper
        self._limits = keeper.limits
        self._introduce = introduce
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(self._limits.unproven_bytes_max, self._limits.unproven_bytes_max, 0)
        self._writer = FrameWriter(self._limits.message_bytes_max, self._limits.open_messages_max)
        self._paused = False
        self._flushing = False
        self._patience: asyncio.TimerHandle | None = None
        self._node = NodeId("")
        self._name = "a stranger"
        #: Who the other side is, once it has proved it.
        self.peer: Hello | None = None
        #: Whether all has been said.
        self.ended = False
        #: Whether the other side reads too slowly to be sent anything more.
        self.choked = False
        #: When it began, when it last said something, and when we did, in the loop's seconds.
        self.since = self.heard_at = self.spoke_at = self._loop.time()
        #: Done when the socket is gone.
        self.gone: asyncio.Future[None] = self._loop.create_future()

    # The loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands; now for who it is."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=frames.CUT_BYTES)
        host, port = transport.get_extra_info("peername")[:2]
        self._name = f"{host}:{port}"
        self.since = self.heard_at = self.spoke_at = self._loop.time()
        try:
            self._keeper.opened(self)
            tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
            if tls.selected_alpn_protocol() != ALPN:
                raise Untrusted(f"the peer does not speak {ALPN}")
            self._shake = self._introduce(tls)
        except ShoalError as error:
            self.end(error)
            return
        self._say(self._shake.begin())

    def data_received(self, data: bytes) -> None:
        """Take what has come; a peer that breaks a rule is let go."""
        self.heard_at = self._loop.time()
        words: list[Heard] = []
        farewell: Farewell | None = None
        error: ShoalError | None = None
        try:
            farewell = self._read(data, words)
        except (Untrusted, Refused, Busy) as broken:
            error = broken
        # Outside of the `try`: what goes wrong in there is not the peer's fault.
        post = self._keeper.post
        for word in words:
            post(word)
        if error is not None:
            self.end(error)
        elif farewell is not None:
            self._part(farewell)

    def eof_received(self) -> None:
        """The other side says no more; the transport closes itself."""

    def pause_writing(self) -> None:
        """The socket is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._paused = False
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._leave()
        self._keeper.closed(self)
        self.gone.set_result(None)

    # The keeper calls these.

    def send(self, message: bytes, *, patient: bool = False) -> bool:
        """Queue an encoded word. False if nothing can be sent, or no more: the peer reads too slowly.

        A patient word goes with the next one, or alone after `patience_ms`: one
        wake-up for both, here and at the peer.
        """
        if self.ended or self.choked:
            return False
        self._writer.add(message)
        if self._writer.pending_bytes > self._limits.write_bytes_max:
            # Its end is told when the socket is gone, not from in here: the sender is busy with something.
            self.choked = True
            log.warning(_DROPPED, self._name, f"it left {self._writer.pending_bytes} bytes unread")
            self._transport.abort()
            return False
        if self._flushing:
            return True
        if not patient:
            self._flushing = True
            self._keeper.flush_soon(self)
        elif self._patience is None:
            self._patience = self._loop.call_later(self._limits.patience_ms / SECOND_MS, self.flush)
        return True

    def flush(self) -> None:
        """Write what waits: one frame of a large message at a time, so that others get their turn."""
        self._flushing = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._paused or self.ended or not self._writer:
            return
        self.spoke_at = self._loop.time()
        self._transport.write(self._writer.take())
        if self._writer and not self._paused:
            self._flushing = True
            self._keeper.flush_soon(self)

    def watch(self, now: float) -> None:
        """Let a silent peer go, and show a patient one that this side lives."""
        limits = self._limits
        if self.ended:
            return
        if self.peer is None:
            if (now - self.since) * SECOND_MS > limits.handshake_ms / 2:
                self.end(
                    Untrusted(f"the peer has not proved who it is within {limits.handshake_ms / 2:g} ms")
                )
        elif (now - self.heard_at) * SECOND_MS > limits.silence_ms:
            self.cut(f"nothing came for {limits.silence_ms} ms")
        elif (now - self.spoke_at) * SECOND_MS > limits.ping_ms and not self._writer:
            self._writer.add_ping()
            self.flush()

    def excuse(self, late_s: float) -> None:
        """Do not count this time: nobody was listening."""
        self.since += late_s
        self.heard_at += late_s

    def end(self, error: ShoalError, *, loud: bool = True) -> None:
        """Tell the peer why, and hang up."""
        if self.ended:
            return
        if loud:
            log.warning("%s: hanging up: %s", self._name, error.message)
        self._leave()
        self._writer.add_farewell(
            handshake.encode_farewell(Farewell(error.code, error.message[: handshake.REASON_CHARACTERS_MAX]))
        )
        self._transport.write(self._writer.take())
        self._transport.close()

    def cut(self, reason: str) -> None:
        """Hang up on a peer to which no more can be said."""
        if self.ended:
            return
        log.warning(_DROPPED, self._name, reason)
        self._leave()
        self._transport.abort()

    def abort(self) -> None:
        """Close the socket now, if it is still there."""
        self._transport.abort()

    # The rest is its own affair.

    def _read(self, data: bytes, words: list[Heard]) -> Farewell | None:
        """Add every word in `data` to `words`, also if something after it is no good; the farewell that ends it."""
        for kind, body in self._reader.feed(data):
            if self.ended:
                break
            if kind != _WHOLE:
                return handshake.decode_farewell(body)
            if self.peer is not None:
                words.append(Heard(self._node, decode(body)))
            else:
                self._prove(body)
        return None

    def _prove(self, body: memoryview) -> None:
        self._say(self._shake.receive(body))
        peer = self._shake.peer
        if peer is None:
            return
        limits = self._limits
        self._reader.limit(limits.frame_bytes_max, limits.message_bytes_max, limits.open_messages_max)
        self._node = NodeId(peer.node)
        self._name = f"{peer.role} {peer.node} at {self._name}"
        self.peer = peer
        self._keeper.proved(self)

    def _part(self, farewell: Farewell) -> None:
        """The other side has hung up and says why; what a stranger says is quoted."""
        log.warning("%s: the peer hung up: %r (%r)", self._name, farewell.reason, farewell.code)
        self._leave()
        self._transport.close()

    def _leave(self) -> None:
        if not self.ended:
            self.ended = True
            self._keeper.ended(self)

    def _say(self, message: bytes | None) -> None:
        if message is not None:
            self._writer.add(message)
            self.flush()
