"""OpenAI's API in the words of the table. What a request wants that is not there is refused, never left out quietly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from shoal.errors import Failed, Refused
from shoal.gateway.answers import LlmAnswer
from shoal.gateway.form import Form
from shoal.gateway.requests import READERS, Json
from shoal.runtime.door import JSON, encode
from shoal.wire.pipelines import PIPELINES
from shoal.wire.requests import LlmRequest, TextToSpeechRequest

TEXT = b"text/plain; charset=utf-8"


class StreamOptions(Struct, frozen=True):
    """What OpenAI's clients say about a stream."""

    include_usage: bool = False


class Extras(Struct, frozen=True):
    """What OpenAI's clients may add to a chat."""

    stream_options: StreamOptions | None = None
    n: Any = None
    tools: Any = None
    functions: Any = None
    logprobs: Any = None
    logit_bias: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    response_format: Any = None
    modalities: Any = None


#: What would change the answer and is not understood, with the values that ask for nothing.
_NOTHING: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "tools": (None, []),
    "functions": (None, []),
    "logprobs": (None, False),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
}


class SpeechRequest(Struct, frozen=True):
    """A text to be spoken."""

    input: Annotated[str, Meta(min_length=1, max_length=5_000)]
    model: str = ""
    voice: str = "default"
    response_format: str = "wav"
    speed: float = 1.0


class Chat(Struct, frozen=True):
    """A chat in the table's words, and whether its stream ends with the usage."""

    request: LlmRequest
    include_usage: bool


class Chunk(Struct, frozen=True):
    """A part of what was said, and from when to when (s)."""

    timestamp: tuple[float | None, float | None]
    text: str


class Transcript(Struct, frozen=True):
    """What was said."""

    text: str
    chunks: tuple[Chunk, ...] = ()


_extras = Json(Extras, PIPELINES["llm"].example)
_speeches = Json(SpeechRequest, '{"input": "Hello.", "voice": "default", "response_format": "wav"}')
_transcripts = msgspec.json.Decoder(Transcript)


def read_chat(body: bytes) -> Chat:
    """A request of `/v1/chat/completions`."""
    request = READERS["llm"].read(body)
    extras = _extras.read(body)
    for name, nothing in _NOTHING.items():
        if getattr(extras, name) not in nothing:
            raise Refused(f"{name} is not understood here; leave it out")
    options = extras.stream_options
    return Chat(request, options is not None and options.include_usage)


def chat_value(answer: LlmAnswer) -> dict[str, Any]:
    """A whole answer as OpenAI writes it."""
    choice = answer.choices[0]
    return {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": choice.message.content, "refusal": None},
                "logprobs": None,
                "finish_reason": choice.finish_reason or "stop",
            }
        ],
        "usage": answer.usage,
    }


def read_speech(body: bytes) -> TextToSpeechRequest:
    """A request of `/v1/audio/speech`."""
    wanted = _speeches.read(body)
    if wanted.voice not in ("", "default"):
        raise Refused('each model here speaks with one voice; send voice "default"')
    if wanted.response_format != "wav":
        raise Refused('speech is given as wav only; send response_format "wav"')
    if wanted.speed != 1.0:
        raise Refused("speech has one speed here; leave speed out")
    return TextToSpeechRequest(text=wanted.input, model_id=wanted.model)


def read_transcription(form: Form) -> tuple[Form, Callable[[bytes], tuple[bytes, bytes]]]:
    """A request of `/v1/audio/transcriptions` in the table's words, and how its answer is to be written."""
    write = _WRITERS.get(form.fields.get("response_format", "json"))
    if write is None:
        raise Refused(f"response_format is one of {', '.join(_WRITERS)}")
    for name in ("language", "prompt"):
        if form.fields.get(name):
            raise Refused(f"{name} is not understood here: the model hears for itself; leave it out")
    fields = {"model_id": form.fields.get("model", ""), "return_timestamps": "true"}
    files = {"audio": form.files["file"]} if "file" in form.files else {}
    return Form(fields, files), write


def _read_transcript(params: bytes) -> Transcript:
    try:
        return _transcripts.decode(params)
    except msgspec.DecodeError as error:
        raise Failed("the answer is not of the form that this pipeline has") from error


def _json(params: bytes) -> tuple[bytes, bytes]:
    return JSON, encode({"text": _read_transcript(params).text})


def _text(params: bytes) -> tuple[bytes, bytes]:
    return TEXT, _read_transcript(params).text.encode() + b"\n"


def _verbose(params: bytes) -> tuple[bytes, bytes]:
    transcript = _read_transcript(params)
    segments = [
        {"id": number, "start": chunk.timestamp[0], "end": chunk.timestamp[1], "text": chunk.text}
        for number, chunk in enumerate(transcript.chunks)
    ]
    return JSON, encode({"task": "transcribe", "text": transcript.text, "segments": segments})


_WRITERS = {"json": _json, "text": _text, "verbose_json": _verbose}
