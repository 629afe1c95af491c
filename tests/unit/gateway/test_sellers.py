"""What is known of sellers is bounded, and time changes it in steps."""

from __future__ import annotations

from market import START, Market
from shoal.gateway.placement import FRONT, PART
from shoal.gateway.sellers import STOCKS_MAX
from shoal.ids import NodeId
from shoal.money.wei import Price
from shoal.policy.breaker import Limits
from shoal.units import HOUR_MS, later
from shoal.wire.words import Quote


def test_what_a_node_once_sold_is_not_remembered_without_end() -> None:
    market = Market()
    market.sells("o1", 1)
    market.submit("before")
    market.answers("before", run_ms=10)
    sellers = market.machine.sellers
    for number in range(3 * STOCKS_MAX):
        need = ("echo", f"model {number}")
        sellers.quote(NodeId("o1"), (Quote(*need, 1, 0, Price(1)),), "", later(START, number))
        assert sellers.any_free(need)
    assert len(sellers.standings[NodeId("o1")].stocks) == STOCKS_MAX
    assert market.need not in sellers.standings[NodeId("o1")].stocks
    assert sum(sellers.any_free(("echo", f"model {number}")) for number in range(3 * STOCKS_MAX)) == 1
    market.sells("o1", 1)
    market.submit("after")
    assert market.at("after") == "o1"
    assert market.why("before")["attempts"][0]["chosen"] == "o1"


def test_what_was_learned_of_one_that_still_sells_is_kept() -> None:
    market = Market()
    market.sells("o1", 1)
    sellers = market.machine.sellers
    quotes = tuple(Quote("echo", f"model {number}", 1, 0, Price(1)) for number in range(2 * STOCKS_MAX))
    sellers.quote(NodeId("o1"), quotes, "", START)
    assert len(sellers.standings[NodeId("o1")].stocks) == 2 * STOCKS_MAX


def test_a_node_that_was_left_alone_long_ago_is_there_for_a_short_job() -> None:
    """While nothing is open nobody looks at the clock; a job that comes then must not be told of old times."""
    market = Market(breaker=Limits(failures_max=1))
    market.sells("o1", 1)
    market.learns("o1", 60_000)
    market.submit("job", deadline_ms=90_000)
    market.fails("job")
    market.cancel("job")
    market.now = later(market.now, HOUR_MS)
    assert market.submit("short", deadline_ms=70_000).fault is None
    assert market.at("short") == "o1"


def test_an_old_failure_does_not_fill_the_views() -> None:
    market = Market()
    market.sells("o1", 1)
    market.sells("o2", 1)
    market.submit("job")
    market.fails("job")
    version = market.machine.sellers.views.version
    market.after(60_000)
    market.machine.sellers.pool(market.need, 0)
    assert market.machine.sellers.views.version - version < 10


def test_a_job_far_behind_those_that_no_slot_fits_has_its_turn() -> None:
    market = Market(queue_jobs_max=10_000, queue_jobs_per_client_max=10_000)
    market.sells("o1", 1, price=5)
    market.sells("o2", 1, price=1, taken=1)
    for number in range(FRONT + 2 * PART):
        market.machine.handle(market.submission(f"job {number}", limit=4), market.now)
    market.submit("rich", limit=9, units=100_000)
    assert market.machine.position(market.job("rich").id) == FRONT + 2 * PART
    market.after(4 * market.rules.tick_ms)
    assert market.at("rich") == "o1"
