"""Each rival fails, or does not, as it is described: on loads that one can follow by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from shoal.sim.load.livepeer import TRY_MS, Early, Present
from unit.sim.load.loads import arrival, broken, fate, operator

TWO = (operator("o0"), operator("o1"))
#: Two that fill both slots for a minute, and a third one.
THREE = (arrival(0, 60_000), arrival(100, 60_000), arrival(5_000, 10_000))


def test_early_livepeer_asks_everybody_four_times_and_gives_up() -> None:
    third = fate("livepeer-early", TWO, THREE)[2]
    assert (third.done, third.code) == (False, "no_capacity")
    assert third.attempts == third.turned_away == Early.CYCLES * 2
    assert third.total_ms < 8 * (TRY_MS + 100)


@pytest.mark.parametrize("policy", ["livepeer-stake", "livepeer-latency"])
def test_present_livepeer_asks_those_in_use_and_gives_up(policy: str) -> None:
    third = fate(policy, TWO, THREE)[2]
    assert (third.done, third.code) == (False, "no_capacity")
    assert 1 <= third.attempts == third.turned_away <= Present.TRIES
    assert third.total_ms <= Present.TRY_FOR_MS + 1_000


@pytest.mark.parametrize("policy", ["balanced", "bound-round-robin"])
def test_with_a_queue_the_third_job_waits(policy: str) -> None:
    third = fate(policy, TWO, THREE)[2]
    assert third.in_time
    assert third.attempts == 1
    assert third.queue_ms == pytest.approx(55_000, abs=500)


def test_early_livepeer_chooses_the_quickest_again_though_it_is_busy() -> None:
    ended = fate(
        "livepeer-early",
        (operator("o0"), operator("o1", speed=2.0)),
        (
            *(arrival(at_ms, 1_000) for at_ms in (0, 5_000, 10_000)),
            arrival(20_000, 60_000),
            arrival(21_000, 1_000),
        ),
    )
    assert ended[3].orchestrator == ended[2].orchestrator
    assert ended[4].turned_away >= 1


@pytest.mark.parametrize(
    ("policy", "in_time"),
    [("livepeer-stake", False), ("livepeer-latency", False), ("balanced", True), ("bound-random", True)],
)
def test_present_livepeer_does_not_try_again_what_broke_after_two_seconds(policy: str, in_time: bool) -> None:
    both = tuple(operator(f"o{n}", slots=2, troubles=broken("crash", 5_000, 10_000)) for n in range(2))
    ended = fate(policy, (*both, operator("o2", slots=9)), tuple(arrival(n, 20_000) for n in range(5)))
    hit = [job for job in ended if job.failed]
    assert hit, "nobody was on the two that died"
    assert all(job.in_time is in_time for job in hit)


def test_early_livepeer_tries_another_when_one_breaks() -> None:
    flaky = operator("o0", troubles=broken("fail", at_ms=-1))
    (ended,) = fate("livepeer-early", (flaky, operator("o1")), (arrival(0, 5_000),))
    assert ended.in_time
    assert ended.orchestrator == "o1"


def test_stake_takes_its_share_whatever_the_speed() -> None:
    whale, *others = (
        operator("o0", slots=50, speed=0.2, stake=10**9),
        *(operator(f"o{n}", stake=1) for n in range(1, 4)),
    )
    ended = fate(
        "livepeer-stake",
        (whale, *others),
        tuple(arrival(10_000 * n, 1_000) for n in range(200)),
    )
    count = Counter(job.orchestrator for job in ended)["o0"]
    assert count / 200 == pytest.approx(0.7 + 0.3 / 4, abs=0.08)


def test_a_bound_job_waits_behind_its_own_node_though_another_is_idle() -> None:
    ended = fate("bound-round-robin", TWO, (arrival(0, 60_000), arrival(1_000, 1_000), arrival(5_000, 1_000)))
    assert ended[2].queue_ms > 50_000
    assert (
        fate("balanced", TWO, (arrival(0, 60_000), arrival(1_000, 1_000), arrival(5_000, 1_000)))[2].queue_ms
        < 500
    )


@pytest.mark.parametrize(
    "policy", ["balanced", "bound-random", "livepeer-early", "livepeer-stake", "livepeer-latency"]
)
def test_a_client_leaves_at_its_deadline(policy: str) -> None:
    silent = operator("o0", troubles=broken("hang", at_ms=-1))
    (ended,) = fate(policy, (silent,), (arrival(0, 1_000, deadline_ms=30_000),))
    assert (ended.done, ended.code) == (False, "expired")
    assert ended.total_ms == pytest.approx(30_000, abs=600)


def test_nobody_to_sell_is_told_at_once() -> None:
    for policy in ("balanced", "bound-random", "livepeer-early", "livepeer-stake"):
        (ended,) = fate(policy, (), (arrival(0, 1_000),))
        assert not ended.done
        assert ended.total_ms < 10_000
