"""Statistics for few and noisy samples: medians, and how far to trust them.

Nothing here measures or prints. The same samples give the same interval: the
bootstrap draws from a fixed seed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

RESAMPLES = 4_000
CONFIDENCE = 0.95
SEED = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median, and the interval a bootstrap gives it."""

    value: float
    low: float
    high: float


def estimate(samples: Sequence[float]) -> Estimate:
    """The median of the samples and its percentile-bootstrap interval."""
    if not samples:
        raise ValueError("no samples to estimate from")
    rng = random.Random(SEED)
    medians = sorted(median(rng.choices(samples, k=len(samples))) for _ in range(RESAMPLES))
    tail = round((1 - CONFIDENCE) / 2 * RESAMPLES)
    return Estimate(median(samples), medians[tail], medians[-1 - tail])


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure has to be: at least, or at most, so much."""

    limit: float
    at_least: bool

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def verdict(self, found: Estimate) -> str:
        """`undecided` where the interval straddles the bound: more rounds or a quieter machine would tell."""
        ends = (self.holds(found.low), self.holds(found.high))
        if all(ends):
            return "met"
        return "undecided" if any(ends) else "not met"

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"
