"""However the bytes of requests are split on their way, they are the same requests and get the same answers.

(If each is read to its end: who is answered before it has sent all is hung up on.)
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from line import Line, answers
from shoal.runtime.door import Reply, Request

LIMIT_BYTES = 400

tokens = st.text(st.sampled_from("abcxyz-0189"), min_size=1, max_size=8).map(str.encode)
bodies = st.binary(max_size=400)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from([b"GET", b"POST", b"DELETE"]))
    lines = [b"%b /%b?q=%b HTTP/1.1" % (method, draw(tokens), draw(tokens)), b"Host: localhost"]
    lines += [b"X-%b: %b" % (draw(tokens), draw(tokens)) for _ in range(draw(st.integers(0, 3)))]
    body = draw(bodies)
    if draw(st.booleans()):
        lines.append(b"Content-Length: %d" % len(body))
    else:
        lines.append(b"Transfer-Encoding: chunked")
        cuts = sorted(draw(st.sets(st.integers(1, 400), max_size=4)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, 400], strict=True)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


async def answer(pieces: list[bytes]) -> tuple[list[str], bytes]:
    """What was asked, and what was said."""
    asked: list[str] = []

    async def note(request: Request) -> Reply:
        body = await request.body(LIMIT_BYTES)
        own = {name: value for name, value in request.headers.items() if name.startswith(b"x-")}
        asked.append(f"{request.method} {request.part} {request.query('q')} {own} {body!r}")
        return Reply(body)

    line = Line({f"{method} /*": note for method in ("GET", "POST", "DELETE")})
    said = await line.send(*pieces)
    line.hang_up()
    await asyncio.sleep(0)
    return asked, said


@given(st.lists(requests(), min_size=1, max_size=5), st.lists(st.integers(0, 5_000), max_size=12))
def test_the_same_bytes_are_the_same_requests(sent: list[bytes], cuts: list[int]) -> None:
    data = b"".join(sent)
    whole, split_up = asyncio.run(answer([data])), asyncio.run(answer(split(data, cuts)))
    assert whole[0] == split_up[0]
    assert [one.status for one in answers(whole[1])] == [one.status for one in answers(split_up[1])]
    assert [one.body for one in answers(whole[1])] == [one.body for one in answers(split_up[1])]


@given(
    st.lists(requests() | st.binary(max_size=50), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 5_000), st.binary(min_size=1, max_size=1)), max_size=4),
    st.lists(st.integers(0, 5_000), max_size=8),
)
def test_what_is_garbled_breaks_nothing(
    sent: list[bytes], errors: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    data = bytearray(b"".join(sent))
    for at, byte in errors:
        if data:
            data[at % len(data) : at % len(data) + 1] = byte
    _, said = asyncio.run(answer(split(bytes(data), cuts)))
    assert all(one.whole for one in answers(said))
