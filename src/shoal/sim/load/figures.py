"""From what became of each job to the figures of a run, and from many runs to intervals.

The same code reads simulated and real runs, so that they can be compared. A
quantile is the smallest value that at least so many of the values do not
exceed; an interval is Student's t over independent runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import atan, ceil, cos, inf, pi, sin, sqrt

from shoal.errors import Refused
from shoal.machine import Value
from shoal.sim.load.trace import Ended, Trace
from shoal.units import SECOND_MS

LEVEL = 0.95


class Figures(Value, frozen=True, kw_only=True):
    """What one run came to. Shares are 0 to 1, times in milliseconds."""

    #: Jobs that came while it was measured, and how many a second.
    jobs: int
    offered_per_s: float
    #: Of these: taken on, answered in time, taken on and not answered in time.
    accepted_share: float
    success_share: float
    broken_share: float
    #: Answers that came in time while it was measured, a second; and the work in them, in node-seconds a second.
    goodput_per_s: float
    goodput_work: float
    #: Of the jobs that were answered: from arrival to dispatch, and from arrival to the answer.
    queue_mean_ms: float
    queue_p50_ms: float
    queue_p95_ms: float
    queue_p99_ms: float
    total_mean_ms: float
    total_p50_ms: float
    total_p95_ms: float
    total_p99_ms: float
    #: Of all that were taken on, answered or not: from arrival to the end.
    admitted_p99_ms: float
    #: Between tenants: see `jain` and `fair_shares`.
    jain: float
    #: Of all orders: those that met a full orchestrator, and those that brought nothing for any cause.
    full_share: float
    wasted_share: float
    #: Orders beyond the first of each job, as a share of first orders.
    retry_share: float
    #: Of the jobs turned away: those told when to come again, and how long the word took.
    retry_after_share: float
    refused_p99_ms: float
    #: What an answered job cost, in wei.
    wei_mean: float

    @property
    def failure_share(self) -> float:
        """Jobs that were not answered in time, whatever the cause."""
        return 1.0 - self.success_share


#: Every figure by its name, in order.
NAMES: tuple[str, ...] = Figures.__struct_fields__


def figures(ended: Sequence[Ended], from_ms: int, until_ms: int) -> Figures:
    """The figures of the jobs that arrived in the window, `until_ms` not included."""
    jobs = [job for job in ended if from_ms <= job.at_ms < until_ms]
    window_s = max(1, until_ms - from_ms) / SECOND_MS
    accepted = [job for job in jobs if job.accepted]
    refused = [job for job in jobs if not job.accepted]
    done = [job for job in jobs if job.done]
    good = [job for job in ended if job.in_time and from_ms <= job.ended_ms < until_ms]
    queue = sorted(job.queue_ms for job in done)
    total = sorted(job.total_ms for job in done)
    orders = sum(job.attempts for job in jobs)
    first = sum(job.attempts > 0 for job in jobs)
    return Figures(
        jobs=len(jobs),
        offered_per_s=len(jobs) / window_s,
        accepted_share=share(len(accepted), len(jobs), 1.0),
        success_share=share(sum(job.in_time for job in jobs), len(jobs), 1.0),
        broken_share=share(sum(not job.in_time for job in accepted), len(accepted)),
        goodput_per_s=len(good) / window_s,
        goodput_work=sum(job.work_ms for job in good) / SECOND_MS / window_s,
        queue_mean_ms=mean(queue),
        queue_p50_ms=quantile(queue, 0.50),
        queue_p95_ms=quantile(queue, 0.95),
        queue_p99_ms=quantile(queue, 0.99),
        total_mean_ms=mean(total),
        total_p50_ms=quantile(total, 0.50),
        total_p95_ms=quantile(total, 0.95),
        total_p99_ms=quantile(total, 0.99),
        admitted_p99_ms=quantile(sorted(job.total_ms for job in accepted), 0.99),
        jain=fairness(jobs),
        full_share=share(sum(job.turned_away for job in jobs), orders),
        wasted_share=share(sum(job.wasted for job in jobs), orders),
        retry_share=share(orders - first, first),
        retry_after_share=share(sum(job.retry_after_ms > 0 for job in refused), len(refused), 1.0),
        refused_p99_ms=quantile(sorted(job.total_ms for job in refused), 0.99),
        wei_mean=mean([job.wei for job in done]),
    )


def figures_of(trace: Trace, ended: Sequence[Ended]) -> Figures:
    """The figures of a trace's run, over the window that the trace names."""
    return figures(ended, trace.from_ms, trace.end_ms)


def share(count: float, of: float, none: float = 0.0) -> float:
    """A part of a whole; `none` where there is no whole."""
    return count / of if of else none


def mean(values: Sequence[float]) -> float:
    """The mean, 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest of these (in order) that a share `q` of them does not exceed; 0 of nothing."""
    return float(ordered[max(0, ceil(q * len(ordered) - 1e-9) - 1)]) if ordered else 0.0


# Fairness


def jain(shares: Iterable[float]) -> float:
    """Jain's index: 1 if all have the same, 1/n if one has everything."""
    values = list(shares)
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def fair_shares(wanted: Mapping[str, float], total: float) -> dict[str, float]:
    """Who should get how much of `total`: as much as he wants, or as much as anybody (max-min fair)."""
    fair: dict[str, float] = {}
    left = total
    for count, (tenant, want) in enumerate(sorted(wanted.items(), key=lambda item: item[1])):
        fair[tenant] = min(want, left / (len(wanted) - count))
        left -= fair[tenant]
    return fair


def fairness(jobs: Iterable[Ended]) -> float:
    """Jain's index of what tenants got in time, each measured by the fair share of all that was served.

    Tenants who want the same are compared by what they got. One who wants little should get all of
    it; one who floods the network cannot claim more than its share, nor make others look favoured.
    """
    wanted: dict[str, float] = {}
    got: dict[str, float] = {}
    for job in jobs:
        wanted[job.tenant] = wanted.get(job.tenant, 0.0) + job.work_ms
        got[job.tenant] = got.get(job.tenant, 0.0) + (job.work_ms if job.in_time else 0)
    fair = fair_shares(wanted, sum(got.values()))
    return jain(got[tenant] / fair[tenant] for tenant in wanted if fair[tenant] > 0)


# Many runs


class Interval(Value, frozen=True):
    """A mean over runs, and where the true mean lies with 95 % confidence."""

    mean: float
    low: float
    high: float
    runs: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def half(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2


def interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's interval of the mean of independent values; unbounded for a single one."""
    n = len(values)
    if not n:
        raise Refused("there is no interval of no values: run at least one seed")
    centre = mean(values)
    if n == 1:
        return Interval(centre, -inf, inf, 1)
    deviation = sqrt(sum((value - centre) ** 2 for value in values) / (n - 1))
    half = student_t(level, n - 1) * deviation / sqrt(n)
    return Interval(centre, centre - half, centre + half, n)


def paired(ours: Sequence[float], theirs: Sequence[float], level: float = LEVEL) -> Interval:
    """The interval of the mean difference between runs of the same traces: `ours` less `theirs`."""
    if len(ours) != len(theirs):
        raise Refused(f"{len(ours)} runs cannot be paired with {len(theirs)}")
    return interval([mine - yours for mine, yours in zip(ours, theirs, strict=True)], level)


def intervals(runs: Sequence[Figures]) -> dict[str, Interval]:
    """Each figure's interval over the runs."""
    return {name: interval([float(getattr(run, name)) for run in runs]) for name in NAMES}


def student_t(level: float, freedom: int) -> float:
    """How many standard errors either side hold a share `level` of Student's t."""
    low, high = 0.0, 1.0
    while student_share(high, freedom) < level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_share(middle, freedom) < level else (low, middle)
    return high


def student_share(t: float, freedom: int) -> float:
    """The share of Student's t within `t` of 0: the finite sums for whole degrees of freedom."""
    angle = atan(t / sqrt(freedom))
    odd = freedom % 2
    term = cos(angle) if odd else 1.0
    total = 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cos(angle) ** 2 * k / (k + 1)
    if odd:
        return 2 / pi * (angle + sin(angle) * total)
    return sin(angle) * total
