"""Small loads that tests share."""

from __future__ import annotations

from typing import Any

from shoal.sim.load.contenders import contender
from shoal.sim.load.street import run
from shoal.sim.load.trace import Arrival, Ended, Fleet, Operator, Trace, Trouble, TroubleKind, Ware

NEED = ("image-to-video", "model")


def operator(name: str, *, slots: int = 1, speed: float = 1.0, stake: int = 1, **rest: Any) -> Operator:
    """One operator with one worker."""
    ware = Ware(pipeline=NEED[0], model=NEED[1], slots=slots, wei=10)
    return Operator(name=name, wares=(ware,), speed=speed, stake=stake, **rest)


def arrival(at_ms: int, work_ms: int, deadline_ms: int = 600_000, tenant: str = "t") -> Arrival:
    """One job."""
    return Arrival(
        at_ms=at_ms,
        pipeline=NEED[0],
        model=NEED[1],
        work_ms=work_ms,
        deadline_ms=deadline_ms,
        tenant=tenant,
    )


def trace(operators: tuple[Operator, ...], arrivals: tuple[Arrival, ...]) -> Trace:
    """These jobs for these operators."""
    return Trace(name="small", fleet=Fleet(orchestrators=operators), arrivals=arrivals)


def fate(policy: str, operators: tuple[Operator, ...], arrivals: tuple[Arrival, ...]) -> list[Ended]:
    """What becomes of these jobs."""
    load = trace(operators, arrivals)
    return list(run(load, contender(policy, load)).ended)


def broken(kind: TroubleKind, at_ms: int = 0, for_ms: int = 3_600_000) -> tuple[Trouble, ...]:
    """One thing that goes wrong."""
    return (Trouble(kind=kind, at_ms=at_ms, for_ms=for_ms),)
