"""Which styles a prompt names."""

from __future__ import annotations

import pytest

from shoal.errors import Refused
from shoal.worker.pipelines.styles import NAMES, STYLES, mixture


def named(prompt: str) -> set[str]:
    weights = mixture(prompt)
    assert sum(weights) == pytest.approx(1)
    assert len({weight for weight in weights if weight}) == 1
    return {name for name, weight in zip(NAMES, weights, strict=True) if weight}


@pytest.mark.parametrize("name", NAMES)
def test_a_style_is_found_by_its_name(name: str) -> None:
    assert named(f"A castle, painted in the style of {name.upper()}!") == {name}


def test_every_other_word_for_a_style_means_that_one() -> None:
    for names in STYLES:
        for word in names:
            assert named(word) == {names[0]}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("in the style of Starry  Night", {"starry night"}),
        ("like van-gogh", {"starry night"}),
        ("a colored pencil drawing", {"coloured pencil"}),
        ("grey ink", {"grey ink"}),
        ("a great wave of stained glass", {"great wave", "stained glass"}),
        ("mosaic, mosaic", {"pebble mosaic"}),
    ],
)
def test_prompts_are_read_with_sense(prompt: str, expected: set[str]) -> None:
    assert named(prompt) == expected


@pytest.mark.parametrize("prompt", ["", "a dog", "drink", "turn the nice thing", "greyink"])
def test_a_prompt_that_names_none_is_told_all(prompt: str) -> None:
    with pytest.raises(Refused, match="names no style") as refused:
        mixture(prompt)
    assert all(name in refused.value.message for name in NAMES)
