"""When jobs come: open loops, drawn from one seed. Nobody waits for an answer before asking again.

A stream of times is drawn first, then what comes at each; so two loads of one
seed that differ in their rate alone bring the same jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from random import Random

from shoal.machine import Value
from shoal.sim.load.trace import Arrival
from shoal.units import SECOND_MS


class Kind(Value, frozen=True, kw_only=True):
    """Jobs of one kind: what they need, how long they take, until when they are of use."""

    pipeline: str
    model: str
    deadline_ms: int
    #: The work is drawn evenly between these; or exponentially with `work_mean_ms`, if that is given.
    work_min_ms: int = 1
    work_max_ms: int = 1
    work_mean_ms: int = 0
    units: int = 1
    #: How often it comes, beside the other kinds.
    weight: float = 1.0
    priority: str = "normal"

    def work_ms(self, rng: Random) -> int:
        """One job's work."""
        if self.work_mean_ms:
            return 1 + int(rng.expovariate(1 / self.work_mean_ms))
        return rng.randint(self.work_min_ms, self.work_max_ms)

    @property
    def mean_ms(self) -> float:
        """The mean work of a job."""
        return self.work_mean_ms or (self.work_min_ms + self.work_max_ms) / 2


def poisson(rng: Random, per_s: float) -> Iterator[float]:
    """Independent arrivals: times in seconds, for ever."""
    at_s = 0.0
    while True:
        at_s += rng.expovariate(per_s)
        yield at_s


def bursts(rng: Random, per_s: float, *, on_s: float, off_s: float, quiet: float = 0.0) -> Iterator[float]:
    """A Poisson stream whose rate switches between two by lot (MMPP); `per_s` is its mean rate.

    Loud spells last `on_s` on average, quiet ones `off_s`; in those the rate is `quiet` times the loud one.
    """
    loud = per_s * (on_s + off_s) / (on_s + quiet * off_s)
    at_s, is_loud = 0.0, rng.random() < on_s / (on_s + off_s)
    while True:
        until_s = at_s + rng.expovariate(1 / (on_s if is_loud else off_s))
        rate = loud if is_loud else quiet * loud
        while rate:
            at_s += rng.expovariate(rate)
            if at_s > until_s:
                break
            yield at_s
        at_s, is_loud = until_s, not is_loud


def crowd(rng: Random, per_s: float, *, from_s: float, for_s: float, times: float) -> Iterator[float]:
    """A Poisson stream that is `times` as strong for a while: a flash crowd."""
    most = per_s * max(1.0, times)
    for at_s in poisson(rng, most):
        rate = per_s * (times if from_s <= at_s < from_s + for_s else 1.0)
        if rng.random() * most < rate:
            yield at_s


def replay(at_s: Sequence[float], speed: float = 1.0) -> Iterator[float]:
    """The times of a recorded stream, so many times as fast."""
    for at in sorted(at_s):
        yield at / speed


def draw(
    times: Iterator[float],
    kinds: Sequence[Kind],
    tenants: Sequence[str],
    rng: Random,
    *,
    jobs: int | None = None,
    until_ms: int | None = None,
    sessions: int = 0,
) -> tuple[Arrival, ...]:
    """A job at each of these times, until there are so many or the time is over.

    Each is of a kind by the kinds' weights, of any of the tenants, and of one of `sessions` sessions of its.
    """
    weights = [kind.weight for kind in kinds]
    if until_ms is not None:
        end_s = until_ms / SECOND_MS
        times = takewhile(lambda at_s: at_s < end_s, times)
    found = []
    for at_s in islice(times, jobs):
        kind = rng.choices(kinds, weights)[0]
        tenant = rng.choice(tenants)
        session = f"{tenant}/{rng.randrange(sessions)}" if sessions else ""
        found.append(
            Arrival(
                at_ms=int(at_s * SECOND_MS),
                pipeline=kind.pipeline,
                model=kind.model,
                tenant=tenant,
                work_ms=kind.work_ms(rng),
                units=kind.units,
                deadline_ms=kind.deadline_ms,
                session=session,
                priority=kind.priority,
            )
        )
    return tuple(found)


def merge(*streams: Sequence[Arrival]) -> tuple[Arrival, ...]:
    """Several streams as one."""
    return tuple(sorted((arrival for stream in streams for arrival in stream), key=_at))


def _at(arrival: Arrival) -> int:
    return arrival.at_ms
