"""A fleet as real processes: runners sleep at their operators' speeds, and the simulator is held against them."""

from __future__ import annotations

from pathlib import Path

import uvloop
from benchmarks.agreement import Calm, Pace, Pair, Plan, drive, simulated, verdict
from benchmarks.town import Town

from running import until
from shoal.cli.mix import echoed
from shoal.policy.presets import DEFAULT
from shoal.sim.load.arrivals import Kind
from shoal.sim.load.figures import figures_of
from shoal.sim.load.stream import stream
from shoal.sim.load.trace import Fleet, Operator, Trace, Ware

VIDEOS = Kind(pipeline="image-to-video", model="m", deadline_ms=60_000, work_min_ms=200, work_max_ms=200)


def trace() -> Trace:
    """A slow operator and one that is four times as quick, at half load."""
    wares = (Ware(pipeline=VIDEOS.pipeline, model=VIDEOS.model, wei=100),)
    fleet = Fleet(
        orchestrators=(Operator(name="slow", wares=wares), Operator(name="quick", wares=wares, speed=4.0))
    )
    return echoed(Trace(name="two", fleet=fleet, arrivals=stream([VIDEOS], ["a"], per_s=12, seconds=3)))


def test_runners_sleep_as_the_trace_says_and_nobody_stays(tmp_path: Path) -> None:
    asked = trace()
    with Town(asked, DEFAULT, tmp_path) as town:
        ended, late_ms = uvloop.run(drive(town.url, asked))
        names = {job.orchestrator: town.names[job.orchestrator] for job in ended}
    until(lambda: not town.crew.pids(), "every process is gone")
    assert len(ended) == len(asked.arrivals)
    assert all(job.done for job in ended)
    for job in ended:
        assert job.run_ms >= (200 if names[job.orchestrator] == "slow" else 50)
    virtual = [figures_of(asked, simulated(asked, DEFAULT, Pace(1, 2), noise)) for noise in range(2)]
    pair = Pair(0, figures_of(asked, ended), tuple(virtual), late_ms, 0.0)
    told = verdict("load-test", Plan(rate=1, scale=0.5), DEFAULT, Calm(5.0, 5.0, Pace(1, 2)), [pair, pair])
    assert "| 100.0%, 100.0% |" in told
    assert f"real {pair.real.queue_mean_ms / 500:.2f} s; simulated {pair.simulated_ms / 500:.2f} s" in told
