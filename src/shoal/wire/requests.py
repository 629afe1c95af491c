"""What each pipeline may be asked: every field, its limits and its default. The table of `pipelines.py` names these.

The fields are those of Livepeer's schemas, and a few of ours beside them. Its own defaults are meant for large
graphics cards; where ours are smaller, the field says so. Requests whose numbers are paid for are written out whole,
so that a runner with defaults of its own works on what was asked and paid.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1, max_length=100_000)]
Prompt = Annotated[str, Meta(max_length=10_000)]
Required = Annotated[str, Meta(min_length=1, max_length=10_000)]
#: Adapters by name and weight, as JSON; models that take none refuse them.
Loras = Annotated[str, Meta(max_length=10_000)]
#: A picture's side in pixels.
Side = Annotated[int, Meta(ge=16, le=2_048)]
#: A film's side: even numbers of blocks of 8, as encoders have it.
FilmSide = Annotated[int, Meta(ge=64, le=2_048, multiple_of=8)]
Steps = Annotated[int, Meta(ge=1, le=200)]
Count = Annotated[int, Meta(ge=1, le=10)]
Guidance = Annotated[float, Meta(ge=0, le=50)]
#: What luck begins from. Of several pictures the first has it, and those that follow count on.
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
#: JSON inside a form's field.
Json = Annotated[str, Meta(max_length=100_000)]
#: The logits of an earlier answer's mask.
MaskJson = Annotated[str, Meta(max_length=4_000_000)]


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
    #: OpenAI's name for a session: requests that begin alike. It stays at the gateway.
    prompt_cache_key: Annotated[str, Meta(max_length=255)] | None = None


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


class TextToImageRequest(Struct, frozen=True, kw_only=True):
    """A picture to be drawn. Livepeer's defaults are 1024 x 576 pixels and 50 steps."""

    prompt: Required
    model_id: str = ""
    loras: Loras = ""
    width: Side = 512
    height: Side = 512
    guidance_scale: Guidance = 7.5
    negative_prompt: Prompt = ""
    safety_check: bool = True
    seed: Seed | None = None
    num_inference_steps: Steps = 25
    num_images_per_prompt: Count = 1


class ImageToImageRequest(Struct, frozen=True, kw_only=True):
    """The file `image` to be drawn otherwise: as the prompt says, or like the file `style_image` (ours).

    Livepeer's default is 100 steps. The answer has the size of the image.
    """

    prompt: Prompt = ""
    model_id: str = ""
    loras: Loras = ""
    strength: Annotated[float, Meta(ge=0, le=1)] = 0.8
    guidance_scale: Guidance = 7.5
    image_guidance_scale: Guidance = 1.5
    negative_prompt: Prompt = ""
    safety_check: bool = True
    seed: Seed | None = None
    num_inference_steps: Steps = 25
    num_images_per_prompt: Count = 1


class ImageToVideoRequest(Struct, frozen=True, kw_only=True):
    """The file `image` to be brought into motion; the film ends with the file `end_image` (ours), if there is one.

    Livepeer's default is 1024 x 576 pixels; its frames are always 25.
    """

    model_id: str = ""
    width: FilmSide = 512
    height: FilmSide = 288
    fps: Annotated[int, Meta(ge=1, le=60)] = 6
    #: Ours: how many pictures the film has.
    num_frames: Annotated[int, Meta(ge=2, le=240)] = 25
    #: How much motion: 0 none, 255 the most.
    motion_bucket_id: Annotated[int, Meta(ge=0, le=255)] = 127
    noise_aug_strength: Annotated[float, Meta(ge=0, le=10)] = 0.02
    safety_check: bool = True
    seed: Seed | None = None
    num_inference_steps: Steps = 25


class UpscaleRequest(Struct, frozen=True, kw_only=True):
    """The file `image` to be enlarged. Livepeer requires a prompt, and enlarges by 4."""

    prompt: Prompt = ""
    model_id: str = ""
    safety_check: bool = True
    seed: Seed | None = None
    num_inference_steps: Steps = 75
    #: Ours: how many times as wide and as high.
    factor: Annotated[int, Meta(ge=2, le=4)] = 4


class SegmentAnything2Request(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is where the points and boxes are, in the file `image`. The fields with lists are JSON inside the form."""

    model_id: str = ""
    #: [[x, y], ...] in pixels of the image, or from 0 to 1.
    point_coords: Json = ""
    #: [1, 0, ...]: a point of the object, or one that is not.
    point_labels: Json = ""
    #: [left, top, right, bottom], or several of them.
    box: Json = ""
    mask_input: MaskJson = ""
    multimask_output: bool = True
    return_logits: bool = True
    normalize_coords: bool = True


class ImageToTextRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The file `image` to be put into words."""

    prompt: Prompt = ""
    model_id: str = ""


class EmbeddingsRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Texts to be turned into vectors, as OpenAI's API has it. Lists of token numbers are refused."""

    input: Text | Annotated[tuple[Text, ...], Meta(min_length=1, max_length=2_048)]
    model: str = ""
    encoding_format: Literal["float", "base64"] = "float"


class EchoRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something to be said back, for tests and measuring: after `sleep_ms`, in `units` ticks if streamed."""

    text: Annotated[str, Meta(max_length=1_000_000)] = ""
    model: str = ""
    sleep_ms: Annotated[int, Meta(ge=0, le=600_000)] = 0
    units: Annotated[int, Meta(ge=1, le=100_000)] = 1
    stream: bool = False
