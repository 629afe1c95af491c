"""Answers piece by piece, as server-sent events: Livepeer's, OpenAI's, and our own of every job.

What a client has been handed counts as received; what nobody listens to is not
acknowledged. Pieces that were lost on the way come from the whole answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from msgspec import Struct

from shoal.errors import Failed, ShoalError
from shoal.gateway.answers import Locate, answer_text, job_value, result_value
from shoal.gateway.desk import Desk, Watch
from shoal.ids import ClientId, JobId
from shoal.runtime.door import encode, error_value
from shoal.units import SECOND_MS
from shoal.wire.answers import LlmAnswer
from shoal.work.lifecycle import ENDED, Job, Phase

#: A silent stream says that it lives this often; a waiting job's place in the queue is looked at as often as that.
BEAT_MS = 4 * SECOND_MS
LOOK_MS = 1 * SECOND_MS
BEAT = b": still here\n\n"
DONE = b"data: [DONE]\n\n"

Pieces = AsyncGenerator["Piece | None", None]
Chunks = AsyncGenerator[bytes, None]


class Piece(Struct, frozen=True):
    """Some text, where it ends (in characters), and the work units up to there."""

    text: str
    end: int
    units: int


def event(value: Any, name: str = "", last: str = "") -> bytes:
    """One server-sent event."""
    head = (f"event: {name}\n" if name else "") + (f"id: {last}\n" if last else "")
    return b"%sdata: %s\n\n" % (head.encode(), encode(value))


async def follow(desk: Desk, watch: Watch, job_id: JobId) -> Pieces:
    """A job's text as it comes, None for every silence, to its end. Raises what the job failed of."""
    cursor = 0
    while True:
        watch.news.clear()
        if (piece := _news(desk, job_id, cursor)) is not None:
            yield piece
            cursor = piece.end
            desk.consumed(job_id, piece.units)
        elif watch.ended.done():
            break
        elif not await watch.wait(BEAT_MS):
            yield None
    if (job := watch.ended.result()) is None:
        raise desk.parting()
    if (piece := _rest(desk, job, cursor)) is not None:
        yield piece


def _news(desk: Desk, job_id: JobId, cursor: int) -> Piece | None:
    stream = desk.machine.streams.get(job_id)
    if stream is None or len(stream.text) <= cursor:
        return None
    return Piece(stream.text[cursor:], len(stream.text), stream.units)


def _rest(desk: Desk, job: Job, cursor: int) -> Piece | None:
    """What the whole answer has beyond what was handed on."""
    text = answer_text(desk.answer(job))
    stream = desk.machine.streams.get(job.id)
    if stream is not None and not text.startswith(stream.text[:cursor]):
        raise Failed("the answer came out otherwise when it was tried again; ask once more")
    return Piece(text[cursor:], len(text), job.units) if len(text) > cursor else None


async def begun(pieces: Pieces) -> Piece | None:
    """The first piece; None for an answer without text. What is wrong before it still has a status of its own."""
    async for piece in pieces:
        if piece is not None:
            return piece
    return None


class Dialect(Struct, frozen=True):
    """How one API writes a chat's stream."""

    chunk: Callable[[LlmHead, Piece, bool], Any]
    last: Callable[[LlmHead, LlmAnswer], list[Any]]
    closing: bytes = b""


class LlmHead(Struct, frozen=True):
    """What every chunk of one answer has in common."""

    job: JobId
    model: str
    created: int
    include_usage: bool = False

    @property
    def id(self) -> str:
        """The answer's id."""
        return "chatcmpl-" + self.job.removeprefix("job_")


async def chunks(
    dialect: Dialect, head: LlmHead, first: Piece | None, rest: Pieces, whole: Callable[[], LlmAnswer]
) -> Chunks:
    """A chat's stream in the words of one API; what breaks it in mid-stream is its last event."""
    async with aclosing(rest):
        try:
            if first is not None:
                yield event(dialect.chunk(head, first, True))
            async for piece in rest:
                yield BEAT if piece is None else event(dialect.chunk(head, piece, False))
            for value in dialect.last(head, whole()):
                yield event(value)
        except ShoalError as error:
            yield event(error_value(error), "error")
            return
    if dialect.closing:
        yield dialect.closing


def _livepeer_chunk(head: LlmHead, piece: Piece, first: bool) -> Any:
    # How many of them are the question's is told with the last one.
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": piece.units}
    return _livepeer(head, usage, "", piece.text)


def _livepeer_last(head: LlmHead, answer: LlmAnswer) -> list[Any]:
    return [_livepeer(head, answer.usage, answer.choices[0].finish_reason or "stop", "")]


def _livepeer(head: LlmHead, usage: Any, finish_reason: str, text: str) -> Any:
    choice = {"index": 0, "finish_reason": finish_reason, "delta": {"role": "assistant", "content": text}}
    return {"id": head.id, "model": head.model, "created": head.created, "usage": usage, "choices": [choice]}


def _openai_chunk(head: LlmHead, piece: Piece, first: bool) -> Any:
    delta = {"content": piece.text}
    return _openai(head, [_openai_choice({"role": "assistant", **delta} if first else delta, None)])


def _openai_last(head: LlmHead, answer: LlmAnswer) -> list[Any]:
    last = [_openai(head, [_openai_choice({}, answer.choices[0].finish_reason or "stop")])]
    if head.include_usage:
        last.append({**_openai(head, []), "usage": answer.usage})
    return last


def _openai_choice(delta: dict[str, str], finish_reason: str | None) -> Any:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _openai(head: LlmHead, choices: list[Any]) -> dict[str, Any]:
    return {
        "id": head.id,
        "object": "chat.completion.chunk",
        "created": head.created,
        "model": head.model,
        "choices": choices,
    }


#: `/llm` has no closing line: the last chunk says why it ended.
LIVEPEER = Dialect(_livepeer_chunk, _livepeer_last)
OPENAI = Dialect(_openai_chunk, _openai_last, DONE)


async def job_events(desk: Desk, client: ClientId, job: Job, cursor: int, locate: Locate) -> Chunks:
    """Everything that happens to a job, to its end: states, its place in the queue, streamed text from `cursor` on.

    A text's event id is where it ends, so that a client that comes back names the last one it has seen.
    """
    watch = desk.watch(job.id)
    said: Any = None
    silent_ms = 0
    try:
        while not desk.closing:
            watch.news.clear()
            job = await desk.own(client, job.id)
            if job.spec.stream and (piece := _news(desk, job.id, cursor)) is not None:
                yield event({"text": piece.text, "units": piece.units}, "text", str(piece.end))
                cursor = piece.end
                desk.consumed(job.id, piece.units)
                continue
            if job.phase in ENDED:
                break
            done = 0 if job.spec.stream else desk.machine.units_done(job.id)
            seen = (job.phase, job.epoch, desk.machine.position(job.id), done)
            if seen != said:
                said, silent_ms = seen, 0
                yield event(job_value(desk.machine, job), "state")
            look_ms = LOOK_MS if job.phase is Phase.QUEUED else BEAT_MS
            if await watch.wait(look_ms):
                continue
            silent_ms += look_ms
            if silent_ms >= BEAT_MS:
                silent_ms = 0
                yield BEAT
        else:
            return
        for last in _ending(desk, job, cursor, locate):
            yield last
    finally:
        desk.unwatch(watch)


def _ending(desk: Desk, job: Job, cursor: int, locate: Locate) -> list[bytes]:
    value = job_value(desk.machine, job)
    if job.phase is not Phase.DONE:
        return [event(value, "state")]
    try:
        value["result"] = result_value(job, desk.answer(job), locate)
        piece = _rest(desk, job, cursor) if job.spec.stream else None
    except ShoalError as error:
        return [event(error_value(error), "error"), event(value, "state")]
    text = (
        [event({"text": piece.text, "units": piece.units}, "text", str(piece.end))]
        if piece is not None
        else []
    )
    return [*text, event(value, "state")]
