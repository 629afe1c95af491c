"""Patience: the earliest finish, against every other way of giving out the slots."""

from __future__ import annotations

from itertools import islice, product

import pytest

from shoal.ids import NodeId
from shoal.policy.patience import Finish, Slot, finishes, waits

GAIN_PPM = 100_000


def slot(name: str, free_in_ms: float, job_ms: float) -> Slot:
    return Slot(NodeId(name), free_in_ms, job_ms)


def test_a_quick_busy_slot_beats_a_slow_free_one() -> None:
    slots = [slot("slow", 0, 1_000), slot("quick", 50, 100)]
    assert next(finishes(slots)) == Finish(NodeId("quick"), 50, 150)


def test_the_queue_before_it_makes_a_job_take_the_slow_one() -> None:
    slots = [slot("slow", 0, 1_000), slot("quick", 0, 100)]
    ends = [finish.node for finish in islice(finishes(slots), 12)]
    assert ends.count(NodeId("slow")) == 1
    assert ends[9:11] == [NodeId("quick"), NodeId("slow")] or ends[9:11] == [NodeId("slow"), NodeId("quick")]


def test_alike_slots_are_all_used() -> None:
    slots = [slot(name, 0, 100) for name in "abcd"]
    assert {finish.start_ms for finish in islice(finishes(slots), 4)} == {0}
    assert {finish.start_ms for finish in islice(finishes(slots), 4, 8)} == {100}


def test_without_slots_nothing_ends() -> None:
    assert list(finishes([])) == []


@pytest.mark.parametrize("jobs", [1, 2, 3, 4])
def test_no_other_way_ends_the_last_of_alike_jobs_sooner(jobs: int) -> None:
    slots = [slot("a", 0, 700), slot("b", 120, 200), slot("c", 300, 150)]

    def last(plan: tuple[int, ...]) -> float:
        free = [one.free_in_ms for one in slots]
        for place in plan:
            free[place] += slots[place].job_ms
        return max(free[place] for place in plan)

    best = min(last(plan) for plan in product(range(3), repeat=jobs))
    assert max(finish.end_ms for finish in islice(finishes(slots), jobs)) == best


def test_it_waits_only_for_a_gain_that_is_worth_a_guess() -> None:
    best = Finish(NodeId("quick"), 50, 150)
    assert waits(1_000, best, GAIN_PPM)
    assert not waits(160, best, GAIN_PPM)
    assert waits(160, best, 0)
    assert not waits(1_000, Finish(NodeId("free"), 0, 150), GAIN_PPM)
