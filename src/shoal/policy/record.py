"""Record: how one node has done at one thing, as whoever gives it jobs remembers.

A gateway keeps one for each thing that an orchestrator sells, an orchestrator
one for each thing that a worker offers. What follows for the breaker is theirs
to say: it decides who has room.
"""

from __future__ import annotations

from collections import defaultdict

from msgspec import Struct, field

from shoal.policy.breaker import Breaker
from shoal.policy.pace import Pace
from shoal.policy.success import Outcomes
from shoal.units import Instant


class Record(Struct, kw_only=True):
    """Outcomes, run times by the job's size class, and what turns and recent answers are counted by."""

    breaker: Breaker = Breaker()
    outcomes: Outcomes = Outcomes()
    paces: dict[int, Pace] = field(default_factory=lambda: defaultdict(Pace))
    heard_at: Instant = Instant(0)
    #: The number of the choice that fell on it last, and how many did since it was heard.
    turn: int = 0
    uses: int = 0

    def heard(self, now: Instant) -> None:
        """It gave a sign of life."""
        self.heard_at, self.uses = now, 0

    def chosen(self, turn: int) -> None:
        """A job goes there."""
        self.turn = turn
        self.uses += 1

    def fell(self, now: Instant) -> None:
        """An attempt failed there, and the fault was not the job's."""
        self.outcomes = self.outcomes.after(False, now)

    def did(self, size: int, run_ms: int, now: Instant) -> None:
        """It answered a job of this size, and took so long."""
        self.outcomes = self.outcomes.after(True, now)
        self.paces[size].learn(run_ms)
        self.heard(now)
