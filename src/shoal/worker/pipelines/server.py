"""The door of a runner: one pipeline, one model, one unix socket.

Serves `GET /health` and `POST /<pipeline>`, and answers the first while the model works on the second. It
knows nothing of any model, never listens on the network, and never outlives the process that started it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import logging
import math
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn, Protocol, TypeAlias, TypeVar

import msgspec
import uvloop

from shoal.errors import Busy, Cancelled, Failed, Refused, ShoalError, TooLarge
from shoal.runtime.body import Left
from shoal.runtime.door import EVENTS, JSON, Door, Feed, Headers, Presence, Request, error_reply
from shoal.runtime.door import Reply as Response
from shoal.runtime.hall import Limits
from shoal.runtime.http import Server

T = TypeVar("T")

#: Asks whether the caller has left; work that asks often stops soon.
Gone: TypeAlias = Callable[[], bool]
#: Says how far the work is: (steps done, steps in all). Raises Cancelled once the caller has left.
Step: TypeAlias = Callable[[int, int], None]
#: Hands one piece of a stream to the caller; True when the caller has left.
Emit: TypeAlias = Callable[[T], bool]

#: Calls that may wait beyond those being worked on; the worker should never send that many.
WAITING_MAX = 16
#: How long a stopping runner lets calls in progress finish.
DRAIN_S = 5
#: How often to look for the parent where its end cannot be waited for.
PARENT_PERIOD_S = 1.0
#: How long a sender should wait before it tries a busy or loading runner again.
RETRY_AFTER_MS = 1000
#: Its callers are processes of its own user, and one that waits between two calls holds nothing.
LIMITS = Limits(between_s=math.inf)
STOPPING = {signal.SIGTERM, signal.SIGINT}

log = logging.getLogger("shoal.runner")
encode = msgspec.json.encode


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner is started with; every field is a flag of its command line."""

    socket: Path
    model_dir: Path = Path()
    model_id: str = ""
    threads: int = 1
    slots: int = 1
    parent_pid: int


class Call(msgspec.Struct, frozen=True):
    """One request, read whole."""

    content_type: str
    accept: str
    body: bytes


class Answer(msgspec.Struct, frozen=True):
    """One body, and how many units of work it took."""

    body: bytes
    units: int
    content_type: bytes = JSON

    def event(self) -> bytes:
        """The answer as the last event of a stream."""
        assert self.content_type == JSON, "only JSON fits into an event"
        return encode({"answer": msgspec.Raw(self.body), "units": self.units})


class Progress(msgspec.Struct, frozen=True):
    """How far a call's work is."""

    done: int
    of: int

    def event(self) -> bytes:
        """These words as they stand in a stream."""
        return encode({"progress": {"done": self.done, "of": self.of}})


class Stream(msgspec.Struct, frozen=True):
    """Events one by one; each says how many units it and those before it took."""

    events: AsyncGenerator[bytes, None]


Reply: TypeAlias = Answer | Stream


class Pipeline(Protocol):
    """What a runner's own file says: its name, its limit, how to load and how to answer."""

    name: str
    body_bytes_max: int

    def load(self, settings: Settings) -> None:
        """Make the model ready; may block, for it runs in a thread of its own."""

    def answer(self, call: Call, hands: Hands) -> Reply | Awaitable[Reply]:
        """Answer at once, or later; must never block."""


class Hands:
    """The threads in which a model works, one a slot."""

    def __init__(self, slots: int) -> None:
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="slot")

    async def run(self, work: Callable[[Gone], T]) -> T:
        """What `work` returns; when the caller is cancelled, `work` is told."""
        gone = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, gone.is_set)
        finally:
            gone.set()

    async def stream(self, work: Callable[[Emit[T]], None]) -> AsyncGenerator[T, None]:
        """What `work` emits, as it emits it; what it raises is raised here."""
        loop = asyncio.get_running_loop()
        gone = threading.Event()
        ready: asyncio.Queue[T | None] = asyncio.Queue()

        def emit(piece: T | None) -> bool:
            if not gone.is_set():
                loop.call_soon_threadsafe(ready.put_nowait, piece)
            return gone.is_set()

        def run() -> None:
            try:
                work(emit)
            finally:
                emit(None)

        running = loop.run_in_executor(self._threads, run)
        try:
            while (piece := await ready.get()) is not None:
                yield piece
            await running
        finally:
            gone.set()

    async def steps(self, call: Call, work: Callable[[Step], Answer]) -> Reply:
        """What `work` answers. To a caller who understands events, each of its steps is one, and the answer the last.

        Work that fails before its first step fails with a status of its own.
        """
        if EVENTS.decode() not in call.accept:
            return await self.run(lambda gone: work(lambda done, of: _stop_if(gone())))
        pieces = self.stream(functools.partial(_run_in_steps, work))
        first = await anext(pieces)
        if isinstance(first, Answer):
            await pieces.aclose()
            return first
        return Stream(_events(first, pieces))


def _run_in_steps(work: Callable[[Step], Answer], emit: Emit[Progress | Answer]) -> None:
    emit(work(lambda done, of: _stop_if(emit(Progress(done, of)))))


def _stop_if(gone: bool) -> None:
    if gone:
        raise Cancelled


async def _events(
    first: Progress | Answer, rest: AsyncGenerator[Progress | Answer, None]
) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(rest):
        yield first.event()
        async for piece in rest:
            yield piece.event()


class Runner:
    """Answers calls: lets the pipeline work, and tells it when its caller hangs up."""

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._hands = Hands(settings.slots)
        self._calls: set[Request] = set()
        self._calls_max = settings.slots + WAITING_MAX
        self.status = "LOADING"
        self.fault = ""

    def door(self) -> Door:
        """What can be asked here."""
        path = f"/{self._pipeline.name}"
        return Door({f"POST {path}": self._post, f"POST {path}/": self._post, "GET /health": self._health})

    def load(self) -> None:
        """Load the model; afterwards `/health` says OK, or ERROR and why."""
        began = time.monotonic()
        try:
            self._pipeline.load(self._settings)
        except Exception as error:  # whatever a model's library raises is the answer to /health
            self.status, self.fault = "ERROR", f"{type(error).__name__}: {error}"
            log.exception("%s cannot load %s", self._pipeline.name, self._settings.model_id)
        else:
            self.status = "OK"
            log.info("%s is ready after %.2f s", self._pipeline.name, time.monotonic() - began)

    async def _health(self, request: Request) -> Response:
        return Response(encode({"status": self.status} | ({"msg": self.fault} if self.fault else {})))

    async def _post(self, request: Request) -> Response | Feed:
        reply: Reply | None = None
        self._calls.add(request)
        try:
            self._admit()
            call = await read(request, self._pipeline.body_bytes_max)
            answer = self._pipeline.answer(call, self._hands)
            reply = (
                answer if isinstance(answer, Answer | Stream) else await unless_gone(answer, request.presence)
            )
            return respond(reply) if isinstance(reply, Answer) else Feed(self._follow(request, reply))
        except Left:
            log.info("a caller hung up; its work is stopped")
            raise
        except ShoalError as error:
            return error_reply(error, units(0))
        except Exception:  # a bug, ours or a library's: this call fails, the runner lives
            log.exception("%s failed", self._pipeline.name)
            return error_reply(Failed(f"{self._pipeline.name.capitalize()} pipeline error."), units(0))
        finally:
            if not isinstance(reply, Stream):
                self._calls.discard(request)

    def _follow(self, request: Request, stream: Stream) -> AsyncGenerator[bytes, None]:
        """A stream as it is sent; its call ends with it, or when the caller hangs up, even before it began."""

        def hang_up() -> None:
            log.info("a caller hung up; its work is stopped")
            self._calls.discard(request)

        def end() -> None:
            request.presence.forget(hang_up)
            self._calls.discard(request)

        request.presence.when_ended(hang_up)
        return pour(stream, end)

    def _admit(self) -> None:
        if self.status == "LOADING":
            raise Busy("the model is still loading; try again soon", retry_after_ms=RETRY_AFTER_MS)
        if self.status == "ERROR":
            raise Failed(f"the model could not be loaded: {self.fault}")
        if len(self._calls) > self._calls_max:
            raise Busy("every slot is taken and enough wait; try again soon", retry_after_ms=RETRY_AFTER_MS)


async def read(request: Request, bytes_max: int) -> Call:
    """A call whose body has all come, or TooLarge as soon as it is."""
    try:
        body = await request.body(bytes_max)
    except TooLarge as error:
        raise TooLarge(f"File size exceeds limit. Send at most {bytes_max} bytes.") from error
    return Call(request.header(b"content-type"), request.header(b"accept"), body)


async def unless_gone(work: Awaitable[T], presence: Presence) -> T:
    """What `work` returns; if the caller hangs up first, cancel it and raise Left."""
    working = asyncio.ensure_future(work)

    def stop() -> None:
        working.cancel()

    presence.when_ended(stop)
    try:
        return await working
    except asyncio.CancelledError as error:
        raise Left from error
    finally:
        presence.forget(stop)


async def pour(stream: Stream, end: Callable[[], None]) -> AsyncGenerator[bytes, None]:
    """Each event when it comes; a failure in mid-stream is said in the stream."""
    try:
        async with contextlib.aclosing(stream.events) as events:
            async for event in events:
                yield event_of(event)
        yield event_of(b"[DONE]")
    except Exception as error:  # the status is long sent: only the stream can tell
        log.exception("a stream broke off")
        message = error.message if isinstance(error, ShoalError) else "the model failed in mid-stream"
        yield event_of(encode({"error": message}))
    finally:
        end()


def event_of(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def respond(answer: Answer) -> Response:
    return Response(answer.body, content_type=answer.content_type, headers=units(answer.units))


def units(count: int) -> Headers:
    """How many units of work a whole answer took."""
    return ((b"shoal-units", b"%d" % count),)


def require_model(asked: str, own: str) -> None:
    """Refuse a request for another model; an empty name means ours."""
    if asked and asked != own:
        raise Refused(f"pipeline configured with {own} but called with {asked}")


def main(pipeline: Pipeline) -> NoReturn:
    """Run a pipeline until SIGTERM, SIGINT or the parent's end."""
    settings = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format=f"{pipeline.name}: %(message)s")
    # Blocked in every thread and taken by one that waits for them: a model's library that
    # installs handlers of its own (llama.cpp does) cannot steal the word to stop.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    spawn(end_with, settings.parent_pid, settings.socket)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as running:
        running.run(serve(pipeline, settings))
    # Not sys.exit: it would wait for threads in which a model may still be at work.
    leave(settings.socket)


async def serve(pipeline: Pipeline, settings: Settings) -> None:
    """Listen first, load then, and stop when asked to."""
    runner = Runner(pipeline, settings)
    server = Server(runner.door(), bind(settings.socket), limits=LIMITS, drain_s=DRAIN_S)
    told = asyncio.Event()
    await server.open()
    spawn(await_signal, asyncio.get_running_loop(), told.set)
    spawn(runner.load)
    await told.wait()
    await server.close()


def parse(arguments: list[str]) -> Settings:
    parser = argparse.ArgumentParser(description="Serve one model on a unix socket, by the runner contract.")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen")
    parser.add_argument("--model-dir", type=Path, default=Path(), help="the folder with the model's files")
    parser.add_argument("--model-id", default="", help="the name under which the model is asked for")
    parser.add_argument("--threads", type=int, default=1, help="processor threads to compute with")
    parser.add_argument("--slots", type=int, default=1, help="calls to work on at once")
    parser.add_argument(
        "--parent-pid", type=int, default=os.getppid(), help="the process whose end is also the runner's"
    )
    return Settings(**vars(parser.parse_args(arguments)))


def bind(path: Path) -> socket.socket:
    """A socket that only this user can reach; one left over from a dead runner gives way."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen()
    return listener


def await_signal(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    signal.sigwait(STOPPING)
    loop.call_soon_threadsafe(stop)


def end_with(parent_pid: int, path: Path) -> None:
    """End at once when the parent is gone: nobody waits for an answer any more."""
    try:
        select.select([os.pidfd_open(parent_pid)], [], [])
    except ProcessLookupError:
        pass  # gone before we could look
    except (AttributeError, OSError):  # not on this system: look from time to time
        while os.getppid() == parent_pid:
            time.sleep(PARENT_PERIOD_S)
    leave(path)


def leave(path: Path) -> NoReturn:
    path.unlink(missing_ok=True)
    logging.shutdown()
    os._exit(0)


def spawn(work: Callable[..., object], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()
