"""Breakers and the retry budget: a node that fails is left alone, and retries stay a small part of all attempts."""

from __future__ import annotations

from random import Random

from hypothesis import Phase as When
from hypothesis import given, settings
from hypothesis import strategies as st

from market import Market
from shoal.ids import NodeId
from shoal.policy.breaker import Limits, Phase
from shoal.work.lifecycle import Phase as JobPhase

OPEN_MS = 2_000


def failing(failures: int = 3) -> Market:
    """A market whose only node has failed so often in a row, and one job that still wants it."""
    market = Market(
        attempts_max=100, retry_burst=100, breaker=Limits(failures_max=3, open_ms=OPEN_MS, open_ms_max=60_000)
    )
    market.sells("o1", 4)
    market.submit("job")
    for _ in range(failures):
        market.fails("job")
    return market


def breaker(market: Market) -> Phase:
    return market.machine.sellers.standings[NodeId("o1")].stocks[market.need].breaker.phase


def test_after_three_failures_a_node_is_left_alone_and_then_gets_one_job() -> None:
    market = failing(2)
    assert market.at("job") == "o1"
    market.fails("job")
    assert (market.at("job"), breaker(market)) == ("", Phase.OPEN)
    market.submit("other")
    market.after(OPEN_MS - 250)
    assert (market.at("job"), market.at("other")) == ("", "")
    market.after(250)
    assert (market.at("job"), market.at("other"), breaker(market)) == ("o1", "", Phase.TRYING)


def test_a_trial_that_succeeds_opens_all_slots_again() -> None:
    market = failing()
    market.submit("second")
    market.submit("third")
    market.after(OPEN_MS)
    market.answers("job")
    assert breaker(market) is Phase.CLOSED
    assert (market.at("second"), market.at("third")) == ("o1", "o1")


def test_a_trial_that_fails_makes_the_pause_twice_as_long() -> None:
    market = failing()
    market.after(OPEN_MS)
    market.fails("job")
    market.after(2 * OPEN_MS - 250)
    assert (market.at("job"), breaker(market)) == ("", Phase.OPEN)
    market.after(250)
    assert market.at("job") == "o1"


def test_a_trial_that_its_client_cancels_leaves_the_node_to_the_next() -> None:
    market = failing()
    market.submit("second")
    market.after(OPEN_MS)
    assert (market.at("job"), market.at("second")) == ("o1", "")
    market.cancel("job")
    market.after(250)
    assert market.at("second") == "o1"


def test_a_trial_that_finds_the_node_busy_is_no_failure() -> None:
    market = failing()
    market.after(OPEN_MS)
    market.fails("job", "busy")
    market.after(2 * market.rules.busy_pause_ms)
    assert market.at("job") == "o1"


def test_one_need_of_a_node_may_fail_while_another_works() -> None:
    market = failing()
    market.need = ("llm", "other")
    market.sells("o2", 1)
    market.machine.sellers.quote(NodeId("o1"), (), "", market.now)
    market.sells("o1", 1)
    market.leaves("o2")
    market.submit("chat")
    assert market.at("chat") == "o1"


# The budget


@settings(max_examples=10, phases=(When.explicit, When.generate))
@given(seed=st.integers(0, 2**32), burst=st.integers(0, 20))
def test_while_others_wait_retries_are_a_tenth_of_first_attempts_and_what_was_saved(
    seed: int, burst: int
) -> None:
    luck = Random(seed)
    market = Market(
        retry_burst=burst,
        retry_share_ppm=100_000,
        attempts_max=50,
        tries_max=50,
        breaker=Limits(failures_max=1_000_000),
        queue_jobs_per_client_max=1_000,
    )
    for number in range(4):
        market.sells(f"o{number}", 4)
    jobs = [f"job {number}" for number in range(600)]
    for number, job in enumerate(jobs):
        market.submit(job, hedge=luck.random() < 0.2)
        if number % 3 == 0 and number > 100:  # a third of those who come can be served
            lease = luck.choice(list(market.machine.leases))
            market.answers(lease.task) if luck.random() < 0.5 else market.fails(lease.task)
            market.after(250)
    tries = [len(market.job(job).attempts) for job in jobs]
    firsts = sum(count > 0 for count in tries)
    retries = sum(tries) - firsts
    assert firsts > 100
    assert 0.05 * firsts < retries <= 0.1 * firsts + burst


def crowd(market: Market, first: int, count: int) -> None:
    """So many first attempts are made and end well, while others wait."""
    for number in range(first, first + count):
        market.submit(f"job {number}")
        market.answers(f"job {number - 2}")
        market.after(1_000)


def poor() -> Market:
    """A gateway that has nothing for retries, a job whose attempt failed, and others that always wait."""
    market = Market(retry_burst=0, retry_share_ppm=100_000)
    market.sells("o1", 1)
    market.submit("poor", "ben", deadline_ms=60_000)
    for number in range(2):
        market.submit(f"job {number}")
    market.fails("poor")
    assert (market.at("poor"), market.at("job 0")) == ("", "o1")
    return market


def test_a_retry_that_cannot_be_afforded_waits_until_enough_first_attempts_were_made() -> None:
    market = poor()
    crowd(market, 2, 6)
    assert market.job("poor").phase is JobPhase.QUEUED
    crowd(market, 8, 3)
    assert market.at("poor") == "o1"


def test_who_waits_for_its_retry_is_not_given_up_before_its_deadline() -> None:
    market = poor()
    for _ in range(59):
        market.after(1_000)
        assert market.job("poor").phase is JobPhase.QUEUED
    market.after(1_000)
    fault = market.job("poor").fault
    assert fault is not None
    assert fault.code == "expired"


def test_a_slot_that_nobody_else_wants_is_there_for_any_retry() -> None:
    """Else the last jobs of a day would wait for the next day's traffic to pay for them."""
    market = Market(retry_burst=0)
    market.sells("o1", 1)
    market.sells("o2", 1)
    market.submit("job")
    market.fails("job", "lost")
    assert (market.job("job").epoch, market.at("job") != "") == (2, True)
