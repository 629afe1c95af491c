"""The one table of pipelines: it drives routes, clients, workers, prices and tests.

A row says what a request and an answer look like, what it costs and what its
limits are. A new pipeline is one row here, one runner file and one model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from shoal.errors import NotFound
from shoal.machine import Value
from shoal.money.wei import Price
from shoal.units import KIB, MIB, MINUTE_MS

Text = Annotated[str, Meta(min_length=1, max_length=100_000)]


class TextPart(Struct, frozen=True):
    """One part of an OpenAI message; only text is understood."""

    text: str
    type: Literal["text"] = "text"


class Message(Struct, frozen=True):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[TextPart, ...]


class LlmRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A conversation to be continued: Livepeer's `/llm`, and what OpenAI's chat adds to it."""

    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=1_000)]
    model: str = ""
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.7
    max_tokens: Annotated[int, Meta(ge=1, le=8_192)] | None = 256
    max_completion_tokens: Annotated[int, Meta(ge=1, le=8_192)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Meta(ge=-1, le=1_000)] = -1
    stream: bool = False
    seed: int | None = None
    stop: str | tuple[str, ...] | None = None


class AudioToTextRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Speech to be written down; the sound itself is the file `audio`."""

    model_id: str = ""
    return_timestamps: Literal["true", "false", "sentence", "word"] = "true"
    metadata: Annotated[str, Meta(max_length=10_000)] = "{}"


class TextToSpeechRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A text to be spoken."""

    text: Annotated[str, Meta(min_length=1, max_length=5_000)]
    model_id: str = ""
    description: Annotated[str, Meta(max_length=10_000)] = ""


class EchoRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something to be said back, for tests and measuring: after `sleep_ms`, in `units` ticks if streamed."""

    text: Annotated[str, Meta(max_length=1_000_000)] = ""
    model: str = ""
    sleep_ms: Annotated[int, Meta(ge=0, le=600_000)] = 0
    units: Annotated[int, Meta(ge=1, le=100_000)] = 1
    stream: bool = False


Request = LlmRequest | AudioToTextRequest | TextToSpeechRequest | EchoRequest


class MediaField(Value, frozen=True):
    """A file that a request carries: its form field and what it may be."""

    field: str
    kind: Literal["audio", "image"]
    bytes_max: int
    duration_max_ms: int = 0


class Pipeline(Value, frozen=True, kw_only=True):
    """One row: everything that differs between pipelines."""

    name: str
    #: Livepeer's capability id; None for a pipeline that Livepeer has not.
    capability: int | None
    request: type[Struct]
    model_field: str
    default_model: str
    #: What one work unit is, for people.
    unit: str
    #: The most units that this request can come to, given the durations (ms) of its files.
    units_max: Callable[[Request, tuple[int, ...]], int]
    #: What an orchestrator asks unless it says otherwise, and the most a gateway pays.
    price: Price
    deadline_ms: int
    params_bytes_max: int = 1 * MIB
    media: tuple[MediaField, ...] = ()
    #: The media type of a binary answer; "" if the answer is JSON alone.
    answers: str = ""
    #: True if a client may ask for the answer piece by piece.
    streams: bool = False
    #: False for a pipeline whose runner loads nothing: its model is only a name.
    has_models: bool = True
    #: The parameter that fixes the luck of an answer; "" if there is none. A worker draws it from the
    #: job's id where the client left it open, so that a second attempt says what the first one said.
    seed_field: str = ""
    example: str


def tokens_max(request: Request, durations_ms: tuple[int, ...]) -> int:
    """The most tokens that an answer may have; those of the question are not charged."""
    assert isinstance(request, LlmRequest)
    return request.max_completion_tokens or request.max_tokens or 256


def characters(request: Request, durations_ms: tuple[int, ...]) -> int:
    """The characters to be spoken."""
    assert isinstance(request, TextToSpeechRequest)
    return len(request.text)


def audio_ms(request: Request, durations_ms: tuple[int, ...]) -> int:
    """The length of the sound."""
    return sum(durations_ms)


def ticks(request: Request, durations_ms: tuple[int, ...]) -> int:
    """The ticks of an echo."""
    assert isinstance(request, EchoRequest)
    return request.units


PIPELINES: dict[str, Pipeline] = {
    row.name: row
    for row in (
        Pipeline(
            name="llm",
            capability=33,
            request=LlmRequest,
            model_field="model",
            default_model="HuggingFaceTB/SmolLM2-135M-Instruct",
            unit="token of the answer",
            units_max=tokens_max,
            price=Price(2_000_000_000),
            deadline_ms=2 * MINUTE_MS,
            streams=True,
            seed_field="seed",
            example='{"messages": [{"role": "user", "content": "What is the capital of France?"}]}',
        ),
        Pipeline(
            name="audio-to-text",
            capability=31,
            request=AudioToTextRequest,
            model_field="model_id",
            default_model="openai/whisper-base",
            unit="millisecond of sound",
            units_max=audio_ms,
            price=Price(12_000_000),
            deadline_ms=5 * MINUTE_MS,
            params_bytes_max=64 * KIB,
            media=(MediaField("audio", "audio", 50 * MIB, 10 * MINUTE_MS),),
            example='{"return_timestamps": "true"}',
        ),
        Pipeline(
            name="text-to-speech",
            capability=36,
            request=TextToSpeechRequest,
            model_field="model_id",
            default_model="rhasspy/piper-en_US-joe-medium",
            unit="character of the text",
            units_max=characters,
            price=Price(500_000_000),
            deadline_ms=2 * MINUTE_MS,
            params_bytes_max=64 * KIB,
            answers="audio/wav",
            example='{"text": "A shoal is many small fish that move as one."}',
        ),
        Pipeline(
            name="echo",
            capability=None,
            request=EchoRequest,
            model_field="model",
            default_model="echo",
            unit="tick",
            units_max=ticks,
            price=Price(1_000_000),
            deadline_ms=1 * MINUTE_MS,
            params_bytes_max=16 * MIB,
            streams=True,
            has_models=False,
            example='{"text": "hello"}',
        ),
    )
}


def pipeline(name: str) -> Pipeline:
    """The row of this name. Raises `NotFound` with the names that there are."""
    row = PIPELINES.get(name)
    if row is None:
        raise NotFound(f"there is no pipeline {name!r}; there are {', '.join(PIPELINES)}")
    return row
