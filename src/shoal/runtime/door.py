"""What every HTTP door shares: requests read within limits, replies, and errors in the shapes that clients parse.

It knows no house. A handler takes a `Request` and gives a `Reply` or a `Feed`;
whatever it raises becomes one clear error, never a stack trace on the wire.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from shoal.errors import Busy, Failed, NoCapacity, NotFound, Refused, ShoalError, Unauthorized
from shoal.runtime.body import Body, Left
from shoal.runtime.errand import Abandoned, Errand
from shoal.units import SECOND_MS

log = logging.getLogger("shoal.door")

Headers = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
EVENTS = b"text/event-stream"
#: What keeps proxies and browsers from holding a stream back, or from taking a body for what it is not.
PLAIN: Headers = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
PATH_PARTS_MAX = 8

encode = msgspec.json.Encoder().encode


class MethodNotAllowed(Refused):
    """This path knows other methods only."""

    code = "method_not_allowed"
    http_status = 405


class TooSlow(Refused):
    """The body stopped arriving; send it again."""

    code = "too_slow"
    http_status = 408


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
        calls, self._calls = self._calls, []
        for call in calls:
            call()


class Request:
    """One request. `part` is what stands in the path where its route has a `*`."""

    __slots__ = ("content", "headers", "method", "part", "path", "presence", "query_string")

    def __init__(
        self,
        method: str,
        path: str,
        query_string: str,
        headers: dict[bytes, bytes],
        content: Body,
        presence: Presence,
    ) -> None:
        """The names of its headers are in small letters."""
        self.method = method
        self.path = path
        self.query_string = query_string
        self.headers = headers
        self.content = content
        self.presence = presence
        self.part = ""

    def header(self, name: bytes) -> str:
        """A header's value by its name in small letters, "" if there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    def query(self, name: str) -> str:
        """The last value of a parameter of the query, "" if there is none."""
        if not self.query_string:
            return ""
        return parse_qs(self.query_string).get(name, [""])[-1]

    def body(self, limit_bytes: int) -> Coroutine[Any, None, bytes]:
        """The whole body; ask for it before anything else is awaited. Raises `TooLarge`, `Left`, `TooSlow`."""
        return self.content.read(limit_bytes)


class Reply(Struct, frozen=True):
    """A whole answer."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = ()


class Feed(Struct, frozen=True):
    """An answer that comes in pieces, each sent as soon as it is there."""

    pieces: AsyncGenerator[bytes, None]
    headers: Headers = ()


Handler = Callable[[Request], Coroutine[Any, None, Reply | Feed]]
#: Called once with what is to be answered; with None if nobody is left to hear it.
Answer = Callable[[Reply | Feed | None], None]


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
    """One table of routes, `METHOD /path/*/more`, and no layers between it and its handlers."""

    def __init__(self, routes: Mapping[str, Handler]) -> None:
        self._paths: dict[str, dict[str, Handler]] = {}
        for route, handler in routes.items():
            method, path = route.split(" ")
            self._paths.setdefault(path, {})[method] = handler

    def serve(self, request: Request, answer: Answer) -> None:
        """Have one request answered: in this very call, or when what it awaits is there."""

        def settle(outcome: Reply | Feed | Exception) -> None:
            answer(_explain(outcome, request) if isinstance(outcome, Exception) else outcome)

        try:
            handler = self._handler(request)
        except ShoalError as error:
            settle(error)
        else:
            Errand(handler(request), settle)

    def _handler(self, request: Request) -> Handler:
        methods = self._paths.get(request.path) or self._with_part(request)
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
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


def _explain(error: Exception, request: Request) -> Reply | None:
    """An error as what its client is told of it."""
    if isinstance(error, ShoalError):
        return error_reply(error)
    if isinstance(error, Left | Abandoned):
        return None
    log.error("%s %s met a bug", request.method, request.path, exc_info=error)
    return error_reply(Failed("something broke here; the log of this node says what"))
