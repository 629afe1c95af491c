"""Every contender on every scenario from the same seeds: the rounds, in as many processes as there are cores.

A round is one contender on one trace. Rounds do not know each other, so that
their order and the number of processes change nothing but the time they take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import Pool

from msgspec import json

from shoal.machine import Value
from shoal.sim.load.contenders import contender
from shoal.sim.load.figures import Figures, figures, figures_of, mean
from shoal.sim.load.oracle import Best, best
from shoal.sim.load.scenarios import scenario
from shoal.sim.load.street import Report, run
from shoal.sim.load.trace import Trace


class Task(Value, frozen=True):
    """One round: who is put to what."""

    scenario: str
    rate: float
    seed: int
    policy: str


class Round(Value, frozen=True, kw_only=True):
    """What came of it."""

    task: Task
    figures: Figures
    #: The same for each pipeline alone, where a scenario has several.
    pipelines: dict[str, Figures]
    #: What an oracle could have done with the same trace, in all and for each pipeline.
    best: Best
    best_of: dict[str, Best]
    virtual_ms: int


@lru_cache(maxsize=2)
def trace_of(name: str, rate: float, seed: int) -> Trace:
    """A scenario's trace."""
    return scenario(name).make(seed, rate)


@lru_cache(maxsize=2)
def bests_of(name: str, rate: float, seed: int) -> tuple[Best, dict[str, Best]]:
    """What an oracle makes of it."""
    trace = trace_of(name, rate, seed)
    pipelines = dict.fromkeys(arrival.pipeline for arrival in trace.arrivals)
    return best(trace), {pipeline: best(trace, pipeline) for pipeline in pipelines}


def play(task: Task) -> Round:
    """Put a contender to a trace."""
    trace = trace_of(task.scenario, task.rate, task.seed)
    report = run(trace, contender(task.policy, trace))
    whole, parts = bests_of(task.scenario, task.rate, task.seed)
    return Round(
        task=task,
        figures=figures_of(trace, report.ended),
        pipelines=_by_pipeline(trace, report) if len(parts) > 1 else {},
        best=whole,
        best_of=parts if len(parts) > 1 else {},
        virtual_ms=report.virtual_ms,
    )


def _by_pipeline(trace: Trace, report: Report) -> dict[str, Figures]:
    ended = report.ended
    return {
        pipeline: figures([job for job in ended if job.pipeline == pipeline], trace.from_ms, trace.end_ms)
        for pipeline in dict.fromkeys(job.pipeline for job in ended)
    }


# Many rounds


def tasks(
    names: Iterable[str],
    policies: Sequence[str],
    seeds: Sequence[int],
    rates: Sequence[float] = (),
) -> list[Task]:
    """Every round of these, those of one trace together."""
    found = []
    for name in names:
        its = scenario(name)
        for rate in rates or its.rates:
            for seed in seeds[: its.seeds_max or None]:
                found += [Task(name, rate, seed, policy) for policy in policies]
    return found


def play_all(
    todo: Sequence[Task], processes: int, heard: Callable[[Round], None] | None = None
) -> list[Round]:
    """Every round, in the order in which they were asked for; `heard` is told each as it ends."""
    rounds: dict[Task, Round] = {}
    with _mapping(processes) as mapped:
        for round_ in mapped(play, todo):
            rounds[round_.task] = round_
            if heard is not None:
                heard(round_)
    return [rounds[task] for task in todo]


@contextmanager
def _mapping(processes: int) -> Iterator[Callable[..., Iterable[Round]]]:
    if processes <= 1:
        yield map
        return
    with Pool(processes) as pool:
        yield pool.imap_unordered


# Where a reported failure lies


class Mark(Value, frozen=True, kw_only=True):
    """The rate at which a contender fails as often as was reported."""

    scenario: str
    policy: str
    pipeline: str
    reported: float
    #: None if it fails less often at every rate that was tried.
    rate: float | None
    #: How often it fails at that rate in these runs.
    failed: float = 0.0


#: Livepeer's own figures of its early algorithm: how many of these went to a fallback.
REPORTED: tuple[Mark, ...] = (
    Mark(scenario="load-test", policy="livepeer-early", pipeline="image-to-video", reported=0.69, rate=None),
    Mark(scenario="event", policy="livepeer-early", pipeline="image-to-video", reported=37 / 119, rate=None),
    Mark(scenario="event", policy="livepeer-early", pipeline="text-to-image", reported=24 / 192, rate=None),
)
#: The greatest rate that is tried, as a multiple of the greatest of the scenario's own.
RATE_FACTOR = 4
HALVINGS = 8


def mark(wanted: Mark, seeds: Sequence[int]) -> Mark:
    """Find the rate, by halving: the mean over these seeds grows with the rate, but for chance."""

    def failed(rate: float) -> float:
        return mean([_failed(wanted, rate, seed) for seed in seeds])

    low, high = 0.0, float(max(scenario(wanted.scenario).rates)) * RATE_FACTOR
    if failed(high) < wanted.reported:
        return wanted
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if failed(middle) < wanted.reported else (low, middle)
    rate = float(f"{high:.2g}")
    return Mark(
        scenario=wanted.scenario,
        policy=wanted.policy,
        pipeline=wanted.pipeline,
        reported=wanted.reported,
        rate=rate,
        failed=failed(rate),
    )


@lru_cache(maxsize=1_000)
def _failed(wanted: Mark, rate: float, seed: int) -> float:
    trace = trace_of(wanted.scenario, rate, seed)
    report = run(trace, contender(wanted.policy, trace))
    return _by_pipeline(trace, report)[wanted.pipeline].failure_share


# Files


def round_lines(rounds: Iterable[Round]) -> Iterator[bytes]:
    """Rounds as JSON lines."""
    for round_ in rounds:
        yield json.encode(round_) + b"\n"


def read_rounds(lines: Iterable[bytes]) -> list[Round]:
    """What `round_lines` wrote."""
    return [json.decode(line, type=Round) for line in lines if line.strip()]


def csv_lines(rounds: Iterable[Round]) -> Iterator[str]:
    """Rounds as CSV: one line a round, and one for each pipeline of it."""
    names = Figures.__struct_fields__
    yield ",".join(
        ("scenario", "rate", "seed", "policy", "pipeline", *names, "oracle_most", "oracle_planned")
    )
    for round_ in rounds:
        task = round_.task
        for pipeline, its, oracle in (
            ("", round_.figures, round_.best),
            *((name, its, round_.best_of[name]) for name, its in round_.pipelines.items()),
        ):
            values = [f"{getattr(its, name):.6g}" for name in names]
            cells = [task.scenario, f"{task.rate:.6g}", str(task.seed), task.policy, pipeline, *values]
            yield ",".join((*cells, f"{oracle.most_share:.6g}", f"{oracle.planned_share:.6g}"))
