"""The heads of HTTP/1.1: a request's in our words, a reply's in bytes."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import unquote

from shoal.errors import Refused
from shoal.runtime.door import EVENTS, PLAIN, Feed, Headers, Reply

#: What may stand in a head but once: two of these could mean one thing to a proxy before us, and another to us.
ONCE = frozenset((b"host", b"authorization", b"idempotency-key", b"expect", b"origin"))
CLOSE = b"connection: close\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
CONTINUE = STATUS_LINES[100] + b"\r\n"


def fold(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """A head's lines by their names. Raises `Refused` if there are two of which there can be but one."""
    headers = dict(pairs)
    if len(headers) == len(pairs):
        return headers
    headers = {}
    for name, value in pairs:
        if name in headers and name in ONCE:
            raise Refused(f"a request has one {name.decode()}")
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def check(version: str, headers: dict[bytes, bytes]) -> None:
    """Raise `Refused` if a proxy before us may have understood this head otherwise."""
    if version not in ("1.1", "1.0"):
        raise Refused("this server speaks HTTP/1.1")
    if version == "1.1" and b"host" not in headers:
        raise Refused("a request of HTTP/1.1 names its Host")
    if version == "1.0" and b"transfer-encoding" in headers:
        raise Refused("a request of HTTP/1.0 has no Transfer-Encoding")


def split(target: bytes) -> tuple[str, str]:
    """A request's path and its query; what it says before the path is not looked at."""
    if not target.startswith(b"/") and b"://" in target:
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    path, _, query = target.partition(b"#")[0].decode("latin-1").partition("?")
    return unquote(path) if "%" in path else path, query


def reply_head(reply: Reply, ending: bytes) -> bytes:
    """A reply without its body; `ending` is `CLOSE` or nothing."""
    return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (
        STATUS_LINES.get(reply.status) or b"HTTP/1.1 %d \r\n" % reply.status,
        reply.content_type,
        len(reply.body),
        _lines(reply.headers),
        ending,
    )


def feed_head(feed: Feed, *, chunked: bool, ending: bytes) -> bytes:
    """What comes before a feed's pieces."""
    framing = CHUNKED if chunked else b""
    top = STATUS_LINES[200] + b"content-type: %b\r\n" % EVENTS
    return top + _lines((*PLAIN, *feed.headers)) + framing + ending + b"\r\n"


def chunk(piece: bytes) -> bytes:
    """A piece of a feed; the empty one is the last."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % line for line in headers])
