"""Success: how likely a node is to answer, at the least, by what it did of late.

An outcome counts half as much each half-life, so that the bad days of a node
are forgotten, and the good ones too.
"""

from __future__ import annotations

from math import sqrt

from shoal.machine import Value
from shoal.units import MINUTE_MS, Instant

HALF_LIFE_MS = 10 * MINUTE_MS
#: So many good answers everybody is credited with at first: one failure is not everything.
CREDIT = 2.0
#: How many standard deviations the bound lies below the mean.
CAUTION = 1.0


class Outcomes(Value, frozen=True):
    """Good and bad ends of a node's attempts, faded until `at`."""

    good: float = 0.0
    bad: float = 0.0
    at: Instant = Instant(0)

    def faded(self, now: Instant, half_life_ms: int = HALF_LIFE_MS) -> Outcomes:
        """The same, as much as it still counts now."""
        if now <= self.at or not (self.good or self.bad):
            return self if now <= self.at else Outcomes(0.0, 0.0, now)
        kept = 0.5 ** ((now - self.at) / half_life_ms)
        return Outcomes(self.good * kept, self.bad * kept, now)

    def after(self, good: bool, now: Instant, half_life_ms: int = HALF_LIFE_MS) -> Outcomes:
        """With one more outcome."""
        old = self.faded(now, half_life_ms)
        return Outcomes(old.good + good, old.bad + (not good), old.at)

    @property
    def least(self) -> float:
        """The least that the share of good ends is likely to be; 1 while there are no bad ones.

        A Beta posterior's mean less its standard deviation, from a prior that credits a newcomer.
        """
        if not self.bad:
            return 1.0
        good, count = self.good + CREDIT, self.good + CREDIT + self.bad
        mean = good / count
        return max(0.0, mean - CAUTION * sqrt(mean * (1.0 - mean) / (count + 1.0)))
