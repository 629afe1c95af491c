"""Rounds as tables that read well in a terminal and in a page: means over seeds with 95 % intervals.

A cell says `mean ± half the interval`; with a single seed there is no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite

from shoal.machine import Value
from shoal.sim.load.contenders import names
from shoal.sim.load.figures import Figures, Interval, interval
from shoal.sim.load.oracle import Best
from shoal.sim.load.runs import Mark, Round
from shoal.sim.load.scenarios import Scenario, scenario
from shoal.units import SECOND_MS

#: Reads one number off a run.
Read = Callable[[Figures], float]


class Column(Value, frozen=True):
    """One figure of a table: its head, and how a number of it is written."""

    head: str
    read: Read
    write: Callable[[Interval], str]


def percent(value: Interval) -> str:
    """A share, in per cent."""
    return _number(value, 100.0, 1) + " %"


def seconds(value: Interval) -> str:
    """A time, in seconds."""
    return _number(value, 1 / SECOND_MS, 2) + " s"


def plain(value: Interval) -> str:
    """A number."""
    return _number(value, 1.0, 2)


def _number(value: Interval, scale: float, digits: int) -> str:
    mean = value.mean * scale
    digits = max(0, digits - max(0, len(str(int(abs(mean)))) - 2))
    if value.runs < 2 or not isfinite(value.half):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {value.half * scale:.{digits}f}"


COLUMNS: tuple[Column, ...] = (
    Column("in time", lambda run: run.success_share, percent),
    Column("taken on", lambda run: run.accepted_share, percent),
    Column("broken promises", lambda run: run.broken_share, percent),
    Column("goodput /s", lambda run: run.goodput_per_s, plain),
    Column("mean wait", lambda run: run.queue_mean_ms, seconds),
    Column("p50", lambda run: run.total_p50_ms, seconds),
    Column("p95", lambda run: run.total_p95_ms, seconds),
    Column("p99", lambda run: run.total_p99_ms, seconds),
    Column("Jain", lambda run: run.jain, plain),
    Column("sent to full", lambda run: run.full_share, percent),
    Column("wasted", lambda run: run.wasted_share, percent),
    Column("retries", lambda run: run.retry_share, percent),
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table's lines, its columns aligned: Markdown that can be read as it is."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    lines = [_line(cells[0], widths), "|" + "|".join(_rule(n, width) for n, width in enumerate(widths)) + "|"]
    return lines + [_line(row, widths) for row in cells[1:]]


def _rule(n: int, width: int) -> str:
    return "-" * (width + 2) if n == 0 else "-" * (width + 1) + ":"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = cells
    right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
    return "| " + " | ".join((first.ljust(widths[0]), *right)) + " |"


# One scenario


def detail(rounds: Sequence[Round]) -> list[str]:
    """All contenders of one scenario at one rate, with every figure."""
    rows = []
    for policy in _in_order({round_.task.policy for round_ in rounds}):
        runs = [round_.figures for round_ in rounds if round_.task.policy == policy]
        cells = [column.write(interval([column.read(run) for run in runs])) for column in COLUMNS]
        rows.append([policy, *cells])
    return table(["", *(column.head for column in COLUMNS)], rows)


def _in_order(policies: set[str]) -> list[str]:
    """Ours first, then the rivals, whoever was run first."""
    known = names()
    return sorted(policies, key=lambda name: (known.index(name) if name in known else len(known), name))


def sweep(rounds: Sequence[Round], column: Column, pipeline: str = "") -> list[str]:
    """One figure at every rate: a row a rate, a column a contender, and the oracle's share if that is the figure."""
    its = scenario(rounds[0].task.scenario)
    oracle = column is COLUMNS[0]
    policies = _in_order({round_.task.policy for round_ in rounds})
    rows = []
    for rate in sorted({round_.task.rate for round_ in rounds}):
        here = [round_ for round_ in rounds if round_.task.rate == rate]
        row = [rate_text(rate)]
        if oracle:
            bests = {r.task.seed: r.best_of[pipeline] if pipeline else r.best for r in here}
            row += [percent(interval([read(best) for best in bests.values()])) for read in _ORACLE.values()]
        for policy in policies:
            runs = [_figures(round_, pipeline) for round_ in here if round_.task.policy == policy]
            row.append(column.write(interval([column.read(run) for run in runs])) if runs else "")
        rows.append(row)
    return table([its.rate_unit, *(_ORACLE if oracle else ()), *policies], rows)


_ORACLE: dict[str, Callable[[Best], float]] = {
    "bound": lambda best: best.most_share,
    "oracle in turn": lambda best: best.in_turn_share,
}


def _figures(round_: Round, pipeline: str) -> Figures:
    return round_.pipelines[pipeline] if pipeline else round_.figures


def rate_text(rate: float) -> str:
    """A rate as people write it."""
    return f"1/{round(1 / rate)}" if rate < 0.1 else f"{rate:g}"


def chapter(rounds: Sequence[Round], marks: Sequence[Mark] = ()) -> Iterator[str]:
    """Everything about one scenario: what it is, and its tables."""
    its = scenario(rounds[0].task.scenario)
    seeds = len({round_.task.seed for round_ in rounds})
    jobs = sum({(r.task.rate, r.task.seed): r.figures.jobs for r in rounds}.values())
    yield f"### {its.title} (`{its.name}`)"
    yield ""
    yield f"Source: {its.source}. {its.reading}"
    yield f"{seeds} seed{'s' if seeds > 1 else ''}, {jobs:,} jobs for each contender that ran at every rate."
    yield ""
    rates = sorted({round_.task.rate for round_ in rounds})
    if len(rates) > 1:
        yield from _sweeps(rounds)
    yield from _marks(its, marks)
    for rate in _rates_in_detail(rounds, rates):
        if len(rates) > 1:
            yield f"At {rate_text(rate)} {its.rate_unit}, all figures:"
            yield ""
        yield from detail([round_ for round_ in rounds if round_.task.rate == rate])
        yield ""


def _sweeps(rounds: Sequence[Round]) -> Iterator[str]:
    # Those who ran at every rate: a table with holes says little.
    rates = {round_.task.rate for round_ in rounds}
    ran: dict[str, set[float]] = {}
    for round_ in rounds:
        ran.setdefault(round_.task.policy, set()).add(round_.task.rate)
    whole = [round_ for round_ in rounds if ran[round_.task.policy] == rates]
    for pipeline in rounds[0].pipelines or ("",):
        yield f"Answered in time{f', {pipeline}' if pipeline else ''}:"
        yield ""
        yield from sweep(whole, COLUMNS[0], pipeline)
        yield ""
    if not rounds[0].pipelines:
        yield "Goodput, answers in time a second:"
        yield ""
        yield from sweep(whole, COLUMNS[3])
        yield ""


def _marks(its: Scenario, marks: Sequence[Mark]) -> Iterator[str]:
    for mark in marks:
        if mark.scenario != its.name:
            continue
        said = f"`{mark.policy}` fails at {mark.pipeline} by the reported {100 * mark.reported:.1f} %"
        if mark.rate is None:
            yield f"* {said} at no rate that was tried."
        else:
            yield f"* {said} at **{rate_text(mark.rate)} {its.rate_unit}** (here by {100 * mark.failed:.1f} %)."
        yield ""


def _rates_in_detail(rounds: Sequence[Round], rates: Sequence[float]) -> list[float]:
    """The rates at which most contenders ran; of equals the last."""
    counts = {rate: len({r.task.policy for r in rounds if r.task.rate == rate}) for rate in rates}
    most = max(counts.values())
    full = [rate for rate in rates if counts[rate] == most]
    return full if len(full) < len(rates) else full[-1:]


def page(rounds: Sequence[Round], marks: Sequence[Mark] = ()) -> Iterator[str]:
    """Every scenario's chapter."""
    for name in dict.fromkeys(round_.task.scenario for round_ in rounds):
        yield from chapter([round_ for round_ in rounds if round_.task.scenario == name], marks)
