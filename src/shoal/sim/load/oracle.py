"""What could have been served at best, by one who knew everything beforehand.

Two answers. `most` is a bound that no policy can pass: all slots that sell one
thing melted into one fluid server, which may split and interrupt jobs at will
and chooses the best jobs to leave out. `planned` is a schedule that exists:
whole jobs on single slots, each where it ends first. The truth lies between.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from heapq import heapify, heapreplace
from itertools import pairwise
from math import ceil

from msgspec import Struct

from shoal.machine import Value
from shoal.sim.load.trace import Arrival, Fleet, Operator, Trace, Trouble
from shoal.work.queue import Need

FOREVER = 2**62
#: Troubles in which nothing is brought to its end; one that is mute works on, and may deliver later.
IDLE = ("crash", "hang", "fail")


class Best(Value, frozen=True, kw_only=True):
    """How many of a trace's measured jobs can end in time."""

    jobs: int
    #: Nobody serves more than this.
    most: int
    #: So many are served by a plan that exists.
    planned: int
    #: ... and by one that picks no easy jobs: each is served in its turn, if it can be in time.
    in_turn: int

    @property
    def most_share(self) -> float:
        """`most` as a share of all jobs."""
        return self.most / self.jobs if self.jobs else 1.0

    @property
    def in_turn_share(self) -> float:
        """`in_turn` as a share of all jobs."""
        return self.in_turn / self.jobs if self.jobs else 1.0

    @property
    def planned_share(self) -> float:
        """`planned` as a share of all jobs."""
        return self.planned / self.jobs if self.jobs else 1.0


def best(trace: Trace, pipeline: str = "") -> Best:
    """All answers for the jobs that are measured (of one pipeline alone); the others are left out, in its favour."""
    jobs = most = planned = in_turn = 0
    for need in dict.fromkeys(arrival.need for arrival in trace.arrivals):
        if pipeline and need[0] != pipeline:
            continue
        measured = [a for a in trace.arrivals if a.need == need and trace.from_ms <= a.at_ms < trace.end_ms]
        kept = bound(measured, trace.fleet, need)
        jobs += len(measured)
        most += len(kept)
        turn = plan(measured, trace.fleet, need)
        in_turn += turn
        # Leaving out what the fluid server leaves out helps under overload, and may hurt else.
        planned += max(plan(kept, trace.fleet, need), turn)
    return Best(jobs=jobs, most=most, planned=planned, in_turn=in_turn)


# The bound


class Job(Struct):
    """A job of the fluid server: all in units of work that the server has done by then."""

    arrival: Arrival
    release: float
    due: float
    begins: float = 0.0


def bound(arrivals: Sequence[Arrival], fleet: Fleet, need: Need) -> list[Arrival]:
    """The most jobs that the fluid server can end in time.

    Its speed is the sum of all slots' speeds; measured by the work that it could have done, its time
    runs evenly whoever is away. Where a later job is due before an earlier one, its due time is put off
    to that of the earlier, which only helps. For such jobs the greedy of Kise, Ibaraki and Mine (1978) is
    optimal: take jobs in order, and whenever one would be late, drop the one whose going helps most.
    """
    operators = [operator for operator in fleet.orchestrators if operator.slots(need)]
    if not operators:
        return []
    fastest = max(operator.speed for operator in operators)
    slowest = min(operator.speed for operator in operators)
    longest_ms = 1 + ceil(max((arrival.work_ms for arrival in arrivals), default=0) / slowest)
    work_done = _capacity(operators, need, longest_ms)
    kept: list[Job] = []
    due, free = 0.0, 0.0
    for arrival in arrivals:
        due = max(due, work_done(arrival.at_ms + arrival.deadline_ms))
        if arrival.work_ms / fastest > arrival.deadline_ms + 1:
            continue  # nobody is quick enough for it
        job = Job(arrival, work_done(arrival.at_ms), due)
        job.begins = max(free, job.release)
        kept.append(job)
        free = job.begins + arrival.work_ms
        if free > due + 1e-6:
            free = _drop_best(kept)
    return [job.arrival for job in kept]


def _drop_best(kept: list[Job]) -> float:
    """Drop the job without which the last one ends soonest; when that is."""
    slack, gain, worst = float(FOREVER), -1.0, len(kept) - 1
    for index in range(len(kept) - 1, -1, -1):
        job = kept[index]
        if min(job.arrival.work_ms, slack) > gain:
            gain, worst = min(job.arrival.work_ms, slack), index
        slack = min(slack, job.begins - job.release)
        if slack <= gain:
            break  # nothing before this moves the end by more
    del kept[worst]
    free = kept[worst - 1].begins + kept[worst - 1].arrival.work_ms if worst else 0.0
    for job in kept[worst:]:
        job.begins = max(free, job.release)
        free = job.begins + job.arrival.work_ms
    return free


class _capacity:  # noqa: N801 - a function with a memory
    """How much work the slots of these operators can have done by a time."""

    def __init__(self, operators: Sequence[Operator], need: Need, longest_ms: int) -> None:
        changes: dict[int, float] = {0: sum(o.slots(need) * o.speed for o in operators)}
        for operator in operators:
            for begins, ends, speed in _losses(operator, need, longest_ms):
                changes[begins] = changes.get(begins, 0.0) - speed
                changes[ends] = changes.get(ends, 0.0) + speed
        self._times = sorted(changes)
        self._rates: list[float] = []
        self._done = [0.0]
        rate = 0.0
        for time in self._times:
            rate += changes[time]
            self._rates.append(max(0.0, rate))
        for (begins, ends), rate in zip(pairwise(self._times), self._rates, strict=False):
            self._done.append(self._done[-1] + (ends - begins) * rate)

    def __call__(self, at_ms: int) -> float:
        index = bisect_right(self._times, at_ms) - 1
        return self._done[index] + (at_ms - self._times[index]) * self._rates[index]


def _losses(operator: Operator, need: Need, longest_ms: int) -> Iterable[tuple[int, int, float]]:
    """When an operator surely lacks so much speed: where a job may run on, only after the longest would have ended.

    Losses that overlap are counted once, as the greatest that surely holds: nothing here may overstate them.
    """
    speed, slots = operator.speed, operator.slots(need)
    idle = sorted((t.at_ms, t.at_ms + t.for_ms) for t in operator.troubles if t.kind in IDLE)
    for begins, ends in _union(idle):
        yield begins, ends, slots * speed
    if idle:
        return  # with other losses on top the sum might be too much
    slow = [t for t in operator.troubles if t.kind == "slow" and t.factor > 1]
    if slow:
        for trouble in slow if len(slow) == 1 else ():
            begins = trouble.at_ms + longest_ms
            if begins < trouble.at_ms + trouble.for_ms:
                lost = slots * speed * (1 - 1 / trouble.factor)
                yield begins, trouble.at_ms + trouble.for_ms, lost
        return
    for taken in operator.taken:
        overrun_ms = longest_ms if taken.at_ms > 0 else 0
        if (taken.pipeline, taken.model) == need and taken.for_ms > overrun_ms:
            yield taken.at_ms + overrun_ms, taken.at_ms + taken.for_ms, taken.slots * speed


def _union(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begins, ends in sorted(spans):
        if joined and begins <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(ends, joined[-1][1]))
        else:
            joined.append((begins, ends))
    return joined


# The plan


class Slots(Struct):
    """Slots that are alike: their speed, when each is free (a heap), and when none of them may run."""

    speed: float
    free: list[int]
    away: list[tuple[int, int]]

    def ends(self, arrival: Arrival) -> int:
        """When a job would end here."""
        run_ms = max(1, round(arrival.work_ms / self.speed))
        begins = max(self.free[0], arrival.at_ms)
        for gone, back in self.away:
            if begins < back and begins + run_ms > gone:
                begins = back
        return begins + run_ms


def plan(arrivals: Iterable[Arrival], fleet: Fleet, need: Need) -> int:
    """How many jobs end in time if each, in order, goes where it ends first, or nowhere if that is too late."""
    classes = _slots(fleet, need)
    served = 0
    for arrival in arrivals if classes else ():
        chosen = min(classes, key=lambda slots: slots.ends(arrival))
        ends = chosen.ends(arrival)
        if ends <= arrival.at_ms + arrival.deadline_ms:
            heapreplace(chosen.free, ends)
            served += 1
    return served


def _slots(fleet: Fleet, need: Need) -> list[Slots]:
    steady: dict[float, list[int]] = {}
    classes: list[Slots] = []
    for operator in fleet.orchestrators:
        count = operator.slots(need)
        gone = [(t.at_ms, t.at_ms + t.for_ms) for t in operator.troubles if not _harmless(t)]
        taken = [t for t in operator.taken if (t.pipeline, t.model) == need]
        if not gone and not taken:
            steady.setdefault(operator.speed, []).extend([0] * count)
            continue
        for slot in range(count):
            held = [(t.at_ms, t.at_ms + t.for_ms) for t in taken if slot < t.slots]
            classes.append(Slots(operator.speed, [0], _union(gone + held)))
    for free in steady.values():
        heapify(free)
    return classes + [Slots(speed, free, []) for speed, free in steady.items()]


def _harmless(trouble: Trouble) -> bool:
    return trouble.kind == "slow" and trouble.factor <= 1
