"""The door of a runner, without a socket: calls go in as requests and answers are read off."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path

import pytest

from shoal.errors import Failed, Refused
from shoal.runtime.body import Body, Intake
from shoal.runtime.door import Feed, Presence, Request
from shoal.runtime.door import Reply as Response
from shoal.worker.pipelines.server import (
    WAITING_MAX,
    Answer,
    Call,
    Emit,
    Gone,
    Hands,
    Reply,
    Runner,
    Settings,
    Step,
    Stream,
    parse,
)

SETTINGS = Settings(socket=Path("unused"), parent_pid=1)


class Scripted:
    """A pipeline that does what the body names."""

    name = "scripted"
    body_bytes_max = 32

    def __init__(self) -> None:
        self.working = threading.Event()
        self.left = threading.Event()

    def load(self, settings: Settings) -> None:
        """Nothing to load."""

    def answer(self, call: Call, hands: Hands) -> Reply | Awaitable[Reply]:
        match call.body:
            case b"at once":
                return Answer(b"here", 3, b"text/plain")
            case b"refuse":
                raise Refused("not that")
            case b"bug":
                raise KeyError("oops")
            case b"work":
                return hands.run(self.work)
            case b"steps":
                return hands.steps(call, self.walk)
            case b"stumble":
                return hands.steps(call, self.stumble)
            case b"break":
                return Stream(breaks())
            case _:
                return Stream(hands.stream(pieces))

    def work(self, gone: Gone) -> Answer:
        self.working.set()
        while not gone():
            pass
        self.left.set()
        return Answer(b"", 0)

    def walk(self, step: Step) -> Answer:
        for done in range(1, 3):
            step(done, 2)
        return Answer(b'{"whole": true}', 5)

    def stumble(self, step: Step) -> Answer:
        raise Refused("no step is possible")


def pieces(emit: Emit[bytes]) -> None:
    for number in range(3):
        emit(b"%d" % number)


async def breaks() -> AsyncGenerator[bytes, None]:
    yield b"1"
    raise Failed("the model fell over")


class Caller:
    """One call: its body in pieces, then silence until it hangs up."""

    def __init__(self, *body: bytes) -> None:
        self._body = body
        self.presence = Presence()
        self.reply: Response | Feed | None = None
        self.pieces: list[bytes] = []

    async def call(
        self, runner: Runner, path: str = "/scripted", method: str = "POST", accept: bytes = b"*/*"
    ) -> Caller:
        answered: asyncio.Future[Response | Feed | None] = asyncio.get_running_loop().create_future()
        headers = {b"content-type": b"x/y", b"accept": accept}
        content = Body(Intake())
        runner.door().serve(Request(method, path, "", headers, content, self.presence), answered.set_result)
        for piece in self._body:
            content.arrive(piece)
        content.end()
        self.reply = await answered
        if isinstance(self.reply, Feed):
            self.pieces = [piece async for piece in self.reply.pieces]
        return self

    @property
    def response(self) -> Response:
        assert isinstance(self.reply, Response)
        return self.reply

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.response.headers)

    @property
    def told(self) -> str:
        return str(json.loads(self.response.body)["detail"]["msg"])


def ready() -> Runner:
    runner = Runner(Scripted(), SETTINGS)
    runner.load()
    return runner


async def called(*body: bytes) -> Caller:
    return await Caller(*body).call(ready())


def test_an_answer_carries_its_units() -> None:
    answer = asyncio.run(called(b"at ", b"once"))
    assert (answer.status, answer.response.body) == (200, b"here")
    assert answer.headers[b"shoal-units"] == b"3"
    assert answer.response.content_type == b"text/plain"


def test_a_stream_is_sent_event_by_event() -> None:
    answer = asyncio.run(called(b"stream"))
    assert answer.pieces == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"]


def test_a_stream_that_breaks_says_so_and_does_not_say_done() -> None:
    answer = asyncio.run(called(b"break"))
    assert answer.pieces == [b"data: 1\n\n", b'data: {"error":"the model fell over"}\n\n']


def test_steps_are_told_to_those_who_understand_events_and_the_answer_comes_last() -> None:
    events = b"text/event-stream, */*"
    answer = asyncio.run(Caller(b"steps").call(ready(), accept=events))
    assert [piece.removeprefix(b"data: ").removesuffix(b"\n\n") for piece in answer.pieces] == [
        b'{"progress":{"done":1,"of":2}}',
        b'{"progress":{"done":2,"of":2}}',
        b'{"answer":{"whole": true},"units":5}',
        b"[DONE]",
    ]
    plain = asyncio.run(called(b"steps"))
    assert (plain.status, plain.response.body, plain.headers[b"shoal-units"]) == (
        200,
        b'{"whole": true}',
        b"5",
    )


def test_what_fails_before_its_first_step_has_a_status_of_its_own() -> None:
    answer = asyncio.run(Caller(b"stumble").call(ready(), accept=b"text/event-stream"))
    assert (answer.status, answer.told) == (400, "no step is possible")


def test_a_step_ends_the_work_once_nobody_waits() -> None:
    async def leave() -> None:
        stopped = threading.Event()

        def endless(step: Step) -> Answer:
            try:
                while True:
                    step(1, 2)
            finally:
                stopped.set()

        for accept in ("text/event-stream", "*/*"):
            stopped.clear()
            working = asyncio.ensure_future(Hands(1).steps(Call("", accept, b""), endless))
            if accept == "text/event-stream":
                reply = await working
                assert isinstance(reply, Stream)
                assert await anext(reply.events) == b'{"progress":{"done":1,"of":2}}'
                await reply.events.aclose()
            else:
                await asyncio.wait([working], timeout=0.01)
                working.cancel()
            await asyncio.to_thread(stopped.wait)

    asyncio.run(leave())


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ((b"refuse",), 400, "not that"),
        ((b"bug",), 500, "Scripted pipeline error."),
        ((b"x" * 33,), 413, "File size exceeds limit. Send at most 32 bytes."),
        ((b"x" * 20, b"x" * 20, b"never read"), 413, "File size exceeds limit. Send at most 32 bytes."),
    ],
)
def test_a_fault_is_told_in_the_contracts_shape(body: tuple[bytes, ...], status: int, told: str) -> None:
    answer = asyncio.run(called(*body))
    assert (answer.status, answer.told) == (status, told)
    assert answer.headers[b"shoal-units"] == b"0"


def test_before_it_is_loaded_a_runner_answers_health_and_nothing_else() -> None:
    async def calls() -> tuple[Caller, Caller, Caller]:
        runner = Runner(Scripted(), SETTINGS)
        return (
            await Caller(b"").call(runner, "/health", "GET"),
            await Caller(b"at once").call(runner),
            await Caller(b"").call(runner, "/elsewhere"),
        )

    health, early, elsewhere = asyncio.run(calls())
    assert json.loads(health.response.body) == {"status": "LOADING"}
    assert (early.status, early.headers[b"retry-after"]) == (503, b"1")
    assert elsewhere.status == 404


def test_work_is_told_when_its_caller_hangs_up() -> None:
    async def call() -> tuple[Scripted, Caller]:
        pipeline = Scripted()
        runner = Runner(pipeline, SETTINGS)
        runner.load()
        caller = Caller(b"work")
        calling = asyncio.create_task(caller.call(runner))
        await asyncio.to_thread(pipeline.working.wait)
        caller.presence.end()
        await calling
        await asyncio.to_thread(pipeline.left.wait)
        return pipeline, caller

    pipeline, caller = asyncio.run(call())
    assert pipeline.left.is_set()
    assert caller.reply is None


def test_what_is_known_at_once_is_answered_at_once() -> None:
    body = Body(Intake())
    body.arrive(b"at once")
    body.end()
    answers: list[object] = []
    ready().door().serve(Request("POST", "/scripted/", "", {}, body, Presence()), answers.append)
    assert [type(answer) for answer in answers] == [Response]


def test_a_call_is_over_when_it_is_answered_or_its_caller_has_left() -> None:
    async def calls() -> None:
        runner = ready()
        for _ in range(SETTINGS.slots + WAITING_MAX):
            whole, left = Caller(b"stream"), Caller(b"stream")
            assert (await whole.call(runner)).pieces[-1] == b"data: [DONE]\n\n"
            assert (await Caller(b"refuse").call(runner)).status == 400
            answers: list[Response | Feed | None] = []
            content = Body(Intake())
            content.end()
            request = Request("POST", "/scripted", "", {}, content, left.presence)
            runner.door().serve(request, answers.append)  # a stream of which nobody takes a piece
            assert isinstance(answers[0], Feed)
            left.presence.end()
        assert (await Caller(b"at once").call(runner)).status == 200

    asyncio.run(calls())


def test_a_stream_left_early_stops_its_work() -> None:
    async def leave() -> None:
        stopped = threading.Event()

        def endless(emit: Emit[int]) -> None:
            while not emit(1):
                pass
            stopped.set()

        stream = Hands(1).stream(endless)
        assert await anext(stream) == 1
        await stream.aclose()
        await asyncio.to_thread(stopped.wait)

    asyncio.run(leave())


def test_what_work_raises_is_raised_to_the_reader() -> None:
    async def read() -> list[int]:
        def fails(emit: Emit[int]) -> None:
            emit(1)
            raise Failed("no more")

        return [piece async for piece in Hands(1).stream(fails)]

    with pytest.raises(Failed, match="no more"):
        asyncio.run(read())


def test_the_command_line_is_the_settings() -> None:
    line = "--socket /s --model-dir /d --model-id m --threads 2 --slots 3 --parent-pid 4"
    assert parse(line.split(" ")) == Settings(
        socket=Path("/s"), model_dir=Path("/d"), model_id="m", threads=2, slots=3, parent_pid=4
    )
