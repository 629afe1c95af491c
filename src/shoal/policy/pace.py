"""Pace: how long jobs of one kind have taken of late, as a mean and a spread."""

from __future__ import annotations

from math import sqrt

from msgspec import Struct

#: The weight of the newest answer, once there are enough of them for it.
NEWEST_WEIGHT = 0.1
#: How fast the least run time is forgotten: by this part of the mean with each answer.
LEAST_FORGET = 0.02


class Pace(Struct):
    """Exponentially weighted mean and variance of run times (West 1979), and about the least of them."""

    answers: int = 0
    mean_ms: float = 0.0
    variance: float = 0.0
    least_ms: float = 0.0

    def learn(self, run_ms: float) -> None:
        """One more answer took so long."""
        self.answers = answers = self.answers + 1
        weight = 1 / answers if answers * NEWEST_WEIGHT < 1 else NEWEST_WEIGHT
        gap = run_ms - self.mean_ms
        self.mean_ms = mean_ms = self.mean_ms + weight * gap
        self.variance = (1 - weight) * (self.variance + weight * gap * gap)
        least_ms = self.least_ms + LEAST_FORGET * (mean_ms - self.least_ms)
        self.least_ms = run_ms if run_ms < least_ms or answers == 1 else least_ms

    @property
    def spread_ms(self) -> float:
        """The standard deviation."""
        return sqrt(self.variance)
