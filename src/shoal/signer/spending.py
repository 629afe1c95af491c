"""What was signed away: counted before it is, by the clock's minutes and days (UTC) and in all. Pure.

Counted is what tickets are worth on average, each rounded up. A clock that goes back opens no window anew.
"""

from __future__ import annotations

from msgspec import Struct

from shoal.errors import Broken, SpendLimit
from shoal.money.ticket import WIN_PROB_MAX, TicketParams, Uint256, uint256
from shoal.signer.rules import Rules
from shoal.units import HOUR_MS, MINUTE_MS, Instant

DAY_MS = 24 * HOUR_MS


class Spent(Struct, frozen=True, array_like=True):
    """A snapshot of what was spent."""

    total: Uint256 = uint256(0)
    minute: int = 0
    minute_wei: Uint256 = uint256(0)
    day: int = 0
    day_wei: Uint256 = uint256(0)


def cost_wei(params: TicketParams) -> int:
    """What one ticket counts: its worth, rounded up, so that none is free by rounding."""
    return -(-params.face_wei * int.from_bytes(params.win_prob) // WIN_PROB_MAX)


class Spending:
    """One account's spending beside its limits."""

    __slots__ = ("_rules", "day", "day_wei", "minute", "minute_wei", "total")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.total = 0
        self.minute = self.minute_wei = 0
        self.day = self.day_wei = 0

    def require(self, wei: int, now: Instant) -> None:
        """Raise `SpendLimit` if so much more would pass a limit; what it says stays the same until that ends."""
        rules, (minute, minute_wei, day, day_wei) = self._rules, self._windows(now)
        if self.total + wei > rules.ev_wei_in_all:
            raise SpendLimit(
                f"the signer's limit of {rules.ev_wei_in_all} wei in all is reached: "
                "raise rules.ev_wei_in_all if more is to be spent"
            )
        for spent, most, name, ends in (
            (day_wei, rules.ev_wei_per_day, "day", (day + 1) * DAY_MS),
            (minute_wei, rules.ev_wei_per_minute, "minute", (minute + 1) * MINUTE_MS),
        ):
            if spent + wei > most:
                raise SpendLimit(
                    f"the signer's limit of {most} wei a {name} is reached: wait for the next {name}, "
                    f"or raise rules.ev_wei_per_{name}",
                    retry_after_ms=ends - now if wei <= most else 0,
                )

    def spend(self, wei: int, now: Instant) -> None:
        """So much is signed away."""
        self.minute, minute_wei, self.day, day_wei = self._windows(now)
        self.total += wei
        self.minute_wei, self.day_wei = minute_wei + wei, day_wei + wei

    def left_wei(self, now: Instant) -> int:
        """What may still be signed away now."""
        rules, (_, minute_wei, _, day_wei) = self._rules, self._windows(now)
        return max(
            0,
            min(
                rules.ev_wei_in_all - self.total,
                rules.ev_wei_per_day - day_wei,
                rules.ev_wei_per_minute - minute_wei,
            ),
        )

    def check(self) -> None:
        """Raise `Broken` unless minute, day and all are parts of each other."""
        if not 0 <= self.minute_wei <= self.day_wei <= self.total:
            raise Broken("what was spent does not add up")

    def dump(self) -> Spent:
        """For a snapshot."""
        return Spent(
            uint256(self.total), self.minute, uint256(self.minute_wei), self.day, uint256(self.day_wei)
        )

    def load(self, spent: Spent) -> None:
        """Take what a snapshot says."""
        self.total = int.from_bytes(spent.total)
        self.minute, self.minute_wei = spent.minute, int.from_bytes(spent.minute_wei)
        self.day, self.day_wei = spent.day, int.from_bytes(spent.day_wei)

    def _windows(self, now: Instant) -> tuple[int, int, int, int]:
        minute, day = max(self.minute, now // MINUTE_MS), max(self.day, now // DAY_MS)
        return (
            minute,
            self.minute_wei if minute == self.minute else 0,
            day,
            self.day_wei if day == self.day else 0,
        )
