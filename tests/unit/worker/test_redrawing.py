"""What our own picture model is given of a picture and a request, and what becomes of its square."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.errors import Refused
from shoal.wire.requests import ImageToImageRequest
from shoal.worker.pipelines.painting import Told, Wish, nothing
from shoal.worker.pipelines.picture import Pixels, resize
from shoal.worker.pipelines.redrawing import Redrawer
from shoal.worker.pipelines.server import Step

PICTURE = np.zeros((30, 60, 3), np.uint8)
PICTURE[:, 30:] = 200


class Studio:
    """Gives back what it was to begin from, twice as large and a little lighter."""

    side_px = 8

    def told(self, text: str) -> Told:
        return nothing(len(text))

    def paint(self, wish: Wish, step: Step, start: Pixels | None = None, strength: float = 1.0) -> Pixels:
        assert start is not None
        assert start.shape == (8, 8, 3)
        for number in range(wish.steps):
            step(number + 1, wish.steps)
        return resize(start, 16, 16) // 2 + np.uint8(50 * strength + wish.seed)


class Enlarged:
    def fit(self, square: Pixels, width: int, height: int) -> Pixels:
        return resize(square, width, height)


@pytest.fixture
def redrawer() -> Redrawer:
    return Redrawer(Studio(), Enlarged())


def test_the_whole_picture_is_redrawn_at_its_size(redrawer: Redrawer) -> None:
    steps: list[tuple[int, int]] = []
    request = ImageToImageRequest(prompt="a cat", strength=0.6, num_inference_steps=3)
    drawn = redrawer.draw(PICTURE, None, request, 5, lambda *step: steps.append(step))
    assert drawn.shape == PICTURE.shape
    assert abs(int(drawn[15, 5, 0]) - 35) <= 2
    assert abs(int(drawn[15, 55, 0]) - 135) <= 2
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert redrawer.steps(request) == 2  # with less strength fewer are taken


def test_strength_0_leaves_it_as_it_came(redrawer: Redrawer) -> None:
    request = ImageToImageRequest(prompt="a cat", strength=0)
    assert redrawer.draw(PICTURE, None, request, 5, lambda *step: None) is PICTURE
    assert redrawer.steps(request) == 1


def test_it_wants_words_and_no_style(redrawer: Redrawer) -> None:
    with pytest.raises(Refused, match="Prompt must be provided"):
        redrawer.draw(PICTURE, None, ImageToImageRequest(prompt=" "), 5, lambda *step: None)
    with pytest.raises(Refused, match="takes no style_image"):
        redrawer.draw(PICTURE, PICTURE, ImageToImageRequest(prompt="a cat"), 5, lambda *step: None)
