"""What every HTTP door shares: requests read within limits, replies, and errors in the shapes that clients parse.

It knows no house. A handler takes a `Request` and gives a `Reply` or a `Feed`;
whatever it raises becomes one clear error, never a stack trace on the wire.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from shoal.errors import Busy, Failed, NoCapacity, NotFound, Refused, ShoalError, TooLarge, Unauthorized
from shoal.units import MIB, SECOND_MS

log = logging.getLogger("shoal.door")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
EVENTS = b"text/event-stream"
#: What keeps proxies and browsers from holding a stream back, or from taking a body for what it is not.
PLAIN: Headers = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
#: A body that stops arriving for so long is given up.
BODY_PAUSE_MS = 30 * SECOND_MS
PATH_PARTS_MAX = 8
#: The name under which a request's scope has its client's presence.
PRESENCE = "shoal.presence"
INTAKE_BYTES_MAX = 256 * MIB

encode = msgspec.json.Encoder().encode


class Left(Exception):
    """The client has gone before it was answered."""


class MethodNotAllowed(Refused):
    """This path knows other methods only."""

    code = "method_not_allowed"
    http_status = 405


class TooSlow(Refused):
    """The body stopped arriving; send it again."""

    code = "too_slow"
    http_status = 408


class Intake:
    """The large bodies that are being read just now: all together they stay within a limit."""

    def __init__(self, bytes_max: int = INTAKE_BYTES_MAX) -> None:
        self._left_bytes = bytes_max

    def take(self, size_bytes: int) -> None:
        """Make room. Raises `Busy` if there is none."""
        if size_bytes > self._left_bytes:
            raise Busy("too much is being sent here at once; try again later")
        self._left_bytes -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        """So much has been read, or given up."""
        self._left_bytes += size_bytes


class Presence:
    """Whether the client at the other end of a connection is still there."""

    def __init__(self) -> None:
        self._ended = False
        self._calls: list[Callable[[], None]] = []

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call once the client leaves, at once if it has left."""
        if self._ended:
            call()
        else:
            self._calls.append(call)

    def forget(self, call: Callable[[], None]) -> None:
        """This call is needed no more."""
        if not self._ended:
            self._calls.remove(call)

    def end(self) -> None:
        """The client has left."""
        self._ended = True
        for call in self._calls:
            call()


class Request:
    """One request. `part` is what stands in the path where its route has a `*`."""

    __slots__ = ("_intake", "_receive", "headers", "method", "part", "path", "presence", "query_string")

    def __init__(self, scope: Scope, receive: Receive, intake: Intake) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query_string: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.part = ""
        self.presence: Presence = scope["extensions"][PRESENCE]
        self._receive = receive
        self._intake = intake

    def header(self, name: bytes) -> str:
        """A header's value by its name in small letters, "" if there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    def query(self, name: str) -> str:
        """The last value of a parameter of the query, "" if there is none."""
        if not self.query_string:
            return ""
        return parse_qs(self.query_string.decode("latin-1")).get(name, [""])[-1]

    async def body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises `TooLarge` as soon as it is known to be, `Left` if the client goes."""
        too_large = f"the body is larger than the {limit_bytes} bytes that are accepted here"
        if int(self.headers.get(b"content-length", b"0")) > limit_bytes:
            raise TooLarge(too_large)
        message = await self._receive()
        if message["type"] == "http.request" and not message["more_body"]:
            body: bytes = message["body"]
        else:
            body = await self._gather(message, limit_bytes)
        if len(body) > limit_bytes:
            raise TooLarge(too_large)
        return body

    async def _gather(self, message: Any, limit_bytes: int) -> bytes:
        """A body in many pieces; one that grows over the limit is not read to its end."""
        parts: list[bytes] = []
        size_bytes = 0
        try:
            while message["type"] == "http.request":
                self._intake.take(len(message["body"]))
                parts.append(message["body"])
                size_bytes += len(message["body"])
                if size_bytes > limit_bytes or not message["more_body"]:
                    return b"".join(parts)
                async with asyncio.timeout(BODY_PAUSE_MS / SECOND_MS):
                    message = await self._receive()
        except TimeoutError as error:
            raise TooSlow from error
        finally:
            self._intake.give_back(size_bytes)
        raise Left


class Reply(Struct, frozen=True):
    """A whole answer."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = ()

    async def send(self, send: Send) -> None:
        """Write it out."""
        headers = [
            (b"content-type", self.content_type),
            (b"content-length", b"%d" % len(self.body)),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Feed(Struct, frozen=True):
    """An answer that comes in pieces, each sent as soon as it is there."""

    pieces: AsyncGenerator[bytes, None]
    headers: Headers = ()

    async def send(self, send: Send) -> None:
        """Write it out; a client that reads slowly slows the pieces."""
        headers = [(b"content-type", EVENTS), *PLAIN, *self.headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self.pieces) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


Handler = Callable[[Request], Awaitable[Reply | Feed]]


def error_value(error: ShoalError) -> dict[str, Any]:
    """An error in both shapes that clients parse: Livepeer's `detail.msg` and OpenAI's `error.message`."""
    kind = "invalid_request_error" if isinstance(error, Refused) else "server_error"
    return {
        "detail": {"msg": error.message},
        "error": {"message": error.message, "code": error.code, "type": kind},
    }


def error_reply(error: ShoalError, headers: Headers = ()) -> Reply:
    """An error as an answer, with the headers that its status asks for."""
    if error.retry_after_ms or isinstance(error, Busy | NoCapacity):
        wait_s = max(1, -(-error.retry_after_ms // SECOND_MS))
        headers += ((b"retry-after", b"%d" % wait_s),)
    if isinstance(error, Unauthorized):
        headers += ((b"www-authenticate", b"Bearer"),)
    return Reply(encode(error_value(error)), error.http_status, headers=headers)


class Door:
    """An ASGI application: one table of routes, `METHOD /path/*/more`, and no layers between it and its handlers."""

    def __init__(self, routes: Mapping[str, Handler]) -> None:
        self._intake = Intake()
        self._paths: dict[str, dict[str, Handler]] = {}
        for route, handler in routes.items():
            method, path = route.split(" ")
            self._paths.setdefault(path, {})[method] = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive, self._intake)
        try:
            reply = await self._handler(request)(request)
        except ShoalError as error:
            reply = error_reply(error)
        except Left:
            return
        except Exception:
            log.exception("%s %s met a bug", request.method, request.path)
            reply = error_reply(Failed("something broke here; the log of this node says what"))
        await reply.send(send)

    def _handler(self, request: Request) -> Handler:
        methods = self._paths.get(request.path) or self._with_part(request)
        handler = methods.get(request.method)
        if handler is None:
            raise MethodNotAllowed(f"{request.path} knows {', '.join(methods)}, not {request.method}")
        return handler

    def _with_part(self, request: Request) -> dict[str, Handler]:
        parts = request.path.split("/", PATH_PARTS_MAX)
        for index, part in enumerate(parts):
            methods = self._paths.get("/".join([*parts[:index], "*", *parts[index + 1 :]]))
            if methods is not None and part:
                request.part = part
                return methods
        raise NotFound(f"there is nothing at {request.path[:200]}; there are {', '.join(self._paths)}")
