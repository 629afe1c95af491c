"""Livepeer's gateway, early and present, as far as it is described, over our words.

Neither has a queue: a job finds a free orchestrator within its few tries, or
it fails. Where the descriptions are silent the kinder reading is taken; each
place says so. A rival of this file is no judgement on anybody's code but on the
algorithm as its own people describe it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from random import Random

from msgspec import Struct

from shoal.errors import NoCapacity, Refused, Unreachable
from shoal.ids import JobId, NodeId
from shoal.sim.load.rivals import Rival, Task
from shoal.units import MINUTE_MS, SECOND_MS, Instant
from shoal.wire.words import Fault
from shoal.work.queue import Need

#: What a try costs beside the way there and back: a ticket is made and a connection opened. Assumed.
TRY_MS = 50


class Early(Rival):
    """The first mainnet gateway: transcoding's selection, adapted.

    Described: it tends to choose the same orchestrators again even when they are busy, and fails with
    `insufficient capacity` once it has cycled through the list four times. Assumed: the list begins with
    those who answered fastest so far, newcomers follow by lot, weighted by stake; an orchestrator that
    breaks is left out for ten minutes, unless nobody else is there.
    """

    CYCLES = 4
    LEFT_OUT_MS = 10 * MINUTE_MS

    def __init__(self, rng: Random, stakes: Mapping[NodeId, int]) -> None:
        super().__init__(rng)
        self._stakes = stakes
        #: How long an answer took for each work unit, the last time.
        self._scores: dict[tuple[NodeId, Need], float] = {}
        self._left_out: dict[NodeId, Instant] = {}
        #: Whom each job has still to ask in this cycle, and how many cycles there were.
        self._lists: dict[JobId, tuple[list[NodeId], int]] = {}

    def begin(self, task: Task, now: Instant) -> None:
        """Begin the first cycle."""
        self._lists[task.id] = ([], 0)
        self._try(task, now)

    def full(self, task: Task, node: NodeId, now: Instant) -> None:
        """Ask the next."""
        self.after(TRY_MS, lambda then: self._try(task, then), now)

    def broke(self, task: Task, node: NodeId, fault: Fault, now: Instant) -> None:
        """Leave it out, and ask the next."""
        self._left_out[node] = Instant(now + self.LEFT_OUT_MS)
        self.full(task, node, now)

    def answered(self, task: Task, node: NodeId, run_ms: int, now: Instant) -> None:
        """Remember how fast it was."""
        self._lists.pop(task.id, None)
        self._scores[node, task.need] = (now - task.placed_at) / max(1, task.spec.units_max)

    def left(self, task: Task, node: NodeId, now: Instant) -> None:
        """Forget it."""
        self._lists.pop(task.id, None)

    def _try(self, task: Task, now: Instant) -> None:
        if task.id not in self.tasks:
            return
        nodes, cycles = self._lists[task.id]
        if not nodes:
            if cycles == self.CYCLES:
                del self._lists[task.id]
                self.give_up(task, NoCapacity.code)
                return
            nodes, cycles = self._list(task.need, now), cycles + 1
            self._lists[task.id] = (nodes, cycles)
        if nodes:
            self.order(task, nodes.pop(0), now)
        else:
            self.full(task, NodeId(""), now)

    def _list(self, need: Need, now: Instant) -> list[NodeId]:
        sellers = self.sell(need)
        there = [node for node in sellers if self._left_out.get(node, 0) <= now] or sellers
        known = [node for node in there if (node, need) in self._scores]
        unknown = [node for node in there if (node, need) not in self._scores]
        known.sort(key=lambda node: self._scores[node, need])
        return known + by_lot(unknown, self._stakes, self.rng)


class Pool(Struct):
    """The orchestrators of one (pipeline, model), as the present gateway holds them."""

    refreshed_at: Instant | None = None
    #: Free, as far as this gateway knows; and those that run its jobs.
    warm: dict[NodeId, None] = {}
    cold: dict[NodeId, None] = {}
    used: dict[NodeId, int] = {}
    #: Refreshes until one may come back.
    suspended: dict[NodeId, int] = {}
    #: Seconds for each work unit, the last time.
    scores: dict[NodeId, float] = {}

    @property
    def size(self) -> int:
        """All that are in it, those in use too (the kinder reading)."""
        return len({*self.warm, *self.cold, *self.used})

    def drop(self, node: NodeId) -> None:
        """Take one out of what is free."""
        self.warm.pop(node, None)
        self.cold.pop(node, None)


class Asking(Struct):
    """One request on its way through the pool."""

    set_aside: dict[NodeId, bool] = {}
    #: Which of the tries it is, and whether its orchestrator was free when it was taken.
    tries: int = 0
    cold: bool = False


class Present(Rival):
    """The gateway of version 0.9: a warm pool and a cold one, at most 20 tries within 2 s.

    The time is looked at only before a try, so that whatever breaks later is not tried again. Nobody
    free: a random one in use. One that is full is set aside until the request is over (when the time ran
    out: until the next refresh); one that breaks is suspended for three refreshes. A refresh is due every
    ten minutes or when the pool is small, and the request that meets it waits. Assumed: free cold ones go
    before warm ones in use, and a refresh takes half a second.
    """

    TRIES = 20
    TRY_FOR_MS = 2 * SECOND_MS
    POOL_MS = 10 * MINUTE_MS
    REFRESH_MS = 500
    SUSPENDED_REFRESHES = 3
    POOL_MIN = 8
    RANDOM_SHARE, STAKE_SHARE = 0.3, 0.7

    def __init__(self, rng: Random, stakes: Mapping[NodeId, int], *, on_chain: bool) -> None:
        super().__init__(rng)
        self._stakes = stakes
        self._on_chain = on_chain
        self._pools: dict[Need, Pool] = {}
        self._asking: dict[JobId, Asking] = {}

    def begin(self, task: Task, now: Instant) -> None:
        """Refresh first, if that is due."""
        pool = self._pools.setdefault(task.need, Pool())
        self._asking[task.id] = Asking()
        least = min(self.POOL_MIN, ceil(len(self.sell(task.need)) / 2))
        stale = pool.refreshed_at is None or pool.refreshed_at + self.POOL_MS <= now
        if stale or pool.size < least:
            self._refresh(pool, task.need, now)
            self.after(self.REFRESH_MS, lambda then: self._try(task, then), now)
        else:
            self._try(task, now)

    def full(self, task: Task, node: NodeId, now: Instant) -> None:
        """Set it aside, and try another."""
        self._asking[task.id].set_aside[node] = self._asking[task.id].cold
        self._release(self._pools[task.need], node)
        self.after(TRY_MS, lambda then: self._try(task, then), now)

    def broke(self, task: Task, node: NodeId, fault: Fault, now: Instant) -> None:
        """Suspend it; try another while the time lasts."""
        pool = self._pools[task.need]
        self._release(pool, node)
        if fault.code == Refused.code:
            self._close(task, pool)
            self.give_up(task, fault.code)
            return
        pool.drop(node)
        pool.suspended[node] = self.SUSPENDED_REFRESHES
        self.after(TRY_MS, lambda then: self._try(task, then), now)

    def answered(self, task: Task, node: NodeId, run_ms: int, now: Instant) -> None:
        """Back into the pool, with its score."""
        pool = self._pools[task.need]
        self._release(pool, node)
        pool.scores[node] = (now - task.placed_at) / SECOND_MS / max(1, task.spec.units_max)
        (pool.cold if self._asking[task.id].cold else pool.warm)[node] = None
        self._close(task, pool)

    def left(self, task: Task, node: NodeId, now: Instant) -> None:
        """The client has gone: what ran is stopped, and counts as broken."""
        pool = self._pools[task.need]
        if node:
            self._release(pool, node)
            pool.suspended[node] = self.SUSPENDED_REFRESHES
        self._close(task, pool)

    def _try(self, task: Task, now: Instant) -> None:
        if task.id not in self.tasks:
            return
        asking, pool = self._asking[task.id], self._pools[task.need]
        late = now - task.asked_at > self.TRY_FOR_MS
        node = None if late or asking.tries == self.TRIES else self._select(pool, asking)
        if node is None:
            if late:
                asking.set_aside.clear()  # never given back: lost until the next refresh
            self._close(task, pool)
            self.give_up(task, NoCapacity.code)
            return
        asking.tries += 1
        pool.used[node] = pool.used.get(node, 0) + 1
        if task.need in self.sellers[node].quotes and self.sellers[node].connected:
            self.order(task, node, now)
        else:
            task.failed += 1
            self.broke(task, node, Fault(Unreachable.code, "nobody answers there"), now)

    def _select(self, pool: Pool, asking: Asking) -> NodeId | None:
        for free, cold in ((pool.warm, False), (pool.cold, True)):
            if free:
                node = self._choose(list(free), pool)
                pool.drop(node)
                asking.cold = cold
                return node
        asking.cold = False
        used = [node for node in pool.used if node not in asking.set_aside]
        return self.rng.choice(used) if used else None

    def _choose(self, free: list[NodeId], pool: Pool) -> NodeId:
        if not self._on_chain:
            return min(free, key=lambda node: (pool.scores.get(node, 0.0), node))
        total = sum(self._stakes.get(node, 0) for node in free) or 1
        weights = [
            self.RANDOM_SHARE / len(free) + self.STAKE_SHARE * self._stakes.get(node, 0) / total
            for node in free
        ]
        return self.rng.choices(free, weights)[0]

    def _release(self, pool: Pool, node: NodeId) -> None:
        pool.used[node] = pool.used.get(node, 1) - 1
        if pool.used[node] <= 0:
            del pool.used[node]

    def _close(self, task: Task, pool: Pool) -> None:
        """The request is over: what it has set aside is free again."""
        asking = self._asking.pop(task.id, None)
        for node, cold in asking.set_aside.items() if asking is not None else ():
            if node not in pool.suspended and node not in pool.used:
                (pool.cold if cold else pool.warm)[node] = None

    def _refresh(self, pool: Pool, need: Need, now: Instant) -> None:
        pool.refreshed_at = now
        if not pool.warm and not pool.cold:
            pool.suspended.clear()
        pool.suspended = {node: left - 1 for node, left in pool.suspended.items() if left > 1}
        sellers = self.sell(need)
        pool.warm = {n: None for n in sellers if self._fresh(pool, n) and not self._is_cold(n, need)}
        pool.cold = {n: None for n in sellers if self._fresh(pool, n) and self._is_cold(n, need)}

    def _fresh(self, pool: Pool, node: NodeId) -> bool:
        return node not in pool.suspended and node not in pool.used

    def _is_cold(self, node: NodeId, need: Need) -> bool:
        return self.sellers[node].quotes[need].cold_ms > 0


def by_lot(nodes: list[NodeId], stakes: Mapping[NodeId, int], rng: Random) -> list[NodeId]:
    """These in random order, those with more stake sooner."""
    drawn = {node: rng.random() ** (1 / max(1, stakes.get(node, 1))) for node in nodes}
    return sorted(nodes, key=lambda node: -drawn[node])
