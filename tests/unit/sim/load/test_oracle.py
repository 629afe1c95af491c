"""The oracle against every subset of small loads, and against loads that one can follow by hand."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from shoal.sim.load.oracle import best, bound, plan
from shoal.sim.load.trace import Arrival, Fleet, Taken
from unit.sim.load.loads import NEED, arrival, broken, operator, trace


def fits(jobs: tuple[Arrival, ...], speed: float) -> bool:
    """True if one server of this speed ends all of them in time: in order, which is best for such jobs."""
    free = 0.0
    for job in jobs:
        free = max(free, job.at_ms) + job.work_ms / speed
        if free > job.at_ms + job.deadline_ms + 1e-6:
            return False
    return True


@pytest.mark.parametrize("seed", range(60))
def test_the_bound_is_what_the_best_subset_comes_to(seed: int) -> None:
    rng = Random(seed)
    slots = rng.randint(1, 3)
    jobs = tuple(
        arrival(at_ms, rng.randint(1, 60), deadline_ms=80)
        for at_ms in sorted(rng.randrange(150) for _ in range(9))
    )
    fleet = Fleet(orchestrators=(operator("o", slots=slots),))
    able = [job for job in jobs if job.work_ms <= job.deadline_ms]
    most = max(
        count
        for count in range(len(able) + 1)
        if any(fits(chosen, slots) for chosen in combinations(able, count))
    )
    assert len(bound(jobs, fleet, NEED)) == most
    assert plan(jobs, fleet, NEED) <= most
    if slots == 1:
        assert plan(bound(jobs, fleet, NEED), fleet, NEED) == most


def test_both_answers_agree_where_there_is_enough() -> None:
    found = best(trace((operator("o0"), operator("o1")), tuple(arrival(n * 100, 150) for n in range(50))))
    assert (found.jobs, found.most, found.planned, found.in_turn) == (50, 50, 50, 50)
    assert found.most_share == found.planned_share == found.in_turn_share == 1.0


def test_what_nobody_can_do_is_not_counted() -> None:
    jobs = (arrival(0, 1_000, deadline_ms=500), arrival(0, 400, deadline_ms=500))
    assert best(trace((operator("o"),), jobs)).most == 1
    assert best(trace((), jobs)).most == 0


def test_an_oracle_leaves_out_the_long_job_and_one_that_serves_in_turn_cannot() -> None:
    jobs = (arrival(0, 900, deadline_ms=1_000), *(arrival(n, 300, deadline_ms=1_000) for n in (1, 2, 3)))
    found = best(trace((operator("o"),), jobs))
    assert (found.most, found.planned, found.in_turn) == (3, 3, 1)


@pytest.mark.parametrize(("kind", "most"), [("crash", 2), ("hang", 2), ("fail", 2), ("mute", 4), ("slow", 4)])
def test_time_in_which_a_node_can_do_nothing_is_lost(kind: str, most: int) -> None:
    # Ten jobs of 100 ms, all due after 400 ms; for half of that time the node is in trouble.
    node = operator("o", troubles=broken(kind, 200, 200))
    jobs = tuple(arrival(0, 100, deadline_ms=400) for _ in range(10))
    found = best(trace((node,), jobs))
    assert found.most == most
    assert found.planned <= found.most


def test_slots_of_others_are_lost_once_what_ran_over_has_ended() -> None:
    taken = Taken(at_ms=-10, for_ms=210, pipeline=NEED[0], model=NEED[1])
    jobs = tuple(arrival(0, 100, deadline_ms=400) for _ in range(10))
    assert best(trace((operator("o", taken=(taken,)),), jobs)).most == 2
    later = Taken(at_ms=200, for_ms=200, pipeline=NEED[0], model=NEED[1])
    assert best(trace((operator("o", taken=(later,)),), jobs)).most == 3


def test_quicker_nodes_can_do_more() -> None:
    jobs = tuple(arrival(0, 100, deadline_ms=200) for _ in range(20))
    found = best(trace((operator("o0"), operator("o1", speed=4.0)), jobs))
    assert (found.most, found.planned) == (10, 10)
