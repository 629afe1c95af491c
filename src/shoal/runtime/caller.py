"""One client's connection: HTTP/1.1, read by a parser that knows nothing of it, answered in the order in which it asks.

It has two sides. What comes in is in the middle of something (`Reading`), which
has its time and its size; what goes out is the answer to one request at a time.
When in doubt about where a request ends, it answers and hangs up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import aclosing
from typing import cast

import httptools

from shoal.errors import Busy, Refused
from shoal.runtime.body import Body, Left
from shoal.runtime.door import Feed, Presence, Reply, Request, TooSlow, error_reply
from shoal.runtime.hall import BETWEEN, BODY, HEAD, LAST, STUCK, Hall, Reading, Sending
from shoal.runtime.heads import CLOSE, CONTINUE, check, chunk, feed_head, fold, reply_head, split
from shoal.units import KIB

log = logging.getLogger("shoal.door")

#: Beyond this a reply's head and body are not joined to one write: copying costs more than a call of the system.
JOINED_BYTES_MAX = 64 * KIB
FOREVER = float("inf")


class Call(Request):
    """A request on its connection."""

    __slots__ = ("chunks", "keeps")

    #: True if another may follow it.
    keeps: bool
    #: False for a client that knows no answer in pieces but one that ends with its connection.
    chunks: bool

    @property
    def has_body(self) -> bool:
        """True if its head says that a body follows."""
        return self.content.declared_bytes > 0 or b"transfer-encoding" in self.headers


class Caller(asyncio.Protocol):
    """One connection, on which everything is bounded that the parser itself would take without end."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._loop = asyncio.get_running_loop()
        self._presence = Presence()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport

        # What comes in
        self._reading = HEAD
        self._url = b""
        self._pairs: list[tuple[bytes, bytes]] = []
        #: The request whose body is next.
        self._coming: Call | None = None
        #: Bytes that have come since something was whole: a head, or a piece of a body.
        self._unended_bytes = 0
        self._dropped_bytes = 0
        self._reads = True

        # What goes out
        #: What waits for its turn. A reply is the last: it refuses what could not be read.
        self._waiting: deque[Call | Reply] = deque()
        self._answering: Call | None = None
        self._pump: asyncio.Task[None] | None = None
        #: What has been said in this turn of the loop, and is not written yet.
        self._words: list[bytes] = []
        self._leaving = False
        self._lost = False
        #: Set while the client takes what is sent to it.
        self._flowing = asyncio.Event()
        self._flowing.set()

        # How long it is waited for
        self._awaited: Reading | Sending | None = None
        self._due = FOREVER
        self._rings_at = FOREVER
        self._timer: asyncio.TimerHandle | None = None
        self._body_mark = 0
        self._unsent_bytes = FOREVER

    # What asyncio says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is here."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._hall.enter(self):
            self._say(error_reply(Busy("too many clients are connected here")), CLOSE)
            self._close()
        self._look()

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._lost = True
        self._hall.exit(self)
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        self._presence.end()
        if self._coming is not None:
            self._coming.content.break_off(Left())
        if self._pump is not None:
            self._pump.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes have come: a piece of a head, of a body, or many requests at once."""
        if self._reading is LAST:
            self._drop(len(data))
            return
        self._unended_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if self._unended_bytes > self._hall.limits.head_bytes and self._reading is not BETWEEN:
                raise Refused(f"a request's head has at most {self._hall.limits.head_bytes} bytes")
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except (httptools.HttpParserError, Refused) as error:
            self._misunderstand(error)
        if self._waiting:
            self._hall.begin_soon(self)
        else:
            self._look()

    def pause_writing(self) -> None:
        """The client takes nothing just now."""
        self._flowing.clear()
        self._look()

    def resume_writing(self) -> None:
        """It takes again."""
        self._flowing.set()
        self._look()
        self.begin()

    # What the parser says

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self._waiting) >= self._hall.limits.waiting:
            raise Refused(f"at most {self._hall.limits.waiting} requests wait for their turn on a connection")
        self._reading = HEAD
        self._url = b""
        self._pairs = []

    def on_url(self, piece: bytes) -> None:
        """A piece of its address has come."""
        self._url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of its head has come, or of what may follow a body and is of no use here."""
        if self._reading is HEAD:
            self._pairs.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Its head is whole. Raises `Refused` if it must not be believed."""
        if self._unended_bytes > self._hall.limits.head_bytes:
            self._measure_head()
        self._unended_bytes = 0
        version = self._parser.get_http_version()
        headers = fold(self._pairs)
        check(version, headers)
        expects = headers.get(b"expect", b"").lower() == b"100-continue"
        content = Body(
            self._hall.intake,
            int(headers.get(b"content-length", b"0")),
            self._ask_for_body if expects and version == "1.1" else None,
        )
        path, query = split(self._url)
        call = Call(self._parser.get_method().decode(), path, query, headers, content, self._presence)
        call.chunks = version == "1.1"
        call.keeps = call.chunks and self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._reading = BODY
        self._coming = call
        self._waiting.append(call)

    def on_body(self, piece: bytes) -> None:
        """A piece of its body has come."""
        self._unended_bytes = 0
        call = self._coming
        assert call is not None
        if call is not self._answering:
            call.content.arrive(piece)
        elif call.content.wanted:
            call.content.arrive(piece)
            if call.content.size_bytes - self._body_mark >= self._hall.limits.body_progress_bytes:
                self._body_mark = call.content.size_bytes
                self._awaited = None
        else:
            self._drop(len(piece))

    def on_message_complete(self) -> None:
        """It is whole."""
        call = self._coming
        assert call is not None
        if self._parser.should_upgrade() and call.has_body:
            return  # the parser stops here, but the body comes yet: see `_decline`
        self._unended_bytes = 0
        self._reading = BETWEEN
        self._coming = None
        call.content.end()

    # Reading

    def _measure_head(self) -> None:
        size_bytes = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._pairs)
        if size_bytes > self._hall.limits.head_bytes:
            raise Refused(f"a request's head has at most {self._hall.limits.head_bytes} bytes")

    def _misunderstand(self, error: Exception) -> None:
        """What came is no HTTP, or must not be believed: it is the last that is read."""
        if isinstance(error, httptools.HttpParserCallbackError) and isinstance(error.__context__, Refused):
            error = error.__context__
        refusal = error if isinstance(error, Refused) else Refused(f"this is no HTTP: {error}")
        call, self._coming = self._coming, None
        self._reading = LAST
        if call is not None:
            call.keeps = False
            call.content.break_off(refusal)
        elif not self._has_taken_leave():
            self._waiting.append(error_reply(refusal))

    def _has_taken_leave(self) -> bool:
        """True if the client's last request was its last by its own word; then nobody reads a refusal."""
        last = self._waiting[-1] if self._waiting else self._answering
        return isinstance(last, Call) and not last.keeps

    def _decline(self, rest: bytes) -> None:
        """The client would rather speak something else. It is answered in HTTP/1.1, and then has to call again."""
        call = self._coming
        if call is None:
            self._reading = LAST
            return
        # The parser has passed over the body. Another is told of nothing else, and reads it.
        chunked = b"transfer-encoding" in call.headers
        framing = (
            b"transfer-encoding: chunked"
            if chunked
            else b"content-length: %b" % call.headers[b"content-length"]
        )
        self._parser = httptools.HttpRequestParser(_BodyOnly(self))
        self._parser.feed_data(b"POST / HTTP/1.1\r\nconnection: close\r\n%b\r\n\r\n" % framing)
        self.data_received(rest)

    def _drop(self, size_bytes: int) -> None:
        self._dropped_bytes += size_bytes
        if self._dropped_bytes > self._hall.limits.dropped_bytes:
            self._transport.abort()
        self._awaited = None
        self._look()

    def _ask_for_body(self) -> None:
        if self._coming is not None and not self._coming.content.size_bytes:
            self._write(CONTINUE)

    def _read(self, reads: bool) -> None:
        if reads is not self._reads and not self._transport.is_closing():
            self._reads = reads
            self._transport.resume_reading() if reads else self._transport.pause_reading()

    # Answering

    def begin(self) -> None:
        """Begin with the next request, if there is one and nothing before it is open."""
        if self._waiting and self._answering is None and self._flowing.is_set() and not self._lost:
            call = self._waiting.popleft()
            if isinstance(call, Reply):
                self._say(call, CLOSE)
                self._hang_up()
                return
            self._answering = call
            self._body_mark = 0
            self._awaited = None
            self._hall.serve(call, self._answer)
        self._read(not self._waiting)
        self._look()

    def _answer(self, reply: Reply | Feed | None) -> None:
        call = self._answering
        if self._lost or call is None:
            if isinstance(reply, Feed):
                self._pump = self._loop.create_task(_close(reply))
            return
        if reply is None:
            self._transport.abort()
            return
        if self._leaving or not call.content.whole:
            call.keeps = False
        if isinstance(reply, Feed):
            self._pump = self._loop.create_task(self._send(call, reply))
            return
        self._say(reply, b"" if call.keeps else CLOSE, head_only=call.method == "HEAD")
        self._answered(call)

    def _say(self, reply: Reply, ending: bytes, *, head_only: bool = False) -> None:
        head = reply_head(reply, ending)
        if head_only:
            self._write(head)
        elif len(reply.body) <= JOINED_BYTES_MAX:
            self._write(head + reply.body)
        else:
            self._write(head)
            self.flush()
            self._transport.write(reply.body)

    def _write(self, data: bytes) -> None:
        if not self._words:
            self._hall.flush_soon(self)
        self._words.append(data)

    def flush(self) -> None:
        """Write out what has been said."""
        words, self._words = self._words, []
        if words and not self._transport.is_closing():
            self._transport.write(b"".join(words))

    def _close(self) -> None:
        self.flush()
        self._transport.close()

    def _answered(self, call: Call) -> None:
        self._answering = None
        if self._leaving or not call.keeps:
            self._hang_up()
        elif self._waiting:
            self._loop.call_soon(self.begin)  # one a turn: who asks for much at once must not keep the others
        else:
            self._look()

    async def _send(self, call: Call, feed: Feed) -> None:
        """Write a feed out; a client that reads slowly slows its pieces."""
        wrap = chunk if call.chunks else bytes
        ending = b"" if call.keeps else CLOSE
        try:
            async with aclosing(feed.pieces) as pieces:
                self._write(feed_head(feed, chunked=call.chunks, ending=ending))
                if call.method != "HEAD":
                    async for piece in pieces:
                        self._write(wrap(piece))
                        self.flush()
                        await self._flowing.wait()
                    self._write(wrap(b""))
        except Left:
            self._transport.abort()
        except Exception:
            log.exception("%s %s met a bug in mid-stream", call.method, call.path)
            self._transport.abort()  # what has been sent must not look whole
        else:
            self._pump = None
            self._answered(call)

    # Ending

    def leave(self) -> None:
        """Take no new request; end once the open ones are answered."""
        self._leaving = True
        if self._answering is None and not self._waiting:
            self._close()

    def abort(self) -> None:
        """End now."""
        self._transport.abort()

    def _hang_up(self) -> None:
        """Close, unless something may be on its way still: its sender could not read the answer then."""
        clean = self._reading is BETWEEN
        self._reading = LAST
        self._coming = None
        self._waiting.clear()
        if clean:
            self._close()
        self._read(True)
        self._look()

    # Patience

    def _look(self) -> None:
        """See what is up to the client now; something else than before gets its own time."""
        awaited = self._up_to_client()
        if awaited is self._awaited:
            return
        if awaited is not STUCK:
            self._unsent_bytes = FOREVER
        self._awaited = awaited
        if awaited is None:
            self._due = FOREVER
            return
        self._due = self._loop.time() + self._hall.patience_s[awaited]
        if self._due < self._rings_at:
            self._ring_at(self._due)

    def _up_to_client(self) -> Reading | Sending | None:
        if not self._flowing.is_set() or self._transport.is_closing():
            return STUCK
        if self._answering is not None and not self._answering.content.wanted:
            return None
        return self._reading

    def _ring_at(self, due: float) -> None:
        # A timer that rings too early looks again; that is cheaper than setting another for each request.
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = due
        self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._rings_at = FOREVER
        self._timer = None
        if self._loop.time() < self._due:
            if self._due < FOREVER:
                self._ring_at(self._due)
        elif self._awaited is STUCK:
            self._bear_with(self._transport.get_write_buffer_size())
        elif self._answering is not None:
            self._answering.content.break_off(TooSlow())
        else:
            self._close()
            self._look()

    def _bear_with(self, unsent_bytes: int) -> None:
        """Go on waiting for a client that takes its answer slowly, but not for one that takes nothing."""
        if unsent_bytes >= self._unsent_bytes:
            self._transport.abort()
            return
        self._unsent_bytes = unsent_bytes
        self._awaited = None
        self._look()


class _BodyOnly:
    """What a parser is given that reads nothing but a body."""

    def __init__(self, caller: Caller) -> None:
        self.on_body = caller.on_body
        self.on_message_complete = caller.on_message_complete


async def _close(feed: Feed) -> None:
    await feed.pieces.aclose()
