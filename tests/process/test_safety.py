"""The judge of decency, with its real weights, on pictures that harm nobody, prepared as its makers prepare them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from runner import quiet
from shoal.worker.models import ensure, find, models_home
from shoal.worker.pipelines.picture import decode
from shoal.worker.pipelines.safety import THRESHOLD, Safety, prepared
from shoal.worker.sources import sources

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def safety() -> Safety:
    return Safety(ensure(find("safety", ""), models_home(os.environ), quiet, sources(os.environ)), threads=2)


@pytest.mark.parametrize(("name", "about"), [("cat.jpg", 0.0002), ("coffee.jpg", 0.013)])
def test_harmless_photographs_pass_with_the_scores_of_the_published_code(
    safety: Safety, name: str, about: float
) -> None:
    likely = safety.nsfw(decode((EXAMPLES / name).read_bytes()))
    assert likely == pytest.approx(about, abs=0.005)
    assert likely < THRESHOLD


def test_any_size_and_no_content_at_all_are_judged(safety: Safety) -> None:
    for height, width in ((1, 1), (3, 900), (256, 256)):
        assert 0 <= safety.nsfw(np.full((height, width, 3), 128, np.uint8)) < THRESHOLD


def test_blue_comes_first_and_the_mean_is_gone() -> None:
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 0] = 255
    blue_green_red = prepared(red).mean((0, 1))
    assert prepared(red).shape == (224, 224, 3)
    assert blue_green_red == pytest.approx([0 - 104, 0 - 117, 254 - 123], abs=1.5)
