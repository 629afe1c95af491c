"""The camera's path: inside the picture, gentle, and as long as was asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.worker.pipelines.camera import MOTION_MAX, View, camera

SIDES = st.integers(1, 4000)
SEEDS = st.integers(0, 2**63 - 1)


def travelled(before: View, after: View) -> float:
    return max(abs(one - other) for one, other in zip(before, after, strict=True))


@given(SIDES, SIDES, st.integers(0, MOTION_MAX), SEEDS, st.floats(0, 1))
def test_a_view_lies_inside_the_picture_and_has_its_proportions(
    width: int, height: int, motion: int, seed: int, moment: float
) -> None:
    left, top, right, bottom = camera(width, height, motion, seed).view(moment)
    slack = 1e-6 * max(width, height)
    assert -slack <= left < right <= width + slack
    assert -slack <= top < bottom <= height + slack
    assert (right - left) / width == pytest.approx((bottom - top) / height)


@given(SEEDS)
def test_more_motion_goes_further_the_same_way_and_none_stays(seed: int) -> None:
    gone = []
    for motion in (0, 60, 120, MOTION_MAX):
        path = camera(640, 360, motion, seed)
        gone.append(travelled(path.view(0), path.view(1)))
    assert gone == sorted(set(gone))
    assert gone[0] == 0


@given(SEEDS)
def test_it_starts_and_ends_gently(seed: int) -> None:
    path = camera(640, 360, MOTION_MAX, seed)
    first, middle, last = (travelled(path.view(at), path.view(at + 0.05)) for at in (0, 0.475, 0.95))
    assert first < middle / 2
    assert last < middle / 2


def test_seeds_choose_among_all_ways() -> None:
    ways = {
        (path.zoom_from < path.zoom_to, path.zoom_from > path.zoom_to)
        for path in (camera(640, 360, 127, seed) for seed in range(20))
    }
    assert len(ways) == 3
