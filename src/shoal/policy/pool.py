"""The pool: everybody who sells one thing for one size of job, kept in the orders that policies ask for.

A change costs next to nothing until somebody chooses; then only what has
changed since is put in its place. Whatever way a pool came to hold the same
candidates, it gives the same orders.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator

from shoal.ids import NodeId
from shoal.policy.filters import available
from shoal.policy.ranks import RANKS, RUN_MS_UNKNOWN, Scale, coarse, unit_price
from shoal.policy.recipe import Policy
from shoal.policy.views import Candidate

#: Orders that are kept at once; the one that was longest without use goes first.
ORDERS_MAX = 16
#: Changes that are remembered for the orders that are behind, beside two for each candidate.
LOG_MAX = 256

#: A place in an order: the score, and among equals the node.
Entry = tuple[float, NodeId, Candidate]


class Numbers:
    """Numbers in order, of which quantiles are asked."""

    def __init__(self) -> None:
        self._sorted: list[float] = []

    def change(self, old: float, new: float) -> None:
        """Put one in place of another; 0 is no number."""
        if old:
            del self._sorted[bisect_left(self._sorted, old)]
        if new:
            insort(self._sorted, new)

    def at(self, part: float, default: float) -> float:
        """The one that so great a part of them lie below."""
        numbers = self._sorted
        return numbers[int(part * len(numbers))] if numbers else default


class Order:
    """The available candidates by one score, brought up to date when asked for."""

    def __init__(self, score: Callable[[Candidate, Scale], float], *, scaled: bool) -> None:
        self._score = score
        self.scaled = scaled
        self.scale = Scale()
        self.entries: list[Entry] = []
        self._places: dict[NodeId, Entry] = {}
        #: How many of the pool's changes it has taken in; -1 before it is built.
        self.seen = -1

    def build(self, candidates: Iterable[Candidate], scale: Scale) -> None:
        """Forget everything and order these."""
        score = self._score
        self.scale = scale
        self.entries = [(score(c, scale), c.node, c) for c in candidates if available(c)]
        self.entries.sort()
        self._places = {entry[1]: entry for entry in self.entries}

    def place(self, node: NodeId, candidate: Candidate | None) -> None:
        """Put a node where it now belongs, or nowhere."""
        entries = self.entries
        old = self._places.pop(node, None)
        if old is not None:
            del entries[bisect_left(entries, old)]
        if candidate is not None and available(candidate):
            entry = (self._score(candidate, self.scale), node, candidate)
            self._places[node] = entry
            insort(entries, entry)


class Pool:
    """The candidates for one (need, size)."""

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self._candidates: dict[NodeId, Candidate] = {}
        self._untried: set[NodeId] = set()
        self._runs = Numbers()
        self._prices = Numbers()
        self._scale: Scale | None = None
        self._orders: dict[Policy | str, Order] = {}
        #: The nodes that changed, and how many changes came before those.
        self._log: list[NodeId] = []
        self._forgotten = 0
        for candidate in candidates:
            self.put(candidate)

    def __len__(self) -> int:
        return len(self._candidates)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._candidates.values())

    def get(self, node: NodeId) -> Candidate | None:
        """What is known of a node."""
        return self._candidates.get(node)

    def put(self, candidate: Candidate) -> None:
        """Take this in place of what was known of the node."""
        node = candidate.node
        old = self._candidates.get(node)
        self._candidates[node] = candidate
        self._note(node)
        if old is None or old.run_ms != candidate.run_ms:
            self._time(node, old.run_ms if old is not None else 0.0, candidate.run_ms)
        if old is None or old.price != candidate.price:
            self._ask(unit_price(old) if old is not None else 0.0, unit_price(candidate))

    def drop(self, node: NodeId) -> None:
        """Forget a node."""
        old = self._candidates.pop(node, None)
        if old is not None:
            self._note(node)
            self._time(node, old.run_ms, 0.0)
            self._untried.discard(node)
            self._ask(unit_price(old), 0.0)

    def _time(self, node: NodeId, old: float, new: float) -> None:
        self._runs.change(old, new)
        if new:
            self._untried.discard(node)
        else:
            self._untried.add(node)
        self._scale = None

    def _ask(self, old: float, new: float) -> None:
        self._prices.change(old, new)
        self._scale = None

    def _note(self, node: NodeId) -> None:
        self._log.append(node)
        if len(self._log) > LOG_MAX + 2 * len(self._candidates):
            self._forgotten += len(self._log)
            self._log.clear()

    @property
    def scale(self) -> Scale:
        """What is typical here, whether or not a slot is free."""
        if self._scale is None:
            self._scale = Scale(
                self._prices.at(0.5, 0.0),
                coarse(self._runs.at(0.5, RUN_MS_UNKNOWN)),
                coarse(self._runs.at(0.0, RUN_MS_UNKNOWN)),
            )
        return self._scale

    def only(self) -> Candidate | None:
        """The one candidate, if there is but one."""
        return next(iter(self._candidates.values())) if len(self._candidates) == 1 else None

    def by_rank(self, policy: Policy) -> list[Entry]:
        """The available candidates, the best first, for a job without a home."""
        order = self._orders.get(policy)
        if order is None:
            rank = RANKS[policy.rank]
            order = Order(lambda c, scale: rank.score(c, policy, scale, False), scaled=rank.scaled)
        return self._current(policy, order)

    def by_node(self) -> list[Entry]:
        """The available candidates by their names."""
        order = self._orders.get("node")
        return self._current("node", order or Order(lambda c, scale: 0.0, scaled=False))

    def by_news(self) -> list[Entry]:
        """The available candidates, the one that was heard last first."""
        order = self._orders.get("news")
        return self._current("news", order or Order(lambda c, scale: float(-c.heard_at), scaled=False))

    def _current(self, key: Policy | str, order: Order) -> list[Entry]:
        if order.seen < 0:
            if len(self._orders) >= ORDERS_MAX:
                del self._orders[min(self._orders, key=lambda other: self._orders[other].seen)]
            self._orders[key] = order
        latest = self._forgotten + len(self._log)
        scale = self.scale if order.scaled else order.scale
        if order.seen != latest or order.scale != scale:
            self._catch_up(order, scale)
            order.seen = latest
        return order.entries

    def _catch_up(self, order: Order, scale: Scale) -> None:
        if order.seen < self._forgotten or order.scale.price != scale.price:
            order.build(self._candidates.values(), scale)
            return
        changed = set(self._log[order.seen - self._forgotten :])
        if order.scale != scale:
            changed |= self._untried
        if 3 * len(changed) > len(self._candidates):
            order.build(self._candidates.values(), scale)
            return
        order.scale = scale
        for node in changed:
            order.place(node, self._candidates.get(node))
