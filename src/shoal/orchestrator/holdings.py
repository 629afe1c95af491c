"""Holdings: how many slots each gateway holds, so that every other one can be told without looking at each lease.

It follows the live leases; `check` compares it with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from shoal.errors import Broken
from shoal.ids import NodeId
from shoal.work.queue import Need


class Holdings:
    """The slots that are leased, by need and by gateway."""

    def __init__(self) -> None:
        self._all: Counter[Need] = Counter()
        self._own: Counter[tuple[NodeId, Need]] = Counter()

    def add(self, gateway: NodeId, need: Need) -> None:
        """A gateway has one slot more."""
        self._all[need] += 1
        self._own[gateway, need] += 1

    def remove(self, gateway: NodeId, need: Need) -> None:
        """A gateway has one slot less."""
        self._all[need] -= 1
        self._own[gateway, need] -= 1
        if not self._own[gateway, need]:
            del self._own[gateway, need]
        if not self._all[need]:
            del self._all[need]

    def of_others(self, gateway: NodeId, need: Need) -> int:
        """How many slots all gateways but this one hold."""
        return self._all[need] - self._own[gateway, need]

    def check(self, leases: Iterable[tuple[NodeId, Need]]) -> None:
        """Raise `Broken` unless these are the live leases."""
        own = Counter(leases)
        if own != self._own or Counter(need for _, need in own.elements()) != self._all:
            raise Broken("the holdings and the leases differ")
