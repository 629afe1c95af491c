"""The figures against values worked out by hand, and against tables."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.errors import Refused
from shoal.sim.load.figures import (
    fair_shares,
    figures,
    interval,
    intervals,
    jain,
    paired,
    quantile,
    student_t,
)
from shoal.sim.load.trace import Ended


def job(index: int = 0, **changes: Any) -> Ended:
    """A job that was answered in time, but for what is changed."""
    facts: dict[str, Any] = {
        "at_ms": 100 * index,
        "tenant": "a",
        "pipeline": "echo",
        "model": "m",
        "work_ms": 1_000,
        "accepted": True,
        "done": True,
        "in_time": True,
        "queue_ms": 10,
        "run_ms": 1_000,
        "total_ms": 1_010,
        "attempts": 1,
        "wei": 5,
    }
    return Ended(index=index, **(facts | changes))


def test_every_figure_of_a_small_run() -> None:
    ended = [
        job(0),
        job(1, queue_ms=30, total_ms=2_000, attempts=3, turned_away=1, failed=1),
        job(2, done=False, in_time=False, code="expired", total_ms=9_000, wei=0),
        job(
            3,
            accepted=False,
            done=False,
            in_time=False,
            code="busy",
            retry_after_ms=50,
            total_ms=7,
            attempts=0,
            wei=0,
        ),
        job(50),  # it came after the window
    ]
    found = figures(ended, 0, 4_000)
    assert found.jobs == 4
    assert found.offered_per_s == 1.0
    assert found.accepted_share == 0.75
    assert found.success_share == 0.5
    assert found.failure_share == 0.5
    assert found.broken_share == pytest.approx(1 / 3)
    assert found.goodput_per_s == 0.5
    assert found.goodput_work == 0.5
    assert found.queue_mean_ms == 20
    assert found.total_p99_ms == 2_000
    assert found.admitted_p99_ms == 9_000
    assert found.full_share == 0.2
    assert found.wasted_share == 0.4
    assert found.retry_share == pytest.approx(2 / 3)
    assert found.retry_after_share == 1.0
    assert found.refused_p99_ms == 7
    assert found.wei_mean == 5


def test_goodput_counts_what_ended_in_the_window_and_not_what_came_in_it() -> None:
    assert figures([job(0, total_ms=5_000)], 0, 4_000).goodput_per_s == 0
    assert figures([job(0, total_ms=5_000)], 4_000, 6_000).goodput_per_s == 0.5


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.99, 4), (0.75, 3), (1.0, 4)]
)
def test_a_quantile_is_one_of_the_values(q: float, expected: float) -> None:
    assert quantile([1, 2, 3, 4], q) == expected


def test_jain() -> None:
    assert jain([3, 3, 3]) == pytest.approx(1)
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([]) == 1


def test_fair_shares_fill_the_modest_first() -> None:
    assert fair_shares({"a": 1, "b": 10, "c": 10}, 9) == {"a": 1, "b": 4, "c": 4}


def test_a_flood_does_not_make_others_look_favoured() -> None:
    flood = [job(n, tenant="flood", done=n < 3, in_time=n < 3) for n in range(30)]
    assert figures([*flood, *(job(n, tenant="b") for n in range(3))], 0, 10_000).jain == pytest.approx(1)
    starved = [job(n, tenant="b", done=False, in_time=False) for n in range(3)]
    assert figures([*flood, *starved], 0, 10_000).jain == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (29, 2.045), (120, 1.980)],
)
def test_students_t_is_that_of_the_tables(freedom: int, expected: float) -> None:
    assert student_t(0.95, freedom) == pytest.approx(expected, abs=6e-4)


def test_an_interval() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert 2.5 in found
    assert 5.0 not in found


def test_pairs_see_a_difference_that_means_hide() -> None:
    theirs = [10.0, 200.0, 3_000.0]
    ours = [value - 5 for value in theirs]
    found = paired(ours, theirs)
    assert (found.low, found.high) == pytest.approx((-5, -5))
    with pytest.raises(Refused):
        paired(ours, theirs[:2])


def test_intervals_over_runs_name_every_figure() -> None:
    found = intervals([figures([job(0)], 0, 1_000), figures([], 0, 1_000)])
    assert found["success_share"].runs == 2
    assert found["queue_mean_ms"].mean == 5
