"""Simulated rounds on one page of HTML: for each scenario its sweep, its contenders side by side, and a few in full.

A round keeps no job of its own; those that are shown in full are played once more, and come to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from shoal.cli.paper import Chapter, pages
from shoal.cli.plots import Sweep
from shoal.cli.report import Run, Table
from shoal.policy.presets import DEFAULT
from shoal.sim.load import street
from shoal.sim.load.contenders import contender
from shoal.sim.load.figures import Figures, Interval, interval
from shoal.sim.load.runs import Mark, Round, trace_of
from shoal.sim.load.scenarios import Scenario, scenario

#: Who is shown in full, where they ran.
SHOWN = (DEFAULT, "livepeer-early", "livepeer-stake", "bound-random")
#: A load with more jobs is compared, but not shown in full.
SHOWN_JOBS_MAX = 5_000
BOUND = "nobody serves more"

Read = Callable[[Figures], float]


def page(rounds: Sequence[Round], marks: Sequence[Mark] = ()) -> str:
    """Every scenario's chapter."""
    names = dict.fromkeys(one.task.scenario for one in rounds)
    chapters = [_chapter([one for one in rounds if one.task.scenario == name], marks) for name in names]
    return pages("Load in virtual time", chapters)


def _chapter(rounds: Sequence[Round], marks: Sequence[Mark]) -> Chapter:
    its = scenario(rounds[0].task.scenario)
    rates = sorted({one.task.rate for one in rounds})
    marked = [mark for mark in marks if mark.scenario == its.name and mark.rate is not None]
    # Everybody was put to the rates of reported failures, or else to the last.
    told = sorted({mark.rate for mark in marked if mark.rate is not None}) or rates[-1:]
    return Chapter(
        title=its.title,
        note=f"{its.source[:1].upper()}{its.source[1:]}. {its.reading}",
        sweeps=tuple(_sweeps(its, rounds, marked)) if len(rates) > 1 else (),
        tables=tuple(_table(its, [one for one in rounds if one.task.rate == rate], rate) for rate in told),
        runs=tuple(_played([one for one in rounds if one.task.rate == told[-1]])),
    )


def _sweeps(its: Scenario, rounds: Sequence[Round], marks: Sequence[Mark]) -> Iterator[Sweep]:
    pipelines = list(rounds[0].pipelines) or [""]
    for pipeline in pipelines:
        about = f" ({pipeline})" if pipeline else ""
        reported = [mark for mark in marks if mark.pipeline == pipeline]
        yield _sweep(
            its,
            rounds,
            pipeline,
            f"Answered in time{about}",
            lambda said: said.success_share,
            marks=tuple((1 - mark.reported, f"reported: {mark.reported:.0%} failed") for mark in reported),
            places_marked=tuple((mark.rate, f"{mark.policy} fails so") for mark in reported if mark.rate),
        )
        yield _sweep(
            its,
            rounds,
            pipeline,
            f"Goodput, answers in time a second{about}",
            lambda said: said.goodput_per_s,
            is_share=False,
        )


def _sweep(
    its: Scenario,
    rounds: Sequence[Round],
    pipeline: str,
    title: str,
    read: Read,
    *,
    marks: tuple[tuple[float, str], ...] = (),
    places_marked: tuple[tuple[float, str], ...] = (),
    is_share: bool = True,
) -> Sweep:
    """A curve for each contender that ran at every rate, and above them what is possible."""
    rates = sorted({one.task.rate for one in rounds})
    cells: dict[tuple[str, float], list[float]] = {}
    most: dict[float, list[float]] = {}
    for one in rounds:
        said = one.pipelines[pipeline] if pipeline else one.figures
        cells.setdefault((one.task.policy, one.task.rate), []).append(read(said))
        best = one.best_of[pipeline] if pipeline else one.best
        most.setdefault(one.task.rate, []).append(best.most_share)
    everywhere = [
        policy
        for policy in dict.fromkeys(one.task.policy for one in rounds)
        if all((policy, rate) in cells for rate in rates)
    ]
    curves: dict[str, tuple[Interval, ...]] = {
        policy: tuple(interval(cells[policy, rate]) for rate in rates) for policy in everywhere
    }
    if is_share:
        curves[BOUND] = tuple(interval(most[rate]) for rate in rates)
    return Sweep(
        title=title,
        x_name=its.rate_unit,
        y_name="of all jobs" if is_share else "a second",
        places=tuple(rates),
        curves=curves,
        marks=marks,
        places_marked=places_marked,
        is_share=is_share,
    )


def _table(its: Scenario, rounds: Sequence[Round], rate: float) -> Table:
    found: dict[str, tuple[Figures, ...]] = {}
    for one in rounds:
        found[one.task.policy] = (*found.get(one.task.policy, ()), one.figures)
    return Table(scenario=f"Side by side at {rate:g} {its.rate_unit}", runs=found)


def _played(rounds: Sequence[Round]) -> Iterator[Run]:
    """One run of each that is shown, of the first seed."""
    task = rounds[0].task
    trace = trace_of(task.scenario, task.rate, task.seed)
    if len(trace.arrivals) > SHOWN_JOBS_MAX:
        return
    for name in dict.fromkeys(one.task.policy for one in rounds):
        if name in SHOWN:
            ended = street.run(trace, contender(name, trace)).ended
            yield Run(name=name, trace=trace, ended=tuple(ended))
