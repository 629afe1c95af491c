"""OpenAI's API in the words of the table. What a request wants that is not there is refused, never left out quietly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from shoal.errors import Failed, Refused
from shoal.gateway.form import Form
from shoal.gateway.requests import READERS, Json
from shoal.runtime.door import JSON, encode
from shoal.wire.answers import LlmAnswer
from shoal.wire.pipelines import PIPELINES
from shoal.wire.requests import LlmRequest, Side, TextToImageRequest, TextToSpeechRequest

TEXT = b"text/plain; charset=utf-8"
#: What is drawn for those who leave the size open.
DRAWN_SIZE = (512, 512)


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


class ImagesRequest(Struct, frozen=True):
    """Pictures to be drawn."""

    prompt: Annotated[str, Meta(min_length=1, max_length=10_000)]
    model: str = ""
    n: Annotated[int, Meta(ge=1, le=10)] | None = 1
    size: str | None = "auto"
    response_format: Literal["url", "b64_json"] | None = "url"
    output_format: str | None = "png"
    background: str | None = "auto"
    stream: bool | None = False
    #: How fine or in which manner: one model draws in one way.
    quality: str | None = None
    style: str | None = None
    user: str | None = None


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


class Picture(Struct, frozen=True):
    """One picture of an answer."""

    url: str


class Pictures(Struct, frozen=True):
    """An answer of pictures: Livepeer's ImageResponse."""

    images: tuple[Picture, ...]


_extras = Json(Extras, PIPELINES["llm"].example)
_speeches = Json(SpeechRequest, '{"input": "Hello.", "voice": "default", "response_format": "wav"}')
_images = Json(ImagesRequest, '{"prompt": "a red heart", "n": 1, "size": "512x512"}')
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


def read_images(body: bytes) -> tuple[TextToImageRequest, bool]:
    """A request of `/v1/images/generations`, and whether its pictures are wanted inside the answer."""
    wanted = _images.read(body)
    width, height = _size(wanted)
    request = TextToImageRequest(
        prompt=wanted.prompt,
        model_id=wanted.model,
        num_images_per_prompt=wanted.n or 1,
        width=width,
        height=height,
    )
    return request, wanted.response_format == "b64_json"


def read_edit(form: Form) -> tuple[Form, bool]:
    """A request of `/v1/images/edits` in the table's words, and whether its pictures are wanted inside the answer."""
    fields = {"prompt": "", **form.fields}
    try:
        wanted = msgspec.convert(fields, ImagesRequest, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"the form is not valid: {error}") from error
    if "mask" in form.files:
        raise Refused("a mask is not understood here: the whole picture is drawn anew; leave it out")
    if _size(wanted, open_=(0, 0)) != (0, 0):
        raise Refused("the answer has the size of the image; leave size out")
    image = form.files.get("image", form.files.get("image[]", b""))
    fields = {
        "prompt": wanted.prompt,
        "model_id": wanted.model,
        "num_images_per_prompt": str(wanted.n or 1),
    }
    return Form(fields, {"image": image}), wanted.response_format == "b64_json"


def _size(wanted: ImagesRequest, open_: tuple[int, int] = DRAWN_SIZE) -> tuple[int, int]:
    """Width and height, once everything that is not understood is found not to be asked for."""
    if wanted.output_format not in (None, "png"):
        raise Refused('pictures are given as png only; send output_format "png"')
    if wanted.background not in (None, "auto", "opaque"):
        raise Refused('pictures are opaque here; send background "auto"')
    if wanted.stream:
        raise Refused("pictures are not streamed; ask /v1/jobs/{id}/events how far a job is")
    if wanted.size in (None, "", "auto"):
        return open_
    width, _, height = str(wanted.size).partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise Refused(f'size is "auto" or "WIDTHxHEIGHT", not {str(wanted.size)[:50]!r}')
    try:
        return msgspec.convert((width, height), tuple[Side, Side], strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"size is not possible: {error}") from error


def images_value(created: int, value: Any, *, inside: bool) -> dict[str, Any]:
    """Pictures as OpenAI writes them; `value` names each by an address, or holds it in a data URL."""
    try:
        pictures = msgspec.convert(value, Pictures).images
    except msgspec.ValidationError as error:
        raise Failed("the answer is not of the form that this pipeline has") from error
    if inside:
        data = [{"b64_json": picture.url.partition(",")[2]} for picture in pictures]
    else:
        data = [{"url": picture.url} for picture in pictures]
    return {"created": created, "data": data}


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
