"""What one account may ask for and spend: so much a minute, so much a day, so much in all. Pure.

Jobs pass through token buckets. Money is counted by the clock's own minutes and days (UTC), together with what open
jobs may still cost: however many run at once, no minute and no day is charged more than its limit.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from shoal.errors import Broken, RateLimited, SpendLimit
from shoal.machine import Value
from shoal.money.wei import Wei
from shoal.units import HOUR_MS, MINUTE_MS, SECOND_MS, Instant

DAY_MS = 24 * HOUR_MS

Jobs = Annotated[int, Meta(ge=1, le=10**9)]
#: No more wei than that there can ever be: what an EVM holds in a word.
Amount = Annotated[int, Meta(ge=0)]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most of everything; what is None has no limit here."""

    jobs_per_minute: Jobs | None = None
    jobs_per_day: Jobs | None = None
    wei_per_minute: Amount | None = None
    wei_per_day: Amount | None = None
    wei_in_all: Amount | None = None

    def written(self) -> tuple[str, ...]:
        """For a fact: decimal, for amounts outgrow the 64 bits of an encoder; "" for no limit."""
        return tuple("" if (most := getattr(self, name)) is None else str(most) for name in LIMITS)

    def within(self, other: Limits) -> Limits:
        """These limits, and wherever `other` allows less, that."""
        return Limits(**{name: _less(getattr(self, name), getattr(other, name)) for name in LIMITS})


LIMITS: tuple[str, ...] = Limits.__struct_fields__
UNLIMITED = Limits()


def read(written: tuple[str, ...]) -> Limits:
    """Limits out of a fact."""
    return Limits(**{name: int(text) for name, text in zip(LIMITS, written, strict=False) if text})


def _less(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


class Bucket:
    """A leaky bucket of whole numbers: each job pours `window_ms` in, and `jobs` leak out in a millisecond.

    So a full bucket lets `jobs` pass at once, and `jobs` in each window after that.
    """

    __slots__ = ("at", "level", "window_ms")

    def __init__(self, window_ms: int) -> None:
        self.window_ms = window_ms
        self.level = 0
        self.at = Instant(0)

    def wait_ms(self, jobs: int, now: Instant) -> int:
        """How long the next job has to wait, 0 if there is room for it now."""
        over = self._left(jobs, now) + self.window_ms - jobs * self.window_ms
        return -(-over // jobs) if over > 0 else 0

    def pour(self, jobs: int, now: Instant) -> None:
        """One job goes through."""
        self.level = self._left(jobs, now) + self.window_ms
        self.at = now

    def _left(self, jobs: int, now: Instant) -> int:
        return max(0, self.level - jobs * max(0, now - self.at))


class Reading(Value, frozen=True, array_like=True):
    """A meter in a snapshot. Amounts are decimal."""

    name: str
    total: str
    minute: int
    minute_wei: str
    day: int
    day_wei: str
    #: What is in the buckets, and since when.
    levels: tuple[int, int, int, int] = (0, 0, 0, 0)


class Meter:
    """What one account has done and spent, and what its open jobs hold."""

    __slots__ = (
        "day",
        "day_wei",
        "held",
        "jobs_a_day",
        "jobs_a_minute",
        "limited",
        "limits",
        "minute",
        "minute_wei",
        "paced",
        "total",
    )

    def __init__(self, limits: Limits = UNLIMITED) -> None:
        #: What open jobs may cost at most.
        self.held = 0
        #: What was charged ever, and in the minute and the day in which something was charged last.
        self.total = 0
        self.minute = self.minute_wei = 0
        self.day = self.day_wei = 0
        self.jobs_a_minute = Bucket(MINUTE_MS)
        self.jobs_a_day = Bucket(DAY_MS)
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """From now on these hold."""
        self.limits = limits
        self.limited = limits != UNLIMITED
        self.paced = limits.jobs_per_minute is not None or limits.jobs_per_day is not None

    def require_pace(self, who: str, now: Instant) -> None:
        """Raise `RateLimited` if one more job were too many, with how long to wait."""
        limits = self.limits
        for bucket, jobs, window in (
            (self.jobs_a_day, limits.jobs_per_day, "day"),
            (self.jobs_a_minute, limits.jobs_per_minute, "minute"),
        ):
            if jobs is not None and (wait_ms := bucket.wait_ms(jobs, now)):
                raise RateLimited(
                    f"{who} may send {jobs} jobs a {window}, and has; wait {-(-wait_ms // SECOND_MS)} s",
                    retry_after_ms=wait_ms,
                )

    def require_money(self, who: str, hold: Wei, now: Instant) -> None:
        """Raise `SpendLimit` if what is charged could pass a limit, with how long to wait if that helps."""
        limits, open_ = self.limits, self.held + hold
        minute, day = now // MINUTE_MS, now // DAY_MS
        in_minute = self.minute_wei if self.minute == minute else 0
        in_day = self.day_wei if self.day == day else 0
        if (most := limits.wei_in_all) is not None and self.total + open_ > most:
            wait_ms = 0 if self.total + hold > most else SECOND_MS
            raise SpendLimit(self._said(who, most, "in all", self.total, hold), retry_after_ms=wait_ms)
        for most, spent, window, ends in (
            (limits.wei_per_day, in_day, "a day", (day + 1) * DAY_MS),
            (limits.wei_per_minute, in_minute, "a minute", (minute + 1) * MINUTE_MS),
        ):
            if most is not None and spent + open_ > most:
                # Held money may be free any moment; what is spent only counts for nothing in the next window.
                wait_ms = 0 if hold > most else SECOND_MS if spent + hold <= most else ends - now
                raise SpendLimit(self._said(who, most, window, spent, hold), retry_after_ms=wait_ms)

    def _said(self, who: str, most: int, window: str, spent: int, hold: Wei) -> str:
        return (
            f"{who} may spend {most} wei {window}: {spent} are spent, {self.held} are held for open jobs, "
            f"and this one may cost {hold}"
        )

    def open(self, hold: Wei, now: Instant) -> None:
        """A job was accepted."""
        self.held += hold
        if self.paced:
            if (jobs := self.limits.jobs_per_minute) is not None:
                self.jobs_a_minute.pour(jobs, now)
            if (jobs := self.limits.jobs_per_day) is not None:
                self.jobs_a_day.pour(jobs, now)

    def close(self, hold: Wei, charged: int, now: Instant) -> None:
        """A job has ended, and so much of its hold was charged."""
        self.held -= hold
        if charged:
            self.total += charged
            if now // MINUTE_MS == self.minute:
                self.minute_wei += charged
                self.day_wei += charged
            else:
                self._turn(charged, now)

    def _turn(self, charged: int, now: Instant) -> None:
        self.minute, self.minute_wei = now // MINUTE_MS, charged
        day = now // DAY_MS
        self.day_wei = self.day_wei + charged if day == self.day else charged
        self.day = day

    def check(self, name: str) -> None:
        """Raise `Broken` unless minute, day and all are parts of each other."""
        if self.held < 0 or not 0 <= self.minute_wei <= self.day_wei <= self.total:
            raise Broken(f"the meter of {name} does not add up")

    def dump(self, name: str) -> Reading:
        """For a snapshot; what is held follows from the open jobs."""
        a, b = self.jobs_a_minute, self.jobs_a_day
        levels = (a.level, a.at, b.level, b.at)
        return Reading(
            name, str(self.total), self.minute, str(self.minute_wei), self.day, str(self.day_wei), levels
        )

    def load(self, reading: Reading) -> None:
        """Take what a snapshot says."""
        self.total = int(reading.total)
        self.minute, self.minute_wei = reading.minute, int(reading.minute_wei)
        self.day, self.day_wei = reading.day, int(reading.day_wei)
        a, b = self.jobs_a_minute, self.jobs_a_day
        a.level, at, b.level, since = reading.levels
        a.at, b.at = Instant(at), Instant(since)
