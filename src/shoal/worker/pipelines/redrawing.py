"""Pictures redrawn by our own model: from the picture with noise laid over it, towards what the prompt says.

The model paints small squares in the manner of emoji; a picture is squeezed into one, and stretched back afterwards.
`strength` is how much noise: 0 leaves the picture as it came, 1 leaves nothing of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from shoal.errors import Refused
from shoal.wire.requests import ImageToImageRequest
from shoal.worker.pipelines.enlargement import Enlarger
from shoal.worker.pipelines.painting import Told, Wish, skipped
from shoal.worker.pipelines.picture import Pixels, resize
from shoal.worker.pipelines.server import Step
from shoal.worker.pipelines.text_to_image import Enlarged, Studio, guidance


class Draws(Protocol):
    """What paints a square: `text_to_image.Studio`."""

    side_px: int

    def told(self, text: str) -> Told:
        """A text as it reads it."""

    def paint(self, wish: Wish, step: Step, start: Pixels | None = None, strength: float = 1.0) -> Pixels:
        """A square, painted over `start`."""


class Fits(Protocol):
    """What makes a square as large as it must be: `text_to_image.Enlarged`."""

    def fit(self, square: Pixels, width: int, height: int) -> Pixels:
        """The square at this size."""


def redrawer(folder: Path, threads: int) -> Redrawer:
    """Our model, from its files."""
    return Redrawer(Studio(folder, threads), Enlarged(Enlarger(folder / "upscale", threads)))


class Redrawer:
    """Our picture model over a picture; implements `image_to_image.Painter`."""

    def __init__(self, studio: Draws, enlarged: Fits) -> None:
        self._studio = studio
        self._enlarged = enlarged

    def draw(
        self, picture: Pixels, style: Pixels | None, request: ImageToImageRequest, seed: int, step: Step
    ) -> Pixels:
        """The picture redrawn as the prompt says."""
        if style is not None:
            raise Refused("this model takes no style_image; describe the picture in the prompt")
        if not request.prompt.strip():
            raise Refused("Prompt must be provided.")
        if request.strength == 0:
            step(1, 1)
            return picture
        told, negative = self._studio.told(request.prompt), self._studio.told(request.negative_prompt)
        wish = Wish(told, negative, seed, request.num_inference_steps, guidance(request.guidance_scale))
        side = self._studio.side_px
        square = self._studio.paint(wish, step, resize(picture, side, side), request.strength)
        height, width, _ = picture.shape
        longer = max(height, width)
        return resize(self._enlarged.fit(square, longer, longer), width, height)

    def steps(self, request: ImageToImageRequest) -> int:
        """As many as are taken: with less strength fewer. A picture that stays as it was counts one."""
        steps = request.num_inference_steps
        return max(1, steps - skipped(steps, request.strength))
