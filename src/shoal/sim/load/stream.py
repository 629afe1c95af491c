"""The load that flags describe: one of a few shapes in time, drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from random import Random
from typing import Literal

from shoal.errors import Refused
from shoal.sim.load.arrivals import Kind, bursts, crowd, draw, poisson
from shoal.sim.load.trace import Arrival
from shoal.units import SECOND_MS

#: `poisson`: each whenever it likes. `even`: one after the other. `bursts`: loud and quiet spells by lot.
#: `crowd`: many at once, in the second third of the time.
Shape = Literal["poisson", "even", "bursts", "crowd"]
SHAPES: tuple[Shape, ...] = ("poisson", "even", "bursts", "crowd")
ARRIVALS_MAX = 1_000_000
#: How long loud and quiet spells last on average, and how strong a crowd is beside the time before it.
LOUD_S, QUIET_S = 1.0, 4.0
CROWD_TIMES = 5.0


def stream(
    kinds: Sequence[Kind],
    tenants: Sequence[str],
    *,
    per_s: float,
    seconds: float,
    shape: Shape = "poisson",
    seed: int = 0,
) -> tuple[Arrival, ...]:
    """So many requests a second for so long; a crowd comes on top. Raises `Refused` for nothing, or too much."""
    if per_s <= 0 or seconds <= 0 or not kinds or not tenants:
        raise Refused("a load has a rate, a duration, a pipeline and a tenant; the first two are above 0")
    if per_s * seconds > ARRIVALS_MAX:
        raise Refused(f"{per_s:g}/s for {seconds:g} s are more than {ARRIVALS_MAX:,} requests")
    rng = Random(f"stream {seed}")
    return draw(
        _moments(rng, per_s, seconds, shape), kinds, tenants, rng, until_ms=round(seconds * SECOND_MS)
    )


def _moments(rng: Random, per_s: float, seconds: float, shape: Shape) -> Iterator[float]:
    match shape:
        case "poisson":
            return poisson(rng, per_s)
        case "even":
            return (number / per_s for number in count())
        case "bursts":
            return bursts(rng, per_s, on_s=LOUD_S, off_s=QUIET_S)
        case "crowd":
            return crowd(rng, per_s, from_s=seconds / 3, for_s=seconds / 3, times=CROWD_TIMES)
