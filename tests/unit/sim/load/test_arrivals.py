"""Streams of arrivals have the rates that they are said to have, and the same seed gives the same jobs."""

from __future__ import annotations

from itertools import islice, pairwise
from random import Random

import pytest

from shoal.sim.load.arrivals import Kind, bursts, crowd, draw, merge, poisson, replay

KIND = Kind(pipeline="echo", model="m", deadline_ms=1_000, work_min_ms=10, work_max_ms=20)
LONG = Kind(pipeline="llm", model="m", deadline_ms=1_000, work_mean_ms=500, weight=3)


def gaps(times: list[float]) -> list[float]:
    """The times between arrivals."""
    return [later - sooner for sooner, later in pairwise(times)]


def test_poisson_has_its_rate_and_spread() -> None:
    between = gaps(list(islice(poisson(Random(1), 5.0), 20_000)))
    mean = sum(between) / len(between)
    variance = sum((gap - mean) ** 2 for gap in between) / len(between)
    assert mean == pytest.approx(0.2, rel=0.02)
    assert variance / mean**2 == pytest.approx(1.0, abs=0.05)


def test_bursts_have_the_same_rate_and_more_spread() -> None:
    times = list(islice(bursts(Random(2), 5.0, on_s=5, off_s=20), 50_000))
    between = gaps(times)
    mean = sum(between) / len(between)
    variance = sum((gap - mean) ** 2 for gap in between) / len(between)
    assert mean == pytest.approx(0.2, rel=0.1)
    assert variance / mean**2 > 5
    assert times == sorted(times)


def test_a_crowd_comes_and_goes() -> None:
    times = list(islice(crowd(Random(3), 10.0, from_s=100, for_s=50, times=8), 20_000))
    within = sum(100 <= at_s < 150 for at_s in times)
    before = sum(at_s < 100 for at_s in times)
    assert within == pytest.approx(4_000, rel=0.05)
    assert before == pytest.approx(1_000, rel=0.1)


def test_a_replay_is_what_was_recorded_but_quicker() -> None:
    assert list(replay([3.0, 1.0], speed=2.0)) == [0.5, 1.5]


def test_the_same_seed_gives_the_same_jobs() -> None:
    def one(per_s: float) -> list[tuple[str, int, str]]:
        rng = Random(4)
        found = draw(poisson(Random(5), per_s), [KIND, LONG], ["a", "b"], rng, jobs=100, sessions=3)
        return [(a.pipeline, a.work_ms, a.session) for a in found]

    assert one(1.0) == one(1.0) == one(7.0)


def test_kinds_come_by_their_weights() -> None:
    found = draw(poisson(Random(6), 100.0), [KIND, LONG], ["a"], Random(7), until_ms=60_000)
    assert all(a.at_ms < 60_000 for a in found)
    assert len(found) == pytest.approx(6_000, rel=0.1)
    llm = [a for a in found if a.pipeline == "llm"]
    assert len(llm) / len(found) == pytest.approx(0.75, abs=0.03)
    assert sum(a.work_ms for a in llm) / len(llm) == pytest.approx(LONG.mean_ms, rel=0.1)
    assert KIND.mean_ms == 15


def test_streams_are_merged_in_order() -> None:
    streams = [draw(poisson(Random(n), 1.0), [KIND], ["a"], Random(n), jobs=20) for n in range(3)]
    merged = merge(*streams)
    assert len(merged) == 60
    assert [a.at_ms for a in merged] == sorted(a.at_ms for a in merged)
