"""Whether the simulator tells the truth: the same traces in virtual time and on real processes, time scaled.

`python -m benchmarks.agreement [SCENARIO ...]` starts the fleet of each trace anew, with runners that sleep,
sends the trace to it over HTTP, and compares how long jobs waited with what the simulator says. Prints markdown;
with `--record` it goes into `benchmarks/README.md`, and every trace's figures into `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import msgspec
import uvloop
from msgspec.structs import replace

from benchmarks.look import Look
from benchmarks.report import machine, table, write_block
from benchmarks.samples import append
from benchmarks.town import Town
from shoal.cli.driver import Driver, Rules, Tally
from shoal.cli.lines import Lines
from shoal.cli.mix import Writer, echoed
from shoal.policy.presets import DEFAULT
from shoal.sim.load.contenders import contender
from shoal.sim.load.figures import Figures, Interval, figures_of, interval, paired, quantile, student_t
from shoal.sim.load.scenarios import scenario
from shoal.sim.load.street import Street
from shoal.sim.load.trace import Arrival, Ended, Fleet, Trace
from shoal.units import SECOND_MS

LINES_MAX = 1_000
#: The calm before each comparison: so many jobs, one after the other, this far apart and this long.
PROBES, PROBE_EVERY_MS, PROBE_WORK_MS = 40, 120, 60
#: So different are the seeds of a trace's noise.
NOISE_STEP = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How a scenario is run for real."""

    #: Of the scenario's own rate.
    rate: float
    #: Real time for scenario time. Small enough to be bearable, and large enough for words and commits to be
    #: little beside the work: they take part of every slot, and close to saturation a little is much.
    scale: float
    #: Only so many of its first jobs, 0 for all; a tenth of them warms it up.
    jobs: int = 0


#: Loads at which jobs wait, but not for ever.
PLANS = {
    "load-test": Plan(rate=3, scale=1 / 40),
    "event": Plan(rate=3, scale=1 / 40),
    "uneven": Plan(rate=0.8, scale=1 / 10, jobs=800),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """One trace, both ways. Times are those of the scaled trace."""

    seed: int
    real: Figures
    #: In virtual time, once for each seed of its noise.
    simulated: tuple[Figures, ...]
    late_p99_ms: float
    foreign_cores: float

    @property
    def simulated_ms(self) -> float:
        return mean(figures.queue_mean_ms for figures in self.simulated)

    @property
    def spread(self) -> Interval:
        """Where one more run of this trace would lie, with 95 % confidence, if noise were all that differs."""
        values = [figures.queue_mean_ms for figures in self.simulated]
        half = student_t(0.95, len(values) - 1) * stdev(values) * sqrt(1 + 1 / len(values))
        return Interval(mean(values), mean(values) - half, mean(values) + half, len(values))


@dataclass(frozen=True, slots=True)
class Pace:
    """How quick the simulated network and its disks are, in milliseconds: a word's mean delay, a commit's longest."""

    delay_ms: int
    commit_max_ms: int


#: Among these the one is chosen that makes the simulator's calm like the real one.
PACES = [Pace(delay_ms, commit_ms) for delay_ms in range(6) for commit_ms in range(9)]


@dataclass(frozen=True, slots=True)
class Calm:
    """What a job costs beside its work where nothing waits: for real, and at the chosen pace in the simulator."""

    real_ms: float
    simulated_ms: float
    pace: Pace


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# For real


def real(trace: Trace, policy: str) -> tuple[list[Ended], float, float]:
    """What became of each job on real processes, how late the client was, and how busy strangers were."""
    with (
        tempfile.TemporaryDirectory(prefix="town-", ignore_cleanup_errors=True) as folder,
        Town(trace, policy, Path(folder)) as town,
    ):
        before = Look.now()
        ended, late_ms = uvloop.run(drive(town.url, trace))
        used = Look.now().since(before, crew=town.crew.pids(), ours=[os.getpid()])
        named = [replace(job, orchestrator=town.names.get(job.orchestrator, "")) for job in ended]
    return named, late_ms, used.foreign_ns / used.wall_ns


async def drive(url: str, trace: Trace) -> tuple[list[Ended], float]:
    tally = Tally(len(trace.arrivals))
    lines = Lines(url, lines_max=LINES_MAX)
    driver = Driver(lines, Writer(run=f"agree-{trace.seed}"), tally, Rules(lines_max=LINES_MAX))
    await driver.drive(trace.arrivals, asyncio.Event())
    return driver.ended, quantile(sorted(tally.late_ms), 0.99)


# In virtual time


def simulated(trace: Trace, policy: str, pace: Pace, noise: int) -> list[Ended]:
    """What the simulator says at this pace, with this luck."""
    drawn = replace(trace, seed=trace.seed + NOISE_STEP * noise)
    street = Street(drawn, contender(policy, drawn))
    street.network.weather.delay_min_ms = 0
    street.network.weather.delay_mean_ms = pace.delay_ms
    hands = [worker for workers in street.hands.values() for worker in workers]
    for node in (street.gateway, *street.stalls.values(), *hands):
        node.journal.commit_max_ms = pace.commit_max_ms
    return street.run()


# The calm


def calm(fleet: Fleet, policy: str) -> Calm:
    """Choose the simulator's pace by jobs that meet nobody, before anything is compared."""
    pipeline, model = fleet.needs()[0]
    arrivals = tuple(
        Arrival(
            at_ms=number * PROBE_EVERY_MS,
            pipeline=pipeline,
            model=model,
            work_ms=PROBE_WORK_MS,
            deadline_ms=30 * SECOND_MS,
        )
        for number in range(PROBES)
    )
    probe = Trace(name="calm", fleet=fleet, arrivals=arrivals)
    found = beside_work(probe, real(probe, policy)[0])
    tried = {pace: beside_work(probe, simulated(probe, policy, pace, 0)) for pace in PACES}
    pace = min(tried, key=lambda one: abs(tried[one] - found))
    return Calm(found, tried[pace], pace)


def beside_work(trace: Trace, ended: Sequence[Ended]) -> float:
    """The time of a job beside waiting and working: words on their way, commits, turns of the loops."""
    operators = {operator.name: operator for operator in trace.fleet.orchestrators}
    found = [
        job.total_ms - job.queue_ms - operators[job.orchestrator].run_ms(job.work_ms)
        for job in ended
        if job.done
    ]
    if len(found) < len(ended):
        raise RuntimeError(f"{len(ended) - len(found)} of {len(ended)} jobs failed in the calm")
    return mean(found)


# Side by side


def made_for(name: str, plan: Plan, seed: int) -> Trace:
    """The scenario's trace, as it is run."""
    trace = scenario(name).make(seed, plan.rate)
    if plan.jobs:
        first = trace.arrivals[: plan.jobs]
        trace = replace(trace, arrivals=first, from_ms=first[len(first) // 10].at_ms, until_ms=0)
    return echoed(trace.scaled(plan.scale))


def compare(
    name: str, plan: Plan, policy: str, *, seeds: Sequence[int], noise: int
) -> tuple[Calm, list[Pair]]:
    """Every trace both ways."""
    made = [made_for(name, plan, seed) for seed in seeds]
    quiet = calm(made[0].fleet, policy)
    say(
        f"{name}: a job takes {quiet.real_ms:.1f} ms beside its work; "
        f"{quiet.simulated_ms:.1f} in the simulator, at {quiet.pace}"
    )
    pairs = []
    for trace in made:
        ended, late_ms, foreign = real(trace, policy)
        figures = figures_of(trace, ended)
        virtual = [figures_of(trace, simulated(trace, policy, quiet.pace, number)) for number in range(noise)]
        pair = Pair(trace.seed, figures, tuple(virtual), late_ms, foreign)
        pairs.append(pair)
        say(
            f"{name} {trace.seed}: waited {figures.queue_mean_ms:.1f} ms for real, "
            f"{pair.spread.low:.1f} to {pair.spread.high:.1f} simulated; strangers {foreign:.2f} cores"
        )
    return quiet, pairs


def verdict(name: str, plan: Plan, policy: str, quiet: Calm, pairs: Sequence[Pair]) -> str:
    """The comparison in markdown, in the scenario's own time."""

    def own_s(value_ms: float) -> str:
        return f"{value_ms / plan.scale / SECOND_MS:.2f}"

    def own(found: Interval) -> str:
        return f"{own_s(found.low)} to {own_s(found.high)}"

    head = (
        "trace",
        "real s",
        "simulated s",
        "one run, 95 %",
        "inside",
        "answered real, simulated",
        "strangers",
    )
    rows = [
        (
            str(pair.seed),
            own_s(pair.real.queue_mean_ms),
            own_s(pair.simulated_ms),
            own(pair.spread),
            "yes" if pair.real.queue_mean_ms in pair.spread else "no",
            f"{pair.real.success_share:.1%}, {mean(f.success_share for f in pair.simulated):.1%}",
            f"{pair.foreign_cores:.2f}",
        )
        for pair in pairs
    ]
    real_ms = [pair.real.queue_mean_ms for pair in pairs]
    over = interval([pair.simulated_ms for pair in pairs])
    apart = paired(real_ms, [pair.simulated_ms for pair in pairs])
    inside = sum(pair.real.queue_mean_ms in pair.spread for pair in pairs)
    lines = [
        (
            f"**{scenario(name).title}** at rate {plan.rate:g} ({scenario(name).rate_unit}), policy {policy}, "
            f"{f'the first {plan.jobs} jobs of each trace, ' if plan.jobs else ''}"
            f"time scaled 1:{1 / plan.scale:g}; the times below are the scenario's own. In the calm a job takes "
            f"{quiet.real_ms:.1f} ms of real time beside its work, and {quiet.simulated_ms:.1f} ms in the simulator "
            f"(words take {quiet.pace.delay_ms} ms on average, commits up to {quiet.pace.commit_max_ms})."
        ),
        table(head, rows),
        (
            f"Mean wait over {len(pairs)} traces: real {own_s(mean(real_ms))} s; simulated {own_s(over.mean)} s, "
            f"95 % interval {own(over)}: the real mean is **{'inside' if mean(real_ms) in over else 'outside'}**. "
            f"Real less simulated, trace by trace: {own_s(apart.mean)} s, 95 % interval {own(apart)}. "
            f"{inside} of {len(pairs)} traces lie where one more simulated run would."
        ),
    ]
    return "\n\n".join(lines)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.agreement", description=__doc__)
    parser.add_argument("scenarios", nargs="*", default=["load-test", "uneven"], metavar="SCENARIO")
    parser.add_argument("--traces", type=int, default=10, metavar="N", help="seeds (%(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first of them (%(default)s)")
    parser.add_argument(
        "--noise", type=int, default=6, metavar="N", help="simulated runs of each (%(default)s)"
    )
    parser.add_argument("--scale", type=float, default=0, metavar="X", help="real time for the scenario's")
    parser.add_argument("--rate", type=float, default=0, metavar="X", help="as the scenario counts it")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="only the first of each trace")
    parser.add_argument("--policy", default=DEFAULT, metavar="NAME", help="(%(default)s)")
    parser.add_argument("--record", action="store_true", help="write the tables into benchmarks/README.md")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    # Told to end, we still end every process that we started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    asked = arguments(argv)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts = [f"{at}; {machine()}."]
    for name in asked.scenarios:
        usual = PLANS[name]
        plan = Plan(asked.rate or usual.rate, asked.scale or usual.scale, asked.jobs or usual.jobs)
        seeds = range(asked.first, asked.first + asked.traces)
        quiet, pairs = compare(name, plan, asked.policy, seeds=seeds, noise=asked.noise)
        append("agreement", [{"run": at, "scenario": name, **msgspec.to_builtins(pair)} for pair in pairs])
        parts.append(verdict(name, plan, asked.policy, quiet, pairs))
    text = "\n\n".join(parts)
    print(text)
    if asked.record:
        write_block("agreement", text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
