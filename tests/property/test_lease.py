"""Leases against a plain dict: one per task, counted by holder and need, found only under their epoch."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoal.errors import Broken
from shoal.ids import NodeId
from shoal.units import Instant
from shoal.work.lease import Lease, Leases
from shoal.work.queue import Need

TASKS = st.sampled_from(["a", "b", "c", "d"])
HOLDERS = [NodeId("w1"), NodeId("w2")]
NEEDS: list[Need] = [("llm", "small"), ("echo", "echo")]
INSTANTS = st.integers(0, 20).map(Instant)


class LeaseMachine(RuleBasedStateMachine):
    """Leases are granted, renewed and ended."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases()
        self.model: dict[str, Lease] = {}
        self.epoch = 0

    @rule(task=TASKS, holder=st.sampled_from(HOLDERS), need=st.sampled_from(NEEDS), until=INSTANTS)
    def grant(self, task: str, holder: NodeId, need: Need, until: Instant) -> None:
        self.epoch += 1
        lease = Lease(task, self.epoch, holder, need, until)
        if task in self.model:
            with pytest.raises(Broken):
                self.leases.grant(lease)
        else:
            self.leases.grant(lease)
            self.model[task] = lease

    @rule(task=TASKS, until=INSTANTS)
    def renew(self, task: str, until: Instant) -> None:
        if task in self.model:
            old = self.model[task]
            self.leases.until(task, until)
            self.model[task] = Lease(task, old.epoch, old.holder, old.need, until)

    @rule(task=TASKS)
    def end(self, task: str) -> None:
        self.leases.end(task)
        self.model.pop(task, None)

    @rule(task=TASKS, epoch=st.integers(0, 30), holder=st.sampled_from(HOLDERS))
    def find(self, task: str, epoch: int, holder: NodeId) -> None:
        lease = self.model.get(task)
        expected = lease if lease and (lease.epoch, lease.holder) == (epoch, holder) else None
        assert self.leases.find(task, epoch, holder) == expected

    @rule(now=INSTANTS)
    def lapse(self, now: Instant) -> None:
        lapsed = {task for task, lease in self.model.items() if lease.until <= now}
        assert {lease.task for lease in self.leases.lapsed(now)} == lapsed

    @invariant()
    def the_leases_are_the_models(self) -> None:
        assert {lease.task: lease for lease in self.leases} == self.model
        assert len(self.leases) == len(self.model)
        for holder in HOLDERS:
            mine = [lease for lease in self.model.values() if lease.holder == holder]
            assert sorted(lease.task for lease in self.leases.of(holder)) == sorted(
                lease.task for lease in mine
            )
            for need in NEEDS:
                assert self.leases.count(holder, need) == sum(lease.need == need for lease in mine)


TestLeases = LeaseMachine.TestCase
