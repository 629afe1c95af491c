"""Requests drawn from a seed: when they come, what each asks for, and for whom.

The same seed gives the same stream. Moments are drawn before anything else, so that two mixes at the same rate
are asked for at the same moments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Literal

from shoal.errors import Refused
from shoal.machine import Value
from shoal.sim.load.trace import Arrival
from shoal.units import SECOND_MS

#: `poisson`: whenever they like. `even`: one after the other. `bursts`: so many at once, bursts as in `poisson`.
Shape = Literal["poisson", "even", "bursts"]
SHAPES: tuple[Shape, ...] = ("poisson", "even", "bursts")
ARRIVALS_MAX = 1_000_000


class Kind(Value, frozen=True, kw_only=True):
    """A kind of request, and how often it comes beside the others."""

    pipeline: str
    model: str
    deadline_ms: int
    work_ms: int = 1
    weight: float = 1.0


def stream(
    kinds: Sequence[Kind],
    tenants: Mapping[str, float],
    *,
    per_s: float,
    seconds: float,
    shape: Shape = "poisson",
    burst: int = 10,
    seed: int = 0,
) -> tuple[Arrival, ...]:
    """So many requests a second on average, for so long. Raises `Refused` for what comes to nothing, or too much."""
    if per_s <= 0 or seconds <= 0 or burst < 1 or not kinds or not tenants:
        raise Refused("a load has a rate, a duration, a burst, a pipeline and a tenant, all of them above 0")
    if per_s * seconds > ARRIVALS_MAX:
        raise Refused(f"{per_s:g}/s for {seconds:g} s are more than {ARRIVALS_MAX:,} requests")
    rng = Random(seed)
    moments = sorted(_moments(rng, per_s, round(seconds * SECOND_MS), shape, burst))
    asked = rng.choices(kinds, [kind.weight for kind in kinds], k=len(moments))
    askers = rng.choices(list(tenants), list(tenants.values()), k=len(moments))
    return tuple(
        Arrival(
            at_ms=at_ms,
            pipeline=kind.pipeline,
            model=kind.model,
            tenant=tenant,
            work_ms=kind.work_ms,
            deadline_ms=kind.deadline_ms,
        )
        for at_ms, kind, tenant in zip(moments, asked, askers, strict=True)
    )


def _moments(rng: Random, per_s: float, end_ms: int, shape: Shape, burst: int) -> Iterator[int]:
    at_once = burst if shape == "bursts" else 1
    gap_ms = SECOND_MS / per_s * at_once
    at_ms = 0.0 if shape == "even" else rng.expovariate(1 / gap_ms)
    while at_ms < end_ms:
        for _ in range(at_once):
            yield int(at_ms)
        at_ms += gap_ms if shape == "even" else rng.expovariate(1 / gap_ms)
