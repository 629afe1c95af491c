"""A connection answers what it is asked, in order, and hangs up on what must not be believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from line import Line, answers
from shoal.runtime.door import Feed, Handler, Reply, Request
from shoal.runtime.errand import Later
from shoal.runtime.hall import Limits

pytestmark = pytest.mark.anyio

LIMIT_BYTES = 1_000
HOST = b"Host: localhost\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def say(request: Request) -> Reply:
    return Reply(b"[%b %b]" % (request.path.encode(), request.query("q").encode()))


async def say_body(request: Request) -> Reply:
    return Reply(await request.body(LIMIT_BYTES))


class Held:
    """A handler that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Later[bytes]] = []
        self.left = 0

    async def __call__(self, request: Request) -> Reply:
        self.asked.append(Later())
        request.presence.when_ended(self._leave)
        return Reply(await self.asked[-1])

    def _leave(self) -> None:
        self.left += 1


class Counting:
    """A feed without end that counts what is taken of it."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = asyncio.Event()

    async def __call__(self, request: Request) -> Feed:
        return Feed(self._pieces())

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                self.given += 1
                yield b"piece"
                await asyncio.sleep(0)
        finally:
            self.closed.set()


async def count_to_three(request: Request) -> Feed:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for number in (b"1", b"2", b"3"):
            yield number

    return Feed(pieces())


ROUTES: dict[str, Handler] = {"GET /a": say, "POST /b": say_body, "GET /feed": count_to_three}


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    line = Line(ROUTES)
    yield line
    line.hang_up()


def post(body: bytes, *lines: bytes) -> bytes:
    head = [b"POST /b HTTP/1.1", b"Host: localhost", b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


# What is asked, and answered.


async def test_an_answer_leaves_the_connection_open(line: Line) -> None:
    for number in range(3):
        said = answers(await line.send(GET))
        assert [(one.status, one.body) for one in said] == [(200, b"[/a ]")] * (number + 1)
    assert not line.is_closing()


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (b"/a?q=1&q=2", b"[/a 2]"),
        (b"/%61?q=%41", b"[/a A]"),
        (b"http://localhost:1/a?q=1", b"[/a 1]"),
        (b"/a#part", b"[/a ]"),
    ],
)
async def test_an_address_is_read(line: Line, target: bytes, body: bytes) -> None:
    said = answers(await line.send(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, HOST)))
    assert [one.body for one in said] == [body]


async def test_requests_that_come_at_once_are_answered_in_order_and_hold_back_more() -> None:
    held = Held()
    line = Line({"GET /a": say, "GET /held": held})
    await line.send(b"GET /held HTTP/1.1\r\n" + HOST + b"\r\n" + GET + GET.replace(b"/a", b"/a?q=2"))
    assert line.said == b""
    assert not line.reads
    held.asked[0].set(b"first")
    assert [one.body for one in answers(await line.send())] == [b"first", b"[/a ]", b"[/a 2]"]
    assert line.reads


async def test_a_head_is_answered_without_a_body(line: Line) -> None:
    said = await line.send(b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n")
    assert b"content-length: 5\r\n" in said
    assert said.endswith(b"\r\n\r\n")
    said = await line.send(b"HEAD /feed HTTP/1.1\r\n" + HOST + b"\r\n")
    assert said.endswith(b"transfer-encoding: chunked\r\n\r\n")
    assert not line.is_closing()


async def test_a_body_may_come_in_chunks_with_extensions_and_trailers(line: Line) -> None:
    head = b"POST /b HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    said = answers(await line.send(head, b"3;x=1\r\nabc\r\n", b"2\r\nde\r\n0\r\nHost: evil\r\n\r\n", GET))
    assert [one.body for one in said] == [b"abcde", b"[/a ]"]


async def test_a_body_that_waits_to_be_asked_for_is_asked_for(line: Line) -> None:
    whole = post(b"body", b"Expect: 100-continue")
    assert await line.send(whole[:-4]) == b"HTTP/1.1 100 Continue\r\n\r\n"
    said = answers((await line.send(b"body")).partition(b"\r\n\r\n")[2])
    assert [one.body for one in said] == [b"body"]


async def test_a_body_that_is_not_wanted_is_not_asked_for(line: Line) -> None:
    said = answers(await line.send(post(bytes(LIMIT_BYTES + 1), b"Expect: 100-continue")[: -LIMIT_BYTES - 1]))
    assert [(one.status, one.headers["connection"]) for one in said] == [(413, "close")]


async def test_a_client_of_http_1_0_gets_its_answer_and_the_end(line: Line) -> None:
    said = answers(await line.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"))
    assert [(one.body, one.headers["connection"]) for one in said] == [(b"[/a ]", "close")]
    assert line.is_closing()


async def test_a_client_of_http_1_0_gets_a_stream_that_ends_with_the_connection(line: Line) -> None:
    said = await line.send(b"GET /feed HTTP/1.0\r\n\r\n")
    assert b"chunked" not in said
    assert said.endswith(b"\r\n\r\n123")
    assert line.is_closing()


async def test_who_wants_to_close_is_closed_and_what_comes_after_is_not_read() -> None:
    line = Line(ROUTES, Limits(last_s=0.01))
    said = answers(await line.send(GET.replace(HOST, HOST + b"Connection: close\r\n") + GET))
    assert [one.headers["connection"] for one in said] == ["close"]
    await line.ended.wait()


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
)
async def test_who_would_rather_speak_something_else_is_answered_in_this(line: Line, framing: bytes) -> None:
    head = b"POST /b HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + framing
    said = answers(await line.send(head + b"PRI * HTTP/2.0\r\n\r\n"))
    assert [(one.status, one.body, one.headers["connection"]) for one in said] == [(200, b"abc", "close")]


# What must not be believed.


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01 hello\r\n\r\n",
        b"GET /a\r\n\r\n",
        b"GET /a HTTP/2.0\r\n" + HOST + b"\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b" folded\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: localhost\n\n",
        post(b"abc", b"Transfer-Encoding: chunked"),
        post(b"abc", b"Content-Length: 3"),
        post(b"abc", b"Content-Length: 4"),
        post(b"abc").replace(b"Length: 3", b"Length: +3"),
        post(b"abc").replace(b"Length: 3", b"Length: 3, 3"),
        post(b"abc").replace(b"Content-Length: 3", b"Transfer-Encoding: gzip"),
        post(b"abc").replace(b"Content-Length: 3", b"Transfer-Encoding: chunked, gzip"),
        post(b"0\r\n\r\n")
        .replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
        .replace(b"1.1", b"1.0"),
        post(b"0x3\r\nabc").replace(b"Content-Length: 8", b"Transfer-Encoding: chunked"),
        post(b"3\nabc\n0\n\n").replace(b"Content-Length: 9", b"Transfer-Encoding: chunked"),
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(
    line: Line, data: bytes
) -> None:
    said = answers(await line.send(GET, data, GET))
    assert [one.status for one in said] == [200, 400]
    assert said[1].headers["connection"] == "close"


async def test_what_is_refused_waits_for_the_answers_before_it() -> None:
    held = Held()
    line = Line({"GET /a": held})
    assert await line.send(GET + b"nonsense\r\n\r\n") == b""
    held.asked[0].set(b"first")
    assert [one.status for one in answers(await line.send())] == [200, 400]


@pytest.mark.parametrize("pieces", [1, 7, 1_000])
async def test_a_head_has_its_size(pieces: int) -> None:
    limits = Limits(head_bytes=1_000)
    for size, status in ((700, 200), (1_000, 400)):
        line = Line(ROUTES, limits)
        data = GET.replace(b"\r\n\r\n", b"\r\nX: " + b"y" * size + b"\r\n\r\n")
        step = max(1, len(data) // pieces)
        said = answers(await line.send(*(data[at : at + step] for at in range(0, len(data), step))))
        assert [one.status for one in said] == [status]


async def test_what_stands_around_a_body_has_its_size_too(line: Line) -> None:
    line = Line(ROUTES, Limits(head_bytes=1_000))
    await line.send(b"POST /b HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ")
    assert [one.status for one in answers(await line.send(*[b"y" * 100] * 20))] == [400]


async def test_only_so_many_requests_wait() -> None:
    line = Line(ROUTES, Limits(waiting=3))
    assert [one.status for one in answers(await line.send(GET * 10))] == [200, 200, 200, 400]


async def test_only_so_many_clients_come_in() -> None:
    line = Line(ROUTES, Limits(connections=0))
    said = answers(await line.send())
    assert [(one.status, one.headers["retry-after"]) for one in said] == [(503, "1")]
    assert line.is_closing()


async def test_what_is_sent_on_after_the_answer_is_dropped_but_not_without_end() -> None:
    line = Line(ROUTES, Limits(dropped_bytes=10_000))
    await line.send(post(bytes(100_000))[:200])
    assert [one.status for one in answers(line.said)] == [413]
    await line.send(*[bytes(1_000)] * 9)
    assert not line.is_closing()
    await line.send(*[bytes(1_000)] * 2)
    assert line.is_closing()


# Who is slow.


@pytest.mark.parametrize(
    ("sent", "limits"),
    [
        (b"", Limits(head_s=0.01)),
        (b"GET /a HT", Limits(head_s=0.01)),
        (GET, Limits(between_s=0.01)),
        (GET + b"GET /a HT", Limits(head_s=0.01)),
        (b"nonsense\r\n\r\n", Limits(last_s=0.01)),
    ],
)
async def test_what_does_not_come_is_not_waited_for(sent: bytes, limits: Limits) -> None:
    line = Line(ROUTES, limits)
    await line.send(sent)
    await line.ended.wait()


async def drip(line: Line) -> None:
    """Send a little, again and again."""
    for _ in range(10_000):
        if line.is_closing():
            return
        line.caller.data_received(b"x")
        await asyncio.sleep(0.001)
    raise AssertionError("it was borne with")


async def test_a_head_that_drips_has_no_more_time_than_another() -> None:
    line = Line(ROUTES, Limits(head_s=0.05))
    await line.send(b"GET /")
    await drip(line)


async def test_a_body_that_drips_is_given_up() -> None:
    line = Line(ROUTES, Limits(body_s=0.05, last_s=0.01, dropped_bytes=10))
    await line.send(post(bytes(900))[:-900])
    await drip(line)
    assert [one.status for one in answers(line.said)] == [408]


async def test_a_body_that_stops_is_given_up() -> None:
    line = Line(ROUTES, Limits(body_s=0.01, last_s=0.01))
    await line.send(post(b"body")[:-1])
    await line.ended.wait()
    assert [one.status for one in answers(line.said)] == [408]


async def test_an_answer_that_nobody_takes_is_not_kept_for_ever() -> None:
    line = Line(ROUTES, Limits(stuck_s=0.01))
    line.caller.pause_writing()
    await line.send(GET)
    assert line.said == b""
    await line.ended.wait()


async def test_a_stream_goes_as_fast_as_it_is_read_and_ends_with_its_client() -> None:
    counting = Counting()
    line = Line({"GET /feed": counting})
    line.caller.data_received(b"GET /feed HTTP/1.1\r\n" + HOST + b"\r\n")
    await line.send()
    assert counting.given > 1
    line.caller.pause_writing()
    await line.send()
    given = counting.given
    await line.send()
    assert counting.given == given
    line.caller.resume_writing()
    await line.send()
    assert counting.given > given
    line.hang_up()
    await counting.closed.wait()


# Who leaves.


async def test_a_client_that_leaves_is_noticed_while_it_waits() -> None:
    held = Held()
    line = Line({"GET /a": held})
    await line.send(GET)
    line.hang_up()
    await line.send()
    assert held.left == 1
    held.asked[0].set(b"late")
    assert line.said == b""


async def test_a_client_that_leaves_in_the_middle_of_a_body_is_not_answered(line: Line) -> None:
    await line.send(post(b"body")[:-1])
    line.hang_up()
    assert await line.send() == b""


async def test_a_server_that_closes_lets_open_requests_end() -> None:
    held = Held()
    idle, busy = Line({"GET /a": say}), Line({"GET /a": held})
    await idle.send(GET)
    await busy.send(GET + GET)
    idle.caller.leave()
    clearing = asyncio.create_task(busy.hall.clear(10))
    await busy.send()
    assert idle.is_closing()
    assert not busy.is_closing()
    held.asked[0].set(b"here")
    await clearing
    assert [one.headers["connection"] for one in answers(busy.said)] == ["close"]


async def test_a_server_that_closes_hangs_up_after_the_last_piece_of_a_stream() -> None:
    async def feed(request: Request) -> Feed:
        async def pieces() -> AsyncGenerator[bytes, None]:
            yield b"first"
            await told.wait()
            yield b"last"

        return Feed(pieces())

    told = asyncio.Event()
    line = Line({"GET /feed": feed})
    await line.send(b"GET /feed HTTP/1.1\r\n" + HOST + b"\r\n")
    clearing = asyncio.create_task(line.hall.clear(10))
    await line.send()
    assert not clearing.done()
    told.set()
    await line.send()
    assert clearing.done()
    assert [(one.body, one.whole) for one in answers(line.said)] == [(b"firstlast", True)]


async def test_a_server_that_closes_does_not_wait_for_ever() -> None:
    line = Line({"GET /a": Held()})
    await line.send(GET)
    await line.hall.clear(0.01)
    assert line.is_closing()
