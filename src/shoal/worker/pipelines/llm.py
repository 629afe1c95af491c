"""The llm runner: chat with a GGUF model in this very process.

Tokens are counted by the model's runtime, never guessed. Every streamed chunk says how many tokens it and
those before it cover, so that what was delivered can be acknowledged. A seed asks for the same words again. A
conversation without one goes on from where it was: only what is new in it is read.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import xllamacpp
from msgspec import Meta, Struct

from shoal.errors import Failed, Refused
from shoal.worker.pipelines.server import (
    Answer,
    Call,
    Emit,
    Hands,
    Reply,
    Settings,
    Stream,
    encode,
    main,
    require_model,
)

#: How many tokens a prompt and its answer may have together, in each slot.
CONTEXT_TOKENS = 4096
BODY_BYTES_MAX = 1 << 20
#: What may be kept of conversations that another one has driven out of its slot; some 5,000 tokens of our model.
REMEMBERED_MIB = 128
#: Errors only: the runtime's own log is long.
VERBOSITY = 1


class Message(Struct, frozen=True):
    role: Literal["system", "user", "assistant"]
    content: str


class Request(Struct, frozen=True):
    """A chat, by the runner contract, with the sampling that OpenAI's clients also send."""

    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=1024)]
    model: str = ""
    temperature: Annotated[float, Meta(ge=0, le=5)] = 0.7
    max_tokens: Annotated[int, Meta(ge=1)] = 256
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Meta(ge=-1)] = -1
    stop: str | tuple[str, ...] | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**32)] | None = None
    stream: bool = False
    #: Nobody asked for just these words: what was read before need not be read again, seed or no seed.
    cache_prompt: bool = False


class Usage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Piece(Struct, frozen=True):
    """Some text, the tokens spent so far, and in the last piece why it ended."""

    content: str
    usage: Usage
    finish_reason: str = ""


decoder = msgspec.json.Decoder(Request)


def sampling(request: Request) -> dict[str, Any]:
    """The request in the words of the model's runtime."""
    words: dict[str, Any] = {
        "messages": msgspec.to_builtins(request.messages),
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": [request.stop] if isinstance(request.stop, str) else list(request.stop or ()),
        "stream": True,
        "stream_options": {"include_usage": True},
        "timings_per_token": True,
        # A prompt taken from the cache is computed in other batches, and so may round otherwise.
        "cache_prompt": request.cache_prompt or request.seed is None,
    }
    return words if request.seed is None else words | {"seed": request.seed}


class Reading:
    """Makes pieces of the runtime's events: those with text, and one last with the reason and the usage."""

    def __init__(self) -> None:
        self._finish_reason = ""

    def take(self, event: dict[str, Any]) -> Piece | None:
        if "error" in event:
            raise fault(event["error"])
        if usage := event.get("usage"):
            counted = Usage(usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])
            return Piece("", counted, self._finish_reason)
        choice = event["choices"][0]
        self._finish_reason = choice["finish_reason"] or self._finish_reason
        content, timings = choice["delta"].get("content"), event.get("timings")
        if not content or not timings:
            return None
        prompt, completion = timings["cache_n"] + timings["prompt_n"], timings["predicted_n"]
        return Piece(content, Usage(prompt, completion, prompt + completion))


def fault(error: dict[str, Any]) -> Exception:
    """Whose fault it is, from what the runtime says."""
    if error.get("type") == "exceed_context_size_error":
        long, limit = error["n_prompt_tokens"], error["n_ctx"]
        return Refused(f"the prompt is {long} tokens long, the limit is {limit}; send a shorter one")
    message = f"the model's runtime says: {error.get('message', 'nothing')}"
    return Refused(message) if error.get("code") == 400 else Failed(message)


class Llm:
    """One chat model; implements `server.Pipeline`."""

    name = "llm"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        [weights] = settings.model_dir.glob("*.gguf")
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(weights)
        parameters.n_parallel = settings.slots
        parameters.n_ctx = CONTEXT_TOKENS * settings.slots
        parameters.cpuparams.n_threads = settings.threads
        parameters.cpuparams_batch.n_threads = settings.threads
        parameters.verbosity = VERBOSITY
        parameters.cache_ram_mib = REMEMBERED_MIB
        parameters.fit_params = False
        # What a model says to itself is counted too, and so it is said: as a part of the answer.
        parameters.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
        parameters.n_threads_http = 1
        # The runtime insists on a listener of its own: it gets one in a private folder, soon removed.
        with tempfile.TemporaryDirectory() as private:
            parameters.hostnames = [str(Path(private) / "unused.sock")]
            self._model = xllamacpp.Server(parameters)
        self._model_id = settings.model_id

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        try:
            request = decoder.decode(call.body)
        except msgspec.ValidationError as error:
            raise Refused(f"the request is not valid: {error}") from error
        except msgspec.DecodeError as error:
            raise Refused(f"the body is not JSON: {error}") from error
        require_model(request.model, self._model_id)

        def generate(emit: Emit[Piece]) -> None:
            self._generate(request, emit)

        pieces = hands.stream(generate)
        return self._stream(pieces) if request.stream else self._whole(pieces)

    def _generate(self, request: Request, emit: Emit[Piece]) -> None:
        reading = Reading()
        raised: list[Exception] = []

        def take(event: dict[str, Any]) -> bool:
            try:
                piece = reading.take(event)
            except Exception as error:  # noqa: BLE001 - none may pass through the runtime's own code
                raised.append(error)
                return True
            return piece is not None and emit(piece)

        try:
            self._model.handle_chat_completions(sampling(request), take)
        except ValueError as error:  # this is how the runtime says that such a chat makes no sense
            raise Refused(f"the model's runtime says: {error}") from error
        if raised:
            raise raised[0]

    async def _whole(self, pieces: AsyncGenerator[Piece, None]) -> Answer:
        taken = [piece async for piece in pieces]
        last = taken[-1]
        message = {"role": "assistant", "content": "".join(piece.content for piece in taken)}
        choice = {"index": 0, "finish_reason": last.finish_reason, "message": message}
        body = encode(self._head() | {"usage": last.usage, "choices": [choice]})
        return Answer(body, last.usage.prompt_tokens + last.usage.completion_tokens)

    async def _stream(self, pieces: AsyncGenerator[Piece, None]) -> Stream:
        """Begin to stream; a wrong request shows before the first piece, while a status can still say so."""
        first = await anext(pieces)
        return Stream(self._chunks(first, pieces))

    async def _chunks(self, first: Piece, rest: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
        head = self._head()
        async with aclosing(rest):
            yield chunk(head, first)
            async for piece in rest:
                yield chunk(head, piece)

    def _head(self) -> dict[str, Any]:
        return {"id": f"chatcmpl-{uuid.uuid4()}", "model": self._model_id, "created": int(time.time())}


def chunk(head: dict[str, Any], piece: Piece) -> bytes:
    delta = {"role": "assistant", "content": piece.content}
    choice = {"index": 0, "finish_reason": piece.finish_reason, "delta": delta}
    return encode(head | {"usage": piece.usage, "choices": [choice]})


if __name__ == "__main__":
    main(Llm())
