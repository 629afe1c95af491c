"""What the gateway knows of its orchestrators: all of it volatile, rebuilt from what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from shoal.errors import NoCapacity, UnknownModel
from shoal.ids import NodeId
from shoal.money.wei import Price
from shoal.policy.views import Candidate
from shoal.units import Instant
from shoal.wire.words import Quote
from shoal.work.lease import Leases
from shoal.work.lifecycle import Job
from shoal.work.queue import Need

#: The weight of the newest answer in a seller's mean run time.
RUN_MS_WEIGHT = 0.2
#: What a job is thought to take while nothing is known.
RUN_MS_UNKNOWN = 1_000.0


class Standing(Struct):
    """One orchestrator: what it sells, how quick it has been, and for what it is left alone."""

    connected: bool = False
    quotes: dict[Need, Quote] = {}
    run_ms: dict[Need, float] = {}
    paused_until: dict[Need, Instant] = {}


class Sellers:
    """The orchestrators that have been connected since we started."""

    def __init__(self) -> None:
        self._standings: dict[NodeId, Standing] = {}

    def __contains__(self, node: NodeId) -> bool:
        return node in self._standings

    @property
    def standings(self) -> Mapping[NodeId, Standing]:
        """What is known of each."""
        return self._standings

    def connect(self, node: NodeId) -> None:
        """An orchestrator is here; what it sells it will say."""
        standing = self._standings.setdefault(node, Standing())
        standing.connected = True
        standing.paused_until = {}

    def disconnect(self, node: NodeId) -> None:
        """An orchestrator is gone; what it sold is remembered, but cannot be bought."""
        self._standings[node].connected = False

    def quote(self, node: NodeId, quotes: Sequence[Quote]) -> None:
        """Take what an orchestrator sells in place of what it sold before."""
        standing = self._standings[node]
        standing.quotes = {(quote.pipeline, quote.model): quote for quote in quotes}
        standing.paused_until = {}

    def price(self, node: NodeId, need: Need) -> Price:
        """What this orchestrator asks for a work unit."""
        return self._standings[node].quotes[need].price

    def pause(self, node: NodeId, need: Need, until: Instant) -> None:
        """Leave an orchestrator alone that turned a job away, until then or until it speaks."""
        self._standings[node].paused_until[need] = until

    def learn(self, node: NodeId, need: Need, run_ms: int) -> None:
        """An orchestrator took so long for a job."""
        times = self._standings[node].run_ms
        mean = times.get(need, float(run_ms))
        times[need] = mean + RUN_MS_WEIGHT * (run_ms - mean)

    def models(self) -> dict[Need, int]:
        """What can be bought now: slots by (pipeline, model)."""
        found: dict[Need, int] = {}
        for standing in self._standings.values():
            if standing.connected:
                for need, quote in standing.quotes.items():
                    found[need] = found.get(need, 0) + quote.slots
        return found

    def require(self, need: Need, limit: Price, retry_after_ms: int) -> None:
        """Raise `UnknownModel` or `NoCapacity` unless somebody connected sells this for `limit` or less."""
        pipeline, model = need
        asked = []
        for standing in self._standings.values():
            if standing.connected and (quote := standing.quotes.get(need)) is not None:
                if quote.price.within(limit):
                    return
                asked.append(quote.price)
        if asked:
            least = min(asked, key=lambda price: price.wei / price.per_units)
            raise NoCapacity(
                f"nobody sells {model} for {pipeline} at {limit} right now, the cheapest asks {least}; "
                "offer more, or try again later",
                retry_after_ms=retry_after_ms,
            )
        known = {n for standing in self._standings.values() for n in standing.quotes}
        offered = sorted(m for p, m in known if p == pipeline)
        if offered and model not in offered:
            raise UnknownModel(f"nobody offers {model!r} for {pipeline}; there is {', '.join(offered)}")
        raise NoCapacity(
            f"nobody who runs {model} for {pipeline} is connected right now; try again later",
            retry_after_ms=retry_after_ms,
        )

    def free(self, need: Need, leases: Leases, now: Instant) -> list[Candidate]:
        """The orchestrators with a slot for this that neither our leases nor others' hold."""
        candidates = []
        for node, standing in self._standings.items():
            quote = standing.quotes.get(need)
            if quote is None or not standing.connected or standing.paused_until.get(need, 0) > now:
                continue
            free = quote.slots - quote.taken - leases.count(node, need)
            if free > 0:
                run_ms = standing.run_ms.get(need, 0.0)
                candidates.append(
                    Candidate(node=node, slots=quote.slots, free=free, price=quote.price, run_ms=run_ms)
                )
        return candidates

    def fit(self, need: Need, job: Job, free: Sequence[Candidate]) -> list[Candidate]:
        """Of the free ones those that this job may go to: not too dear, and not where it has failed.

        Where it has failed it may go again only if nobody else sells what it needs at its price.
        """
        affordable = [seller for seller in free if seller.price.within(job.limit)]
        if not job.attempts:  # it has failed nowhere
            return affordable
        fresh = [seller for seller in affordable if not job.avoids(seller.node)]
        others = any(
            standing.connected
            and (quote := standing.quotes.get(need)) is not None
            and quote.price.within(job.limit)
            and not job.avoids(node)
            for node, standing in self._standings.items()
        )
        return fresh if others else affordable

    def wait_ms(self, need: Need, position: int) -> int:
        """An estimate of when a job starts that has so many before it, at the pace of late."""
        times = [s.run_ms[need] for s in self._standings.values() if need in s.run_ms]
        run_ms = sum(times) / len(times) if times else RUN_MS_UNKNOWN
        return int((position + 1) * run_ms / max(1, self.models().get(need, 0)))
