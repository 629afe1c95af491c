"""Limits hold to the job and to the wei, and whoever may wait is told how long."""

from __future__ import annotations

import msgspec
import pytest

from shoal.errors import Broken, RateLimited, SpendLimit
from shoal.gateway.limits import DAY_MS, UNLIMITED, Bucket, Limits, Meter, read
from shoal.money.wei import Wei
from shoal.units import MINUTE_MS, Instant

#: The beginning of a day.
NOW = Instant(20_000 * DAY_MS)


def at(ms: int) -> Instant:
    return Instant(NOW + ms)


def test_a_full_bucket_is_passed_at_once_and_then_at_its_rate() -> None:
    bucket = Bucket(MINUTE_MS)
    for _ in range(3):
        assert bucket.wait_ms(3, NOW) == 0
        bucket.pour(3, NOW)
    assert bucket.wait_ms(3, NOW) == 20_000
    assert bucket.wait_ms(3, at(19_999)) == 1
    assert bucket.wait_ms(3, at(20_000)) == 0


def test_a_bucket_counts_without_rounding() -> None:
    bucket = Bucket(MINUTE_MS)
    passed = 0
    for ms in range(10 * MINUTE_MS):
        if not bucket.wait_ms(7, at(ms)):
            bucket.pour(7, at(ms))
            passed += 1
    assert passed == 7 + 7 * 10 - 1  # the burst, and one every 60/7 s; the last one is due just after


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    bucket = Bucket(MINUTE_MS)
    bucket.pour(1, at(1_000))
    assert bucket.wait_ms(1, NOW) == MINUTE_MS


@pytest.mark.parametrize("window", ["jobs_per_minute", "jobs_per_day"])
def test_a_job_too_many_is_told_when_to_come(window: str) -> None:
    meter = Meter(msgspec.convert({window: 2}, Limits))
    for _ in range(2):
        meter.require_pace("you", NOW)
        meter.open(Wei(1), NOW)
    with pytest.raises(RateLimited, match="2 jobs a") as raised:
        meter.require_pace("you", NOW)
    meter.require_pace("you", at(raised.value.retry_after_ms))
    with pytest.raises(RateLimited):
        meter.require_pace("you", at(raised.value.retry_after_ms - 1))


@pytest.mark.parametrize(
    ("limits", "spent", "held", "hold", "wait_ms"),
    [
        (Limits(wei_per_minute=10), 0, 0, 10, None),
        (Limits(wei_per_minute=10), 0, 0, 11, 0),  # no waiting makes a job cheaper
        (Limits(wei_per_minute=10), 4, 0, 7, 60_000),
        (Limits(wei_per_minute=10), 0, 4, 7, 1_000),  # what is held may be free at any moment
        (Limits(wei_per_minute=10), 4, 3, 3, None),
        (Limits(wei_per_day=10), 4, 0, 7, DAY_MS),
        (Limits(wei_in_all=10), 4, 0, 6, None),
        (Limits(wei_in_all=10), 4, 0, 7, 0),
        (Limits(wei_in_all=10), 4, 2, 6, 1_000),
        (Limits(wei_in_all=0), 0, 0, 0, None),
        (Limits(wei_in_all=0), 0, 0, 1, 0),
    ],
)
def test_what_is_spent_and_held_and_asked_stays_within(
    limits: Limits, spent: int, held: int, hold: int, wait_ms: int | None
) -> None:
    meter = Meter(limits)
    meter.open(Wei(spent), NOW)
    meter.close(Wei(spent), spent, NOW)
    meter.open(Wei(held), NOW)
    if wait_ms is None:
        meter.require_money("you", Wei(hold), NOW)
        return
    with pytest.raises(SpendLimit, match=f"{spent} are spent, {held} are held") as raised:
        meter.require_money("you", Wei(hold), NOW)
    assert raised.value.retry_after_ms == wait_ms


def test_minutes_and_days_begin_anew_and_all_never_does() -> None:
    meter = Meter(Limits(wei_per_minute=10, wei_per_day=15, wei_in_all=20))
    meter.open(Wei(10), NOW)
    meter.close(Wei(10), 10, NOW)
    with pytest.raises(SpendLimit, match="10 wei a minute"):
        meter.require_money("you", Wei(5), at(MINUTE_MS - 1))
    meter.require_money("you", Wei(5), at(MINUTE_MS))
    with pytest.raises(SpendLimit, match="15 wei a day"):
        meter.require_money("you", Wei(6), at(MINUTE_MS))
    meter.require_money("you", Wei(10), at(DAY_MS))
    with pytest.raises(SpendLimit, match="20 wei in all"):
        meter.require_money("you", Wei(11), at(DAY_MS))


def test_limits_are_written_and_read_whole_also_beyond_64_bits() -> None:
    for limits in (UNLIMITED, Limits(jobs_per_minute=1, wei_per_day=0, wei_in_all=10**30)):
        assert read(limits.written()) == limits
    assert read(()) == UNLIMITED


def test_two_limits_together_allow_the_less_of_each() -> None:
    one, two = Limits(jobs_per_day=5, wei_per_day=1), Limits(jobs_per_day=7, wei_in_all=3)
    assert one.within(two) == two.within(one) == Limits(jobs_per_day=5, wei_per_day=1, wei_in_all=3)


def test_a_meter_outlasts_a_snapshot_and_notices_what_does_not_add_up() -> None:
    meter = Meter(Limits(jobs_per_minute=2))
    meter.open(Wei(2**70), NOW)
    meter.close(Wei(2**70), 2**69, NOW)
    again = Meter(meter.limits)
    again.load(meter.dump("x"))
    assert again.dump("x") == meter.dump("x")
    again.check("x")
    again.day_wei += 2**69 + 1
    with pytest.raises(Broken, match="does not add up"):
        again.check("x")
