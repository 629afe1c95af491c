"""The echo runner: what came in goes out. For tests, and to measure everything that is not a model.

`sleep_ms` makes it slow and `units` with `stream` makes it tick, both bounded; it loads and computes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from shoal.errors import Refused
from shoal.worker.pipelines.server import Answer, Call, Hands, Reply, Settings, Stream, encode, main

BODY_BYTES_MAX = 64 << 20
SLEEP_MS_MAX = 600_000
UNITS_MAX = 100_000


class Request(Struct, frozen=True):
    """What an echo heeds; whatever else the body holds is only returned."""

    sleep_ms: Annotated[int, Meta(ge=0, le=SLEEP_MS_MAX)] = 0
    units: Annotated[int, Meta(ge=1, le=UNITS_MAX)] = 1
    stream: bool = False


decoder = msgspec.json.Decoder(Request)


class Echo:
    """Implements `server.Pipeline`."""

    name = "echo"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        """Nothing to load."""

    def answer(self, call: Call, hands: Hands) -> Reply | Awaitable[Reply]:
        try:
            request = decoder.decode(call.body)
        except msgspec.DecodeError as error:
            raise Refused(f"the request is not valid: {error}") from error
        if request.stream:
            return Stream(ticks(request))
        answer = Answer(call.body, 1)
        return later(answer, request.sleep_ms) if request.sleep_ms else answer


async def later(answer: Answer, sleep_ms: int) -> Answer:
    await asyncio.sleep(sleep_ms / 1000)
    return answer


async def ticks(request: Request) -> AsyncGenerator[bytes, None]:
    """One event a unit, `sleep_ms` apart, each with the units so far; in the shape of the llm runner's chunks."""
    for tick in range(1, request.units + 1):
        await asyncio.sleep(request.sleep_ms / 1000)
        ending = "stop" if tick == request.units else ""
        choice = {"index": 0, "finish_reason": ending, "delta": {"role": "assistant", "content": f"{tick} "}}
        yield encode({"choices": [choice], "usage": {"completion_tokens": tick}})


if __name__ == "__main__":
    main(Echo())
