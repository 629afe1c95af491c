"""Leases: who may answer for a job, and until when.

Capacity is what is not leased: there is no counter to forget, only the set of
live leases. The epoch fences: a word under another epoch than the live lease's
is late, and is refused where it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from msgspec import Struct

from shoal.errors import Broken
from shoal.ids import NodeId
from shoal.units import Instant
from shoal.work.queue import Need

#: Entries of leases that have ended are kept until they are more than those that live, and this.
SPARE = 1_000


class Lease(Struct, frozen=True, array_like=True, gc=False):
    """`holder` may answer for `task` under `epoch` until it lapses."""

    task: str
    epoch: int
    holder: NodeId
    need: Need
    until: Instant


class Leases:
    """The live leases, by task; each holder's by what they are for."""

    def __init__(self) -> None:
        #: Told whose leases have become more or fewer, and for what.
        self.heed: Callable[[NodeId, Need], None] | None = None
        self._by_task: dict[str, Lease] = {}
        self._by_holder: dict[NodeId, dict[Need, dict[str, None]]] = {}
        #: No lease lapses before its earliest entry here; many live longer by then, or have ended.
        self._due: list[tuple[Instant, str]] = []

    def __len__(self) -> int:
        return len(self._by_task)

    def __contains__(self, task: str) -> bool:
        return task in self._by_task

    def __getitem__(self, task: str) -> Lease:
        return self._by_task[task]

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._by_task.values())

    def grant(self, lease: Lease) -> None:
        """Start a lease. Raises `Broken` if the task has one already."""
        if lease.task in self._by_task:
            raise Broken(f"{lease.task} is leased twice")
        self._by_task[lease.task] = lease
        self._note(lease)
        self._by_holder.setdefault(lease.holder, {}).setdefault(lease.need, {})[lease.task] = None
        if self.heed is not None:
            self.heed(lease.holder, lease.need)

    def find(self, task: str, epoch: int, holder: NodeId) -> Lease | None:
        """The live lease that this word speaks for, or None if the word is late or false."""
        lease = self._by_task.get(task)
        if lease is None or lease.epoch != epoch or lease.holder != holder:
            return None
        return lease

    def until(self, task: str, until: Instant) -> None:
        """Let a lease live until another instant."""
        before = self._by_task[task]
        lease = self._by_task[task] = Lease(task, before.epoch, before.holder, before.need, until)
        if until < before.until:
            self._note(lease)

    def end(self, task: str) -> Lease | None:
        """End a task's lease, and say which it was; None if it has none."""
        lease = self._by_task.pop(task, None)
        if lease is None:
            return None
        held = self._by_holder[lease.holder]
        del held[lease.need][task]
        if not held[lease.need]:
            del held[lease.need]
        if not held:
            del self._by_holder[lease.holder]
        if self.heed is not None:
            self.heed(lease.holder, lease.need)
        return lease

    def count(self, holder: NodeId, need: Need) -> int:
        """How many of a holder's slots for this are leased."""
        return len(self._by_holder.get(holder, {}).get(need, ()))

    def of(self, holder: NodeId) -> list[Lease]:
        """A holder's live leases."""
        return [
            self._by_task[task]
            for tasks in self._by_holder.get(holder, {}).values()
            for task in sorted(tasks)
        ]

    def held_for(self, holder: NodeId, need: Need) -> Iterator[Lease]:
        """A holder's live leases for one need, the one that began first first."""
        return (self._by_task[task] for task in self._by_holder.get(holder, {}).get(need, ()))

    def lapsed(self, now: Instant) -> list[Lease]:
        """The leases whose time is over."""
        found: dict[str, Lease] = {}
        while self._due and self._due[0][0] <= now:
            lease = self._by_task.get(heappop(self._due)[1])
            if lease is None:
                continue
            if lease.until <= now:
                found[lease.task] = lease
            else:
                self._note(lease)
        for lease in found.values():
            self._note(lease)
        return list(found.values())

    def _note(self, lease: Lease) -> None:
        if len(self._due) > 2 * len(self._by_task) + SPARE:
            self._due = [(lease.until, task) for task, lease in self._by_task.items()]
            heapify(self._due)
        else:
            heappush(self._due, (lease.until, lease.task))
