"""Rows that are old or many are laid together, and a statement says the same however it is asked for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shoal.gateway.limits import DAY_MS
from shoal.gateway.usage import BY, EARLIER, Usage, statement
from shoal.ids import ClientId, Digest, JobId, KeyId
from shoal.money.wei import Price, Wei
from shoal.units import Instant
from shoal.wire.words import JobSpec
from shoal.work.lifecycle import Job, Phase

ADA, BEN = ClientId("ada"), ClientId("ben")
TODAY = 20_000
JOB = Job(
    JobId("j"),
    ADA,
    JobSpec("llm", "m", 9),
    Digest(""),
    Price(1),
    Wei(50),
    Instant(0),
    Instant(0),
    api_key=KeyId("key_1"),
    phase=Phase.DONE,
    units=3,
)


def counted(days: int = 3, *, days_max: int = 10, rows_max: int = 100) -> Usage:
    usage = Usage(days_max=days_max, rows_max=rows_max)
    for day in range(TODAY - days + 1, TODAY + 1):
        now = Instant(day * DAY_MS)
        usage.count(JOB, 30, now)
        usage.count(replace(JOB, client=BEN, api_key=KeyId("")), 5, now)
        usage.count(replace(JOB, phase=Phase.FAILED, units=0), 0, now)
        usage.count(replace(JOB, phase=Phase.CANCELLED, units=1), 10, now)
    return usage


def test_a_job_counts_on_the_day_of_its_end() -> None:
    found = statement(counted(), [JOB], TODAY, by=BY, tenant=ADA, days=range(TODAY + 1))
    assert [entry.day for entry in found.entries] == [TODAY - 2, TODAY - 1, TODAY]
    last = found.entries[-1]
    assert (last.done, last.failed, last.cancelled, last.open) == (1, 1, 1, 1)
    assert (last.units, last.charged_wei, last.held_wei) == (4, 40, 50)
    assert (found.total.charged_wei, found.before_wei, found.after_wei) == (120, 0, 0)


@pytest.mark.parametrize("by", [(), ("key",), ("tenant",), ("day", "pipeline"), BY])
def test_however_it_is_told_apart_the_sums_are_the_same(by: tuple[str, ...]) -> None:
    found = statement(counted(), [JOB], TODAY, by=by, days=range(TODAY - 1, TODAY))
    assert sum(entry.charged_wei for entry in found.entries) == found.total.charged_wei == 45
    assert (found.before_wei, found.after_wei) == (45, 45)
    assert sum(entry.held_wei for entry in found.entries) == found.total.held_wei == 50


def test_old_days_are_laid_together_and_nothing_is_lost() -> None:
    usage = counted(30, days_max=5)
    days = {place[-1] for place in usage.rows}
    assert days == {EARLIER, *range(TODAY - 4, TODAY + 1)}
    assert usage.charged() == {ADA: 30 * 40, BEN: 30 * 5}


def test_too_many_rows_are_laid_together_and_nothing_is_lost() -> None:
    usage = counted(30, days_max=100, rows_max=8)
    assert len(usage.rows) <= 9
    assert usage.charged() == {ADA: 30 * 40, BEN: 30 * 5}
    again = Usage(days_max=100, rows_max=8)
    again.load(usage.dump())
    assert again.dump() == usage.dump()
