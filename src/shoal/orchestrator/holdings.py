"""Holdings: how many slots each gateway holds, so that every other one can be told without looking at each lease.

They follow the live leases; `check` compares them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from shoal.errors import Broken
from shoal.ids import NodeId
from shoal.work.queue import Need


class Holdings:
    """The slots that are leased, by need and by gateway."""

    def __init__(self) -> None:
        self._all: dict[Need, int] = {}
        self._own: dict[Need, dict[NodeId, int]] = {}

    def add(self, gateway: NodeId, need: Need) -> None:
        """A gateway has one slot more."""
        self._all[need] = self._all.get(need, 0) + 1
        own = self._own.setdefault(need, {})
        own[gateway] = own.get(gateway, 0) + 1

    def remove(self, gateway: NodeId, need: Need) -> None:
        """A gateway has one slot less."""
        self._all[need] -= 1
        own = self._own[need]
        if own[gateway] > 1:
            own[gateway] -= 1
            return
        del own[gateway]
        if not own:
            del self._own[need], self._all[need]

    def of_others(self, gateway: NodeId, need: Need) -> int:
        """How many slots all gateways but this one hold."""
        own = self._own.get(need)
        return self._all[need] - own.get(gateway, 0) if own is not None else 0

    def by_gateway(self, need: Need) -> Mapping[NodeId, int]:
        """How many slots each gateway holds."""
        return self._own.get(need, {})

    def check(self, leases: Iterable[tuple[NodeId, Need]]) -> None:
        """Raise `Broken` unless these are the live leases."""
        held = Counter(leases)
        if held != Counter({(g, need): n for need, own in self._own.items() for g, n in own.items()}):
            raise Broken("the holdings and the leases differ")
        if self._all != {need: sum(own.values()) for need, own in self._own.items()}:
            raise Broken("the holdings do not add up")
