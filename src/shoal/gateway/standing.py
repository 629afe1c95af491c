"""What is known of one orchestrator: what it sells, how that has gone of late, and what follows for the next job."""

from __future__ import annotations

from msgspec import Struct, field
from msgspec.structs import replace

from shoal.ids import NodeId
from shoal.policy.breaker import Limits as BreakerLimits
from shoal.policy.record import Record
from shoal.policy.views import Candidate
from shoal.units import SECOND_MS, Instant, later
from shoal.wire.words import Quote
from shoal.work.queue import Need

#: The weight of the newest answer in the mean time that answers spend on their way.
LINK_WEIGHT = 0.1


#: Of bad ends no more is left than this when nobody minds them any longer.
FORGIVEN = 0.1
#: They fade in steps of this: each step is a change that is remembered.
FADE_MS = 10 * SECOND_MS


class Stock(Record, kw_only=True):
    """One thing that an orchestrator sells, or has sold: how that went is remembered."""

    #: None if it does not sell this now.
    quote: Quote | None = None
    #: What policies see of the quote alone. The rest is added whenever one looks: a seventh of the cost of all anew.
    offer: Candidate | None = None
    link_ms: float = 0.0
    #: The job that went there last may have had to wait for its model.
    loading: bool = False
    #: It turned a job away as busy: it gets no more than it held of ours then ...
    held_max: int | None = None
    #: ... and from time to time one more, until it turns one away again or speaks for itself.
    more_at: Instant = Instant(0)

    def candidate(self, size: int, held: int, short: bool) -> Candidate | None:
        """As a policy sees it, while our leases hold so many of its slots; None if it does not sell this."""
        if self.offer is None:
            return None
        pace = self.paces.get(size)
        most = self.offer.free
        if self.held_max is not None and self.held_max < most:
            most = self.held_max
        return replace(
            self.offer,
            free=max(0, most - held),
            run_ms=pace.mean_ms if pace is not None else 0.0,
            success=self.outcomes.least,
            link_ms=self.link_ms,
            on_trial=self.breaker.on_trial,
            barred=self.breaker.barred,
            short=short,
            turn=self.turn,
            heard_at=self.heard_at,
            uses=self.uses,
        )

    @property
    def room(self) -> int:
        """The slots that are ours to hold, by its own word."""
        return self.quote.slots - self.quote.taken if self.quote is not None else 0

    @property
    def run_ms(self) -> float:
        """The mean of its run times over all sizes; 0 while there are none."""
        answers = sum(pace.answers for pace in self.paces.values())
        return sum(pace.answers * pace.mean_ms for pace in self.paces.values()) / max(1, answers)

    def says(self, quote: Quote, offer: Candidate, now: Instant) -> None:
        """It says how it stands: what was learned of its slots from its refusals is of no use any more."""
        self.quote, self.offer = quote, offer
        self.held_max = None
        self.heard(now)

    def ends(self) -> None:
        """It does not sell this any more."""
        self.quote = self.offer = None

    def chosen(self, turn: int) -> None:
        """A job goes there."""
        Record.chosen(self, turn)
        self.loading = self.quote is not None and self.quote.cold_ms > 0
        self.breaker = self.breaker.tried()

    def turned_away(self, held: int, more_at: Instant) -> None:
        """It had no slot for a job of ours: what we hold there beside it is all that it gives us, for all we know."""
        self.breaker = self.breaker.spared()
        self.held_max, self.more_at = held, more_at

    def failed(self, now: Instant, limits: BreakerLimits) -> None:
        """An attempt failed there, and the fault was not the job's."""
        self.fell(now)
        self.breaker = self.breaker.failed(now, limits)

    def answered(self, size: int, run_ms: int, link_ms: int, now: Instant) -> None:
        """It took so long for a job, and so long beside the run."""
        self.did(size, run_ms, now)
        self.breaker = self.breaker.succeeded()
        if not self.loading:
            self.link_ms += (LINK_WEIGHT if self.link_ms else 1.0) * (link_ms - self.link_ms)
        self.loading = False

    def wakes(self, now: Instant, held: int, pause_ms: int) -> bool:
        """Look at it again, while we hold so many of its slots; True if that has changed how it stands."""
        before = (self.held_max, self.breaker, self.outcomes)
        if self.held_max is not None and self.more_at <= now:
            self.held_max, self.more_at = self.held_max + 1, later(now, pause_ms)
            if self.quote is None or self.held_max >= self.quote.slots:
                self.held_max = None
        self.breaker = self.breaker.at(now)
        if self.breaker.barred and not held:  # the one job that it was tried with has left in another way
            self.breaker = self.breaker.spared()
        if now - self.outcomes.at >= FADE_MS:
            self.outcomes = self.outcomes.faded(now)
        return before != (self.held_max, self.breaker, self.outcomes)

    @property
    def rested(self) -> bool:
        """True if it needs no more looking at: time alone changes nothing here."""
        return self.held_max is None and not self.breaker.on_trial and self.outcomes.bad < FORGIVEN


class Standing(Struct, kw_only=True):
    """One orchestrator."""

    stake: int = 0
    reputation: float | None = None
    connected: bool = False
    region: str = ""
    #: It wants to be paid ahead, and our credit there does not cover what somebody wants of it.
    short: bool = False
    stocks: dict[Need, Stock] = field(default_factory=dict)
    #: What it adds to the slots that can be bought.
    slots: dict[Need, int] = {}

    def offer(self, node: NodeId, quote: Quote) -> Candidate:
        """What policies see of a quote alone."""
        return Candidate(
            node=node,
            slots=quote.slots,
            free=quote.slots - quote.taken,
            price=quote.price,
            cold_ms=quote.cold_ms,
            batch=quote.batch,
            region=self.region,
            stake=self.stake,
            reputation=self.reputation,
        )

    def sold(self) -> dict[Need, int]:
        """The slots that it sells now."""
        if not self.connected:
            return {}
        return {need: stock.quote.slots for need, stock in self.stocks.items() if stock.quote is not None}
