"""Success: nothing is held against a newcomer, failures count, and fade."""

from __future__ import annotations

import pytest

from shoal.policy.success import HALF_LIFE_MS, Outcomes
from shoal.units import Instant

NOW = Instant(1_000_000)


def made(good: int, bad: int, now: Instant = NOW) -> Outcomes:
    outcomes = Outcomes()
    for _ in range(good):
        outcomes = outcomes.after(True, now)
    for _ in range(bad):
        outcomes = outcomes.after(False, now)
    return outcomes


def test_without_a_failure_it_is_whole() -> None:
    assert Outcomes().least == made(1, 0).least == made(1_000, 0).least == 1.0


def test_one_failure_weighs_the_less_the_more_is_known() -> None:
    bounds = [made(good, 1).least for good in (0, 1, 10, 100, 1_000)]
    assert bounds == sorted(bounds)
    assert 0.3 < bounds[0] < 0.5
    assert 0.99 < bounds[-1] < 1.0


def test_failures_lower_it_down_to_nothing() -> None:
    bounds = [made(10, bad).least for bad in range(200)]
    assert bounds == sorted(bounds, reverse=True)
    assert 0.0 <= bounds[-1] < 0.05


def test_it_lies_below_the_share_itself_where_much_is_known() -> None:
    assert made(90, 10).least < 0.9
    assert made(9_000, 1_000).least == pytest.approx(0.9, abs=0.005)


def test_outcomes_fade_by_half() -> None:
    old = made(8, 4)
    faded = old.faded(Instant(NOW + HALF_LIFE_MS))
    assert (faded.good, faded.bad) == pytest.approx((4.0, 2.0))
    assert old.faded(Instant(NOW - 5)) is old


def test_who_failed_is_forgiven_in_time() -> None:
    bounds = [made(0, 3).faded(Instant(NOW + n * HALF_LIFE_MS)).least for n in range(12)]
    assert bounds == sorted(bounds)
    assert bounds[0] < 0.35
    assert bounds[-1] > 0.95


def test_a_recent_failure_weighs_more_than_an_old_one() -> None:
    later = Instant(NOW + 3 * HALF_LIFE_MS)
    old_failure = made(5, 1).faded(later).after(True, later)
    new_failure = made(6, 0).faded(later).after(False, later)
    assert new_failure.least < old_failure.least
