"""Late binding: a job waits until a slot is free that is worth taking, and goes in its turn."""

from __future__ import annotations

import pytest

from market import GARBLED, TORN, Market, uneven
from shoal.ids import NodeId
from shoal.policy.selection import POLICIES
from shoal.wire import words
from shoal.work.lifecycle import Phase

PATIENT = [name for name, policy in POLICIES.items() if policy.patience_ppm]
HASTY = [name for name, policy in POLICIES.items() if not policy.patience_ppm]


@pytest.mark.parametrize("policy", PATIENT)
def test_a_job_waits_for_the_quick_node_that_is_busy(policy: str) -> None:
    market = uneven()
    market.submit("second", policy=policy)
    assert market.at("second") == ""
    market.after(1_000)
    market.answers("first", run_ms=1_000)
    assert market.at("second") == "quick"


@pytest.mark.parametrize("policy", HASTY)
def test_a_policy_without_patience_takes_what_is_free(policy: str) -> None:
    market = uneven()
    market.submit("second", policy=policy)
    assert market.at("second") == "slow"


def test_the_slow_node_is_taken_by_the_first_job_that_ends_sooner_there() -> None:
    """Each of those before it counts on the quick node: nine of them would take it nine seconds."""
    market = uneven()
    for number in range(12):
        market.submit(f"job {number}", f"client {number}")
    assert market.at("job 0") == ""
    (taken,) = [number for number in range(12) if market.at(f"job {number}") == "slow"]
    assert 7 <= taken <= 9


def test_a_quick_node_that_is_over_its_time_is_not_waited_for_for_ever() -> None:
    market = uneven()
    market.submit("second")
    market.leaves("quick")
    market.after(market.rules.tick_ms)
    assert market.at("second") == "slow"


def test_slots_go_to_classes_and_weights_in_their_order() -> None:
    market = Market()
    market.sells("o1", 1)
    market.submit("running")
    market.submit("low", "a", priority="low", units=4)
    market.submit("normal", "b", units=4)
    market.submit("high", "c", priority="high", units=4)
    market.submit("heavy", "d", weight=2, units=4)
    order = []
    job = "running"
    for _ in range(4):
        market.answers(job)
        (lease,) = market.machine.leases
        order.append(job := lease.task)
    assert order == ["high", "heavy", "normal", "low"]


def test_a_job_goes_only_where_it_has_not_failed_while_anybody_else_sells_it() -> None:
    market = Market(attempts_max=9, retry_burst=9)
    for name in ("o1", "o2", "o3"):
        market.sells(name, 2)
    market.submit("job")
    for _ in range(3):
        market.fails("job")
    tried = [attempt.orchestrator for attempt in market.job("job").attempts]
    assert sorted(tried[:3]) == ["o1", "o2", "o3"]
    assert len(tried) == 4  # everybody has failed it: now anybody may have it again


def test_a_job_waits_for_whoever_has_not_failed_it_though_the_other_is_free() -> None:
    market = Market()
    market.sells("o1", 1)
    market.submit("job")
    market.sells("o2", 1, taken=1)
    market.fails("job")
    market.after(5_000)
    assert market.at("job") == ""
    market.sells("o2", 1)
    assert market.at("job") == "o2"


# An orchestrator that turns orders away


def test_who_is_busy_is_given_no_more_than_it_held_and_from_time_to_time_one() -> None:
    market = Market(busy_pause_ms=1_000)
    market.sells("o1", 4)
    market.submit("one")
    market.submit("two")
    market.fails("two", "busy")
    assert (market.at("one"), market.at("two")) == ("o1", "")
    market.submit("three", "ben")
    assert market.at("three") == ""
    market.after(1_000)
    assert sorted((market.at("two"), market.at("three"))) == ["", "o1"]
    market.after(1_000)
    assert (market.at("two"), market.at("three")) == ("o1", "o1")


def test_what_was_learned_of_a_busy_one_is_forgotten_when_it_speaks() -> None:
    market = Market(busy_pause_ms=60_000)
    market.sells("o1", 4)
    market.submit("one")
    market.fails("one", "busy")
    market.after(2_000)
    assert market.at("one") == ""
    market.sells("o1", 4)
    assert market.at("one") == "o1"


def test_a_busy_answer_is_no_failure_however_often_it_comes() -> None:
    market = Market(busy_pause_ms=100, retry_burst=100, attempts_max=2)
    market.sells("o1", 1)
    market.submit("job")
    for _ in range(8):
        market.fails("job", "busy")
        market.after(200, tick_ms=50)
    assert (market.job("job").failures, market.at("job")) == (0, "o1")
    assert not market.machine.sellers.standings[NodeId("o1")].stocks[market.need].breaker.on_trial


# Answers that are none


@pytest.mark.parametrize("body", [TORN, GARBLED], ids=["a file that did not come", "no JSON"])
def test_an_answer_in_pieces_is_not_paid_and_the_job_is_tried_elsewhere(body: bytes) -> None:
    market = Market(pipeline="text-to-image")
    market.sells("o1", 1)
    market.submit("job")
    market.sells("o2", 1)
    out = market.answers("job", body=body)
    assert market.told(out, words.Cancel) == ["o1"]
    assert not market.told(out, words.Accept)
    assert market.at("job") == "o2"
    assert market.job("job").failures == 1
    market.answers("job")
    assert market.job("job").phase is Phase.DONE
    assert market.machine.ledger.balances == {"client:anna": -1, "orchestrator:o2": 1, "fees": 0}


def test_text_that_is_no_json_is_not_paid_either() -> None:
    market = Market()
    market.sells("o1", 1)
    market.submit("job")
    market.answers("job", body=GARBLED)
    assert market.job("job").failures == 1
    assert not any(market.machine.ledger.balances.values())


# The retries of a job


def test_attempts_lost_with_their_node_do_not_count_but_tries_have_an_end() -> None:
    market = Market(attempts_max=2, tries_max=5, retry_burst=50)
    market.sells("o1", 1)
    market.submit("job", deadline_ms=3_000_000)
    for tries in range(1, 6):
        assert (len(market.job("job").attempts), market.job("job").failures) == (tries, 0)
        market.fails("job", "lost")
        while market.job("job").phase is Phase.QUEUED and not market.at("job"):
            market.after(1_000)
    assert market.job("job").phase is Phase.FAILED
    assert len(market.job("job").attempts) == 5
