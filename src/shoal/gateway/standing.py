"""What is known of one orchestrator: what it sells, how that has gone of late, and what follows for the next job."""

from __future__ import annotations

from msgspec import Struct, field

from shoal.gateway.config import Rules
from shoal.ids import NodeId
from shoal.policy.breaker import Breaker
from shoal.policy.pace import Pace
from shoal.policy.success import Outcomes
from shoal.policy.views import Candidate
from shoal.units import Instant, later
from shoal.wire.words import Quote
from shoal.work.queue import Need

#: The weight of the newest answer in the mean time that answers spend on their way.
LINK_WEIGHT = 0.1


class Stock(Struct, kw_only=True):
    """One thing that an orchestrator sells."""

    #: None if it does not sell this any more; how that went is remembered.
    quote: Quote | None
    breaker: Breaker
    outcomes: Outcomes
    #: Run times, by the job's size class.
    paces: dict[int, Pace] = field(default_factory=dict)
    link_ms: float = 0.0
    #: It turned a job away as busy: until then it is left alone ...
    paused_until: Instant = Instant(0)
    #: ... and from then on it gets one job more than it held, until it speaks for itself.
    held_max: int | None = None

    def candidate(self, node: NodeId, size: int, held: int, standing: Standing) -> Candidate | None:
        """As a policy sees it, while our leases hold so many of its slots; None if it cannot be bought."""
        quote = self.quote
        if quote is None or not standing.connected:
            return None
        pace = self.paces.get(size)
        free = quote.slots - quote.taken - held
        if self.held_max is not None:
            free = min(free, self.held_max - held)
        return Candidate(
            node=node,
            slots=quote.slots,
            free=max(0, free),
            price=quote.price,
            run_ms=pace.mean_ms if pace is not None else 0.0,
            success=self.outcomes.bound,
            cold_ms=quote.cold_ms,
            batch=quote.batch,
            link_ms=self.link_ms,
            region=standing.region,
            stake=standing.stake,
            reputation=standing.reputation,
        )

    def learn(self, size: int, run_ms: int, link_ms: int) -> None:
        """It took so long for a job, and so long beside the run."""
        self.paces.setdefault(size, Pace()).learn(run_ms)
        gap = link_ms - self.link_ms
        self.link_ms += (LINK_WEIGHT if self.link_ms else 1.0) * gap
        if self.held_max is not None:
            self.held_max += 1


class Standing(Struct, kw_only=True):
    """One orchestrator."""

    stake: int = 0
    reputation: float | None = None
    connected: bool = False
    region: str = ""
    stocks: dict[Need, Stock] = field(default_factory=dict)
