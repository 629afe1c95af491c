"""A trace is written, read, and stretched without losing anything."""

from __future__ import annotations

import pytest

from shoal.errors import Refused
from shoal.sim.load.trace import (
    Arrival,
    Fleet,
    Operator,
    Taken,
    Trace,
    Trouble,
    Ware,
    read_trace,
    trace_lines,
)

NEED = ("image-to-video", "org/model")


def trace() -> Trace:
    operator = Operator(
        name="o0",
        workers=2,
        speed=2.0,
        wares=(Ware(pipeline=NEED[0], model=NEED[1], slots=3, wei=7, cold_ms=100),),
        taken=(Taken(at_ms=5, for_ms=10, pipeline=NEED[0], model=NEED[1]),),
        troubles=(Trouble(kind="slow", at_ms=1, for_ms=2, factor=3.0),),
    )
    arrivals = tuple(
        Arrival(at_ms=at_ms, pipeline=NEED[0], model=NEED[1], work_ms=600, deadline_ms=5_000)
        for at_ms in (0, 100, 999)
    )
    return Trace(
        name="small", source="made up", seed=3, fleet=Fleet(orchestrators=(operator,)), arrivals=arrivals
    )


def test_a_trace_is_read_as_it_was_written() -> None:
    assert read_trace(trace_lines(trace())) == trace()


@pytest.mark.parametrize("lines", [[], [b"{}"], [*trace_lines(trace()), b'{"at_ms": "soon"}']])
def test_what_is_no_trace_is_refused(lines: list[bytes]) -> None:
    with pytest.raises(Refused):
        read_trace(lines)


def test_arrivals_may_stand_in_any_order() -> None:
    head, *arrivals = trace_lines(trace())
    assert read_trace([head, *reversed(arrivals)]) == trace()


def test_a_fleet_adds_up() -> None:
    fleet = trace().fleet
    assert fleet.needs() == (NEED,)
    assert fleet.slots(NEED) == 6
    assert fleet.speed(NEED) == 12.0
    assert fleet.slots(("llm", "none")) == 0
    assert trace().load(NEED) == pytest.approx(3 * 600 / (12 * 1_000))
    assert fleet.orchestrators[0].run_ms(600) == 300


def test_a_scaled_trace_is_the_same_load() -> None:
    tenth = trace().scaled(0.1)
    assert tenth.scale == 0.1
    assert tenth.arrivals[1].at_ms == 10
    assert tenth.arrivals[1].work_ms == 60
    assert tenth.arrivals[1].deadline_ms == 500
    assert tenth.fleet.orchestrators[0].wares[0].cold_ms == 10
    assert tenth.fleet.orchestrators[0].taken[0].for_ms == 1
    assert tenth.load(NEED) == pytest.approx(trace().load(NEED), rel=0.02)
