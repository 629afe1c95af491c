"""Patience: whether a waiting job should take a slow free slot, or wait for a quick one.

Whoever gives every free slot a job at once is right where all are alike; where
speeds differ tenfold, the last jobs on slow slots make the tail. The rule is
the earliest finish: each job in its turn takes the slot that would end it
first, whether it is free by now or will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush

from shoal.ids import NodeId
from shoal.machine import Value
from shoal.money.wei import MILLION


class Slot(Value, frozen=True):
    """One slot of a node: when it is free at the latest guess, and what a job takes there, loading included."""

    node: NodeId
    free_in_ms: float
    job_ms: float


class Finish(Value, frozen=True):
    """Where one job would end first, and when."""

    node: NodeId
    start_ms: float
    end_ms: float


def finishes(slots: Iterable[Slot]) -> Iterator[Finish]:
    """For each job of a queue in its turn: where it ends first, those before it having taken theirs.

    It looks at every slot: ask only for a job whose free slot is much slower than the quickest node's.
    """
    heap = [(slot.free_in_ms + slot.job_ms, slot.free_in_ms, slot.node, slot.job_ms) for slot in slots]
    heapify(heap)
    while heap:
        end_ms, start_ms, node, job_ms = heappop(heap)
        yield Finish(node, start_ms, end_ms)
        heappush(heap, (end_ms + job_ms, end_ms, node, job_ms))


def waits(now_ms: float, best: Finish | None, gain_ppm: int) -> bool:
    """True if a job had better wait for its best finish than take a free slot that ends it in `now_ms`.

    What is to come is a guess: it must end the job sooner by so great a part.
    """
    return best is not None and best.start_ms > 0 and best.end_ms < now_ms * (1 - gain_ppm / MILLION)
