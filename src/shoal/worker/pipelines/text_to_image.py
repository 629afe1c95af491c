"""The text-to-image runner: small pictures in the manner of emoji, from a model of our own, enlarged to what is asked.

The model paints squares. A picture that is wider or higher has its square in the middle and its ground continued on
both sides; nothing is stretched or cut off. Picture k of a call begins from luck seed + k, and says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from shoal.errors import Refused
from shoal.wire.requests import TextToImageRequest
from shoal.worker.pipelines import picture
from shoal.worker.pipelines.adapters import refuse_adapters
from shoal.worker.pipelines.enlargement import Enlarger
from shoal.worker.pipelines.painting import Floats, Told, Wish, nothing, paint, to_image, to_pixels
from shoal.worker.pipelines.picture import Drawn, Pixels, seeds
from shoal.worker.pipelines.safety import THRESHOLD, Safety
from shoal.worker.pipelines.server import (
    Answer,
    Call,
    Hands,
    Reply,
    Settings,
    Step,
    main,
    require_model,
)
from shoal.worker.pipelines.session import open_session
from shoal.worker.pipelines.wording import Reader

BODY_BYTES_MAX = 64 << 10
#: Several prompts stand in one, as in Livepeer's API.
PROMPT_MARK = "|"
PICTURES_MAX = 40
PIXELS_MAX = 40 << 20
#: The enlarger is asked for no more than this; what is still missing is smooth.
FACTOR_MAX = 16
#: The API's scale is made for large models: its usual 7.5 is this model's best, GUIDANCE_BEST.
GUIDANCE_USUAL, GUIDANCE_BEST = 7.5, 5.0


class Studio:
    """The networks that make a picture: words read, square painted, twice refined."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._reader = Reader(folder / "embeddings", threads)
        self._painter = open_session(folder / "painter.onnx", threads)
        self._finer = open_session(folder / "finer.onnx", threads)
        self.side_px: int = self._painter.get_inputs()[0].shape[2]

    def told(self, text: str) -> Told:
        """A text as the painter reads it; an empty one says nothing."""
        if not text.strip():
            return nothing(self._painter.get_inputs()[2].shape[2])
        words, mask = self._reader.read([text.strip()])
        return Told(words[0], mask[0])

    def paint(self, wish: Wish, step: Step, start: Pixels | None = None, strength: float = 1.0) -> Pixels:
        """A square of twice `side_px`; `start`, a square of `side_px`, is painted over as far as `strength` says."""
        begin = None if start is None else to_image(start)
        image = paint(self._network, wish, self.side_px, step, start=begin, strength=strength)
        [fine] = self._finer.run(None, {"image": image[None]})
        return to_pixels(fine[0])

    def _network(self, image: Floats, time: Floats, words: Floats, mask: Floats) -> Floats:
        given = {"image": image, "time": time, "words": words, "mask": mask}
        [painted] = self._painter.run(None, given)
        result: Floats = painted
        return result


def guidance(scale: float) -> float:
    """What the API's scale means to this model: 1 stays 1, the usual is the best, and so on in a straight line."""
    return 1 + (scale - 1) * (GUIDANCE_BEST - 1) / (GUIDANCE_USUAL - 1)


class Enlarged:
    """Squares made as large as was asked for."""

    def __init__(self, enlarger: Enlarger) -> None:
        self._enlarger = enlarger

    def fit(self, square: Pixels, width: int, height: int) -> Pixels:
        """The square in the middle of `width` x `height`, its outermost pixels continued where there is more."""
        side = min(width, height)
        factor = min(FACTOR_MAX, -(-side // len(square)))
        large = self._enlarger.enlarge(square, factor) if factor > 1 else square
        fitted = picture.resize(large, side, side)
        left, top = (width - side) // 2, (height - side) // 2
        room = ((top, height - side - top), (left, width - side - left), (0, 0))
        return np.pad(fitted, room, mode="edge")


class Asked(Struct, frozen=True):
    """One picture of a call."""

    prompt: str
    seed: int


class TextToImage:
    """Our own model; implements `server.Pipeline`."""

    name = "text-to-image"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        self._studio = Studio(settings.model_dir, settings.threads)
        # One thread: for pictures as small as these, more would mostly wait for each other.
        self._enlarged = Enlarged(Enlarger(settings.model_dir / "upscale", 1))
        self._safety = Safety(settings.model_dir / "safety", settings.threads)
        self._model_id = settings.model_id
        told = self._studio.told("ready")  # the first run plans its memory; let no caller wait for that
        self._studio.paint(Wish(told, told, 0, 1, 2.0), lambda done, of: None)

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        request = read_request(call.body)
        require_model(request.model_id, self._model_id)
        refuse_adapters(request.loras, self._model_id)
        pictures = tuple(asked(request))
        return hands.steps(call, lambda step: self._draw(request, pictures, step))

    def _draw(self, request: TextToImageRequest, pictures: tuple[Asked, ...], step: Step) -> Answer:
        negative, steps = self._studio.told(request.negative_prompt), request.num_inference_steps
        drawn = []
        for number, one in enumerate(pictures):

            def done(now: int, of: int, before: int = number * steps) -> None:
                step(before + now, len(pictures) * steps)

            wish = Wish(
                self._studio.told(one.prompt), negative, one.seed, steps, guidance(request.guidance_scale)
            )
            square = self._studio.paint(wish, done)
            large = self._enlarged.fit(square, request.width, request.height)
            nsfw = request.safety_check and self._safety.nsfw(large) > THRESHOLD
            drawn.append(Drawn(large, one.seed, nsfw))
        return picture.answer(drawn, request.width * request.height * len(pictures) * steps)


def asked(request: TextToImageRequest) -> Iterator[Asked]:
    """Every picture of a call: each prompt as often as asked, each with the next seed."""
    each = request.num_images_per_prompt
    wanted = [prompt for prompt in prompts(request.prompt) for _ in range(each)]
    for prompt, seed in zip(wanted, seeds(request.seed, len(wanted)), strict=True):
        yield Asked(prompt, seed)


def prompts(text: str) -> list[str]:
    return [part.strip() for part in text.split(PROMPT_MARK) if part.strip()]


def read_request(body: bytes) -> TextToImageRequest:
    try:
        request = decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Refused(f"the request is not valid: {error}") from error
    number = len(prompts(request.prompt)) * request.num_images_per_prompt
    if not number:
        raise Refused("Prompt must be provided.")
    if number > PICTURES_MAX or number * request.width * request.height > PIXELS_MAX:
        raise Refused(
            f"{number} pictures of {request.width} x {request.height} pixels are too many for one call: "
            f"ask for at most {PICTURES_MAX} of at most {PIXELS_MAX} pixels in all"
        )
    return request


decoder = msgspec.json.Decoder(TextToImageRequest)

if __name__ == "__main__":
    main(TextToImage())
