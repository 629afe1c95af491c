"""The sampler keeps its promises whatever network it is given; here it is one that can be seen through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.errors import Cancelled
from shoal.worker.pipelines.painting import (
    Floats,
    Told,
    Wish,
    nothing,
    paint,
    times,
    to_image,
    to_pixels,
)

SIDE = 8


def told(value: float) -> Told:
    return Told(np.full((3, 4), value, np.float32), np.ones(3, np.float32))


def toned(image: Floats, time: Floats, words: Floats, mask: Floats) -> Floats:
    """A network that sees, behind any noise, an even picture as bright as the words say, and some of the noise."""
    bright = (words * mask[:, :, None]).sum(axis=(1, 2)) / np.maximum(mask.sum(axis=1) * words.shape[2], 1)
    return np.asarray(bright[:, None, None, None] + 0.2 * np.tanh(image), np.float32)


def silent(done: int, of: int) -> None:
    """Nobody listens."""


WISH = Wish(told(0.5), nothing(4), seed=7, steps=6, guidance=1.0)


def test_a_picture_has_the_size_and_range_that_were_promised() -> None:
    image = paint(toned, WISH, SIDE, silent)
    assert image.shape == (3, SIDE, SIDE)
    assert image.dtype == np.float32
    assert -1 <= image.min() < image.max() <= 1
    assert abs(image.mean() - 0.5) < 0.1


def test_one_seed_gives_one_picture_and_another_seed_another() -> None:
    first, again = paint(toned, WISH, SIDE, silent), paint(toned, WISH, SIDE, silent)
    assert first.tobytes() == again.tobytes()
    assert paint(toned, replace(WISH, seed=8), SIDE, silent).tobytes() != first.tobytes()


def test_guidance_goes_further_and_a_negative_turns_away() -> None:
    plain = paint(toned, WISH, SIDE, silent).mean()
    assert paint(toned, replace(WISH, guidance=1.6), SIDE, silent).mean() > plain + 0.1
    darker = replace(WISH, negative=told(-0.2), guidance=1.6)
    assert (
        paint(toned, darker, SIDE, silent).mean()
        > paint(toned, replace(WISH, guidance=1.6), SIDE, silent).mean()
    )
    assert paint(toned, replace(darker, guidance=1.0), SIDE, silent).mean() == pytest.approx(plain)


def test_every_step_is_told_and_any_may_be_the_last() -> None:
    heard: list[tuple[int, int]] = []
    paint(toned, WISH, SIDE, lambda done, of: heard.append((done, of)))
    assert heard == [(number, 6) for number in range(1, 7)]

    def leave(done: int, of: int) -> None:
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        paint(toned, WISH, SIDE, leave)


@pytest.mark.parametrize("steps", [1, 2, 25])
def test_the_way_goes_from_noise_to_none(steps: int) -> None:
    way = times(steps)
    assert len(way) == steps + 1
    assert way[0] == 0
    assert way[-1] == 1
    assert np.all(np.diff(way) > 0)


def test_a_picture_to_start_from_is_kept_as_far_as_strength_leaves_it() -> None:
    start = np.full((3, SIDE, SIDE), -0.8, np.float32)
    wish = replace(WISH, steps=10)
    assert np.array_equal(paint(toned, wish, SIDE, silent, start=start, strength=0.0), start)
    means = [
        float(paint(toned, wish, SIDE, silent, start=start, strength=part).mean()) for part in (0.2, 0.5, 1.0)
    ]
    assert means == sorted(means)
    heard: list[tuple[int, int]] = []
    paint(toned, wish, SIDE, lambda done, of: heard.append((done, of)), start=start, strength=0.3)
    assert heard == [(1, 3), (2, 3), (3, 3)]
    whole = paint(toned, wish, SIDE, silent, start=start, strength=1.0)
    assert np.allclose(whole, paint(toned, wish, SIDE, silent))


def test_pixels_and_pictures_turn_into_each_other() -> None:
    pixels = np.arange(SIDE * SIDE * 3, dtype=np.uint8).reshape(SIDE, SIDE, 3)
    assert np.array_equal(to_pixels(to_image(pixels)), pixels)
