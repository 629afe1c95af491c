"""Admission: who could not be served in time is told so at once, and when to come again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import Market


def crowded(*, slots: int, run_ms: int, waiting: int, each_after_ms: int = 0) -> Market:
    """A market whose every slot is taken, with so many that wait."""
    market = Market(queue_jobs_max=10_000, queue_jobs_per_client_max=10_000, retry_burst=100)
    market.sells("o1", slots)
    market.learns("o1", run_ms)
    for number in range(slots + waiting):
        assert market.submit(f"early {number}").fault is None
        if number < slots:
            market.after(each_after_ms)
    assert sum(market.at(f"early {n}") == "" for n in range(slots + waiting)) == waiting
    return market


def runs_on(market: Market, ms: int, run_ms: int) -> None:
    """Time passes; whoever runs answers when its time is over."""
    end = market.now + ms
    while True:
        running = [market.machine.jobs[lease.task] for lease in market.machine.leases]
        due = sorted((job.attempt(job.epoch).placed_at + run_ms, job.id) for job in running)
        if not due or due[0][0] > end:
            break
        market.now = max(market.now, due[0][0])
        market.answers(due[0][1], run_ms=run_ms)
    market.now = end


def test_who_cannot_be_served_in_time_is_refused_at_once_and_nothing_is_kept_of_it() -> None:
    market = crowded(slots=1, run_ms=10_000, waiting=2)
    before = market.machine.dump()
    fault = market.refused("late", deadline_ms=30_000)
    assert fault.code == "busy"
    assert "2 jobs wait before this one" in fault.message
    assert fault.retry_after_ms >= market.rules.tick_ms
    assert market.machine.dump() == before
    assert market.submit("patient", deadline_ms=60_000).fault is None


@settings(max_examples=60)
@given(
    slots=st.integers(1, 5),
    run_ms=st.integers(50, 20_000),
    waiting=st.integers(0, 12),
    phase=st.floats(0, 1),
    runs=st.floats(0.01, 12),
)
def test_who_comes_back_when_told_to_is_accepted(
    slots: int, run_ms: int, waiting: int, phase: float, runs: float
) -> None:
    market = crowded(
        slots=slots, run_ms=run_ms, waiting=waiting, each_after_ms=int(phase * run_ms / (slots + 1))
    )
    deadline_ms = max(1, int(runs * run_ms))
    fault = market.submit("late", "ben", deadline_ms=deadline_ms).fault
    if fault is None:
        return
    assert fault.code == "busy"
    runs_on(market, fault.retry_after_ms, run_ms)
    assert market.submit("again", "ben", deadline_ms=deadline_ms).fault is None


@pytest.mark.parametrize("client", ["anna", "ben"])
def test_a_full_queue_says_when_there_is_room(client: str) -> None:
    market = Market(queue_jobs_max=3, queue_jobs_per_client_max=3)
    market.sells("o1", 2)
    market.learns("o1", 5_000)
    for number in range(5):
        assert market.submit(f"job {number}").fault is None
    fault = market.refused("more", client)
    assert fault.code == "busy"
    runs_on(market, fault.retry_after_ms, 5_000)
    assert market.submit("again", client).fault is None


def test_nobody_is_refused_while_a_slot_is_free() -> None:
    market = Market()
    market.sells("o1", 2)
    market.learns("o1", 60_000)
    assert market.submit("short", deadline_ms=1_000).fault is None
    assert market.submit("as short", deadline_ms=1_000).fault is None
    assert market.refused("one too many", deadline_ms=1_000).code == "busy"


def test_nobody_is_refused_while_nothing_is_known() -> None:
    market = Market()
    market.sells("o1", 1)
    assert [market.submit(f"job {n}", deadline_ms=1).fault for n in range(5)] == [None] * 5


def test_what_is_known_of_small_jobs_says_nothing_of_large_ones() -> None:
    market = crowded(slots=1, run_ms=10_000, waiting=1)
    assert market.refused("small", deadline_ms=5_000).code == "busy"
    assert market.submit("large", deadline_ms=5_000, units=1_000).fault is None


def test_who_has_had_less_is_promised_more() -> None:
    market = crowded(slots=1, run_ms=1_000, waiting=20)
    assert market.refused("of anna", "anna", deadline_ms=6_000).code == "busy"
    assert market.submit("of ben", "ben", deadline_ms=6_000).fault is None


def test_a_region_in_which_nobody_sells_is_said_at_once() -> None:
    market = Market()
    market.sells("o1", 1, region="eu")
    fault = market.refused("far", region="us")
    assert fault.code == "no_capacity"
    assert "'us'" in fault.message
    assert "eu" in fault.message
    assert market.submit("near", region="eu").fault is None
