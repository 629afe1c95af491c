"""What the gateway knows of its orchestrators: all of it volatile, rebuilt from what they say and do.

For each (pipeline, model) and size of job that was ever asked for there is a
pool of candidates. It is kept up change by change, so that a choice among a
thousand looks at a few; every change has a number by which it can be undone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import ceil, sqrt

from shoal.errors import NoCapacity, UnknownModel
from shoal.gateway.config import Rules
from shoal.gateway.standing import Standing, Stock
from shoal.gateway.views import Views
from shoal.ids import NodeId
from shoal.money.wei import MILLION, Price
from shoal.policy.filters import available
from shoal.policy.pace import Pace
from shoal.policy.patience import Finish, Slot, finishes
from shoal.policy.pool import Pool
from shoal.policy.ranks import RUN_MS_UNKNOWN
from shoal.policy.views import Candidate
from shoal.units import Instant, later
from shoal.wire.words import Quote
from shoal.work.queue import Need

#: So many (pipeline, model) are remembered of one orchestrator, beyond those that it sells.
STOCKS_MAX = 256
#: How many standard deviations a promise leaves for bad luck.
CAUTION = 2.0
#: Whoever is this much slower than the quickest is worth waiting past, perhaps ...
SLOW_PPM = 1_500_000
#: ... for one of so many at most, and of each for so many jobs that began first; and so many jobs may wait so.
QUICK_MAX = 16
FIRST_MAX = 4
PATIENT_MAX = 32
#: By so great a part a promise is stretched each time that one is not kept; where one of so many is kept, it shrinks.
STRETCH = 0.05
STRETCH_MAX = 4.0
KEPT_PER_BROKEN = 50
#: A run that is over its time is thought to last this part of it longer.
OVERDUE = 0.1


#: When each of our jobs at a node was placed, for one need, the first one first.
PlacedAt = Callable[[NodeId, Need], Iterator[Instant]]


class Sellers:
    """The orchestrators that have been connected since we started."""

    def __init__(self, rules: Rules, held: Callable[[NodeId, Need], int], placed: PlacedAt) -> None:
        self.views = Views(rules.views_max)
        self._rules = rules
        #: How many of a node's slots our leases hold.
        self._held = held
        #: When the jobs were placed that hold them.
        self._placed = placed
        self._standings: dict[NodeId, Standing] = {}
        self._pools: dict[Need, dict[int, Pool]] = {}
        #: How long jobs take, whoever runs them: of each need, and of each size of it.
        self._paces: dict[Need, dict[int, Pace]] = defaultdict(lambda: defaultdict(Pace))
        self._overall: dict[Need, Pace] = defaultdict(Pace)
        #: Who is left alone for now, and is looked at again with time.
        self._resting: dict[tuple[NodeId, Need], None] = {}
        #: When they were looked at last.
        self.woken_at = Instant(0)
        #: Who has changed since the pools were last looked at.
        self._behind: dict[Need, dict[NodeId, None]] = {}
        #: How often anybody was chosen.
        self._turns = 0
        #: What somebody has said to have more slots for.
        self.stirred: set[Need] = set()
        #: Who could take a job now.
        self._open: dict[Need, set[NodeId]] = {}
        #: How many times as long as it looked jobs turned out to wait, that others overtook meanwhile.
        self._stretch: dict[Need, float] = {}
        self._slots: dict[Need, int] = {}

    def __contains__(self, node: NodeId) -> bool:
        return node in self._standings

    @property
    def standings(self) -> Mapping[NodeId, Standing]:
        """What is known of each."""
        return self._standings

    # What they say

    def connect(self, node: NodeId) -> None:
        """An orchestrator is here; what it sells it will say."""
        standing = self._standings.get(node)
        if standing is None:
            stake, reputation = self._rules.stakes.get(node, 0), self._rules.reputations.get(node)
            standing = self._standings[node] = Standing(stake=stake, reputation=reputation)
        standing.connected = True
        self._refresh(node)

    def disconnect(self, node: NodeId) -> None:
        """An orchestrator is gone; what it sold is remembered, but cannot be bought."""
        self._standings[node].connected = False
        self._refresh(node)

    def short(self, node: NodeId, short: bool) -> None:
        """Our credit with an orchestrator does not cover the next job there; or it does again."""
        standing = self._standings.get(node)  # None: it has not been here since we started
        if standing is not None and standing.short != short:
            standing.short = short
            self.stirred.update(standing.stocks)
            self._refresh(node)

    def quote(self, node: NodeId, quotes: Sequence[Quote], region: str, now: Instant) -> None:
        """Take what an orchestrator sells in place of what it sold before."""
        standing = self._standings[node]
        standing.region = region
        free = {need: stock.room for need, stock in standing.stocks.items()}
        for stock in standing.stocks.values():
            stock.ends()
        for quote in quotes:
            need = (quote.pipeline, quote.model)
            stock = standing.stocks.setdefault(need, Stock())
            stock.says(quote, standing.offer(node, quote), now)
            if stock.room > free.get(need, 0):
                self.stirred.add(need)
        self._refresh(node)
        if len(standing.stocks) > STOCKS_MAX:
            self._forget_unsold(node, standing.stocks)

    def _forget_unsold(self, node: NodeId, stocks: dict[Need, Stock]) -> None:
        """Of what an orchestrator does not sell now only so much is remembered: what it sold last."""
        unsold = [need for need, stock in stocks.items() if stock.quote is None]
        unsold.sort(key=lambda need: stocks[need].heard_at)
        for need in unsold[: len(stocks) - STOCKS_MAX]:
            del stocks[need]
            self._resting.pop((node, need), None)
            if not any(need in standing.stocks for standing in self._standings.values()):
                self._forget_need(need)

    def _forget_need(self, need: Need) -> None:
        """Nobody knows any more who sold this."""
        if need in self._pools:
            self._catch_up(need)
            del self._pools[need]
        for known in (self._paces, self._overall, self._open, self._behind, self._stretch):
            known.pop(need, None)

    # What they do

    def chosen(self, node: NodeId, need: Need) -> None:
        """A job has gone there, under a lease."""
        self._turns += 1
        self._standings[node].stocks[need].chosen(self._turns)

    def turned_away(self, node: NodeId, need: Need, now: Instant) -> None:
        """An orchestrator had no slot for us: leave it alone for a moment, or until it speaks."""
        stock = self._stock(node, need)
        if stock is not None:
            stock.turned_away(self._held(node, need) - 1, later(now, self._rules.busy_pause_ms))
            self._rest(node, need)

    def failed(self, node: NodeId, need: Need, now: Instant) -> None:
        """An attempt has failed there, and the fault was not the job's."""
        stock = self._stock(node, need)
        if stock is not None:
            stock.failed(now, self._rules.breaker)
            self._rest(node, need)

    def answered(self, node: NodeId, need: Need, size: int, run_ms: int, took_ms: int, now: Instant) -> None:
        """An orchestrator has answered: after so long, of which the run took a part."""
        self._overall[need].learn(run_ms)
        self._paces[need][size].learn(run_ms)
        stock = self._stock(node, need)
        if stock is not None:
            stock.answered(size, run_ms, max(0, took_ms - run_ms), now)
            self.touch(node, need)

    def _stock(self, node: NodeId, need: Need) -> Stock | None:
        """What is known of this; None if it has said nothing since we started."""
        standing = self._standings.get(node)
        return standing.stocks.get(need) if standing is not None else None

    def _rest(self, node: NodeId, need: Need) -> None:
        self._resting[node, need] = None
        self.touch(node, need)

    def wake(self, now: Instant) -> None:
        """Look again at those who were left alone: for some of them that is over."""
        self.woken_at = now
        pause_ms = self._rules.busy_pause_ms
        for node, need in list(self._resting):
            stock = self._standings[node].stocks[need]
            if stock.wakes(now, self._held(node, need), pause_ms):
                self.touch(node, need)
            if stock.rested:
                del self._resting[node, need]

    # The pools

    def pool(self, need: Need, size: int) -> Pool:
        """Who sells this to a job of this size, as they stand now."""
        pool = self._pools[need].get(size) if need in self._pools else None
        if pool is None:
            pool = self._open_pool(need, size)
        self._catch_up(need)
        return pool

    def _open_pool(self, need: Need, size: int) -> Pool:
        pool = self._pools.setdefault(need, {})[size] = Pool()
        self._behind.setdefault(need, {})
        for node in self._standings:
            self._put(pool, node, need, size)
        return pool

    def any_free(self, need: Need) -> bool:
        """True if anybody could take a job of this now, if it fits."""
        if need not in self._pools:
            self.pool(need, 0)
        self._catch_up(need)
        return bool(self._open.get(need))

    def touch(self, node: NodeId, need: Need) -> None:
        """Something about an orchestrator has changed: its candidates are made anew when somebody looks."""
        behind = self._behind.get(need)
        if behind is not None and node in self._standings:
            behind[node] = None

    def _catch_up(self, need: Need) -> None:
        behind = self._behind[need]
        if behind:
            for size, pool in self._pools[need].items():
                for node in behind:
                    self._put(pool, node, need, size)
            behind.clear()

    def _put(self, pool: Pool, node: NodeId, need: Need, size: int) -> None:
        standing = self._standings[node]
        stock = standing.stocks.get(need) if standing.connected else None
        before = pool.get(node)
        after: Candidate | None = None
        if stock is not None:
            after = stock.candidate(size, self._held(node, need), standing.short)
        if before == after:
            return
        self.views.note((need, size), node, before)
        if after is None:
            pool.drop(node)
        else:
            pool.put(after)
        opened = self._open.setdefault(need, set())
        if after is not None and available(after):
            opened.add(node)
        else:
            opened.discard(node)

    def _refresh(self, node: NodeId) -> None:
        standing = self._standings[node]
        before, standing.slots = standing.slots, standing.sold()
        for need in {**before, **standing.slots}:
            slots = self._slots.get(need, 0) - before.get(need, 0) + standing.slots.get(need, 0)
            if slots or need in standing.slots:
                self._slots[need] = slots
            else:
                self._slots.pop(need, None)
        for need in standing.stocks:
            self.touch(node, need)

    # What clients may ask

    def models(self) -> Mapping[Need, int]:
        """What can be bought now: slots by (pipeline, model)."""
        return self._slots

    def require(self, need: Need, limit: Price, region: str, retry_after_ms: int) -> None:
        """Raise `UnknownModel` or `NoCapacity` unless somebody connected sells this there for `limit` or less."""
        pipeline, model = need
        asked, regions = [], set()
        for standing in self._standings.values():
            stock = standing.stocks.get(need)
            if standing.connected and stock is not None and stock.quote is not None:
                regions.add(standing.region)
                if region in ("", standing.region):
                    if stock.quote.price.within(limit):
                        return
                    asked.append(stock.quote.price)
        if regions and not asked:
            raise NoCapacity(
                f"nobody sells {model} for {pipeline} in region {region!r} right now; "
                f"there is {', '.join(sorted(filter(None, regions))) or 'nobody who says where it is'}",
                retry_after_ms=retry_after_ms,
            )
        if asked:
            least = min(asked, key=lambda price: price.wei / price.per_units)
            raise NoCapacity(
                f"nobody sells {model} for {pipeline} at {limit} right now, the cheapest asks {least}; "
                "offer more, or try again later",
                retry_after_ms=retry_after_ms,
            )
        known = {need for standing in self._standings.values() for need in standing.stocks}
        offered = sorted(m for p, m in known if p == pipeline)
        if offered and model not in offered:
            raise UnknownModel(f"nobody offers {model!r} for {pipeline}; there is {', '.join(offered)}")
        raise NoCapacity(
            f"nobody who runs {model} for {pipeline} is connected right now; try again later",
            retry_after_ms=retry_after_ms,
        )

    def selling(self, need: Need) -> list[NodeId]:
        """Who sells this now."""
        return [
            node
            for node, standing in self._standings.items()
            if standing.connected
            and (stock := standing.stocks.get(need)) is not None
            and stock.quote is not None
        ]

    # What can be expected

    def wait_ms(self, need: Need, ahead: int) -> float:
        """When a job starts that has so many before it, if every slot is taken: at the pace of late."""
        overall = self._overall.get(need)
        run_ms = overall.mean_ms if overall is not None else RUN_MS_UNKNOWN
        return (ahead + 1) * run_ms / max(1, self.models().get(need, 0))

    def leave_ms(self, need: Need, count: int) -> int:
        """By when so many waiting jobs have a slot, if every slot is taken and none comes free before it must."""
        overall = self._overall.get(need)
        run_ms = overall.mean_ms if overall is not None else RUN_MS_UNKNOWN
        rounds = -(-count // max(1, self.models().get(need, 0)))
        return max(self._rules.tick_ms, ceil(rounds * run_ms) + 1)

    def pace(self, need: Need, size: int) -> Pace | None:
        """How long jobs of this size take, whoever runs them; None while there was none."""
        return self._paces.get(need, {}).get(size)

    def pace_at(self, node: NodeId, need: Need, size: int) -> Pace | None:
        """How long jobs of this size take there; None while there was none."""
        stock = self._stock(node, need)
        return stock.paces.get(size) if stock is not None else None

    def urgent_by(self, need: Need, now: Instant) -> Instant:
        """A job whose deadline is earlier than this can wait no longer: two slots more, and it is too late."""
        overall = self._overall.get(need)
        if overall is None:
            return now
        turns_ms = 2 * overall.mean_ms / max(1, self.models().get(need, 0))
        return later(now, ceil(overall.mean_ms + overall.spread_ms + turns_ms))

    def is_slow(self, chosen: Candidate, need: Need, size: int) -> bool:
        """True if the chosen node is so much slower than the quickest that waiting for that one may be worth it."""
        pool = self._pools[need][size]
        return len(pool) > 1 and chosen.run_ms * MILLION > pool.scale.quick_ms * SLOW_PPM

    def sooner(self, chosen: Candidate, need: Need, size: int, now: Instant) -> Iterator[Finish]:
        """When jobs would end that wait for quicker nodes than the chosen one, one after the other."""
        return islice(finishes(self._busy_slots(chosen.run_ms, need, size, now)), PATIENT_MAX)

    def _busy_slots(self, slower_ms: float, need: Need, size: int, now: Instant) -> Iterator[Slot]:
        """The slots that jobs of ours hold at nodes that are quicker than this."""
        quicker = (
            c for c in self._pools[need][size] if 0 < c.run_ms < slower_ms and not c.barred and not c.short
        )
        for candidate in islice(quicker, QUICK_MAX):
            run_ms = candidate.run_ms
            for placed_at in islice(self._placed(candidate.node, need), FIRST_MAX):
                left_ms = max(run_ms - (now - placed_at), OVERDUE * run_ms)
                yield Slot(candidate.node, left_ms, candidate.link_ms + run_ms)

    def promise_ms(self, need: Need, size: int, ahead: int) -> float:
        """The time in which a job will be done that has to wait, bad luck allowed for; 0 while nothing is known."""
        pace, overall = self.pace(need, size), self._overall.get(need)
        if pace is None or overall is None:
            return 0.0
        slots = max(1, self.models().get(need, 0))
        variance = pace.variance + (ahead + 1) * overall.variance / slots**2
        wait_ms = self.wait_ms(need, ahead) * self._stretch.get(need, 1.0)
        return wait_ms + pace.mean_ms + CAUTION * sqrt(variance)

    def promised(self, need: Need, *, kept: bool) -> None:
        """A job that had to wait was done in time, or not: so promises are made shorter or longer.

        The stretch settles where one promise in so many is broken (Robbins and Monro 1951), whatever breaks them:
        jobs that come later and go first, runs that are longer than they were.
        """
        stretch = self._stretch.get(need, 1.0) + (-STRETCH / KEPT_PER_BROKEN if kept else STRETCH)
        self._stretch[need] = min(max(stretch, 1.0), STRETCH_MAX)
