"""A load in pictures: each a piece of SVG that takes its colours from the page it stands in, by day and by night.

Drawn with matplotlib, without its windows and its global state. A colour is drawn as a placeholder and becomes
a CSS variable, so that one picture serves a light page and a dark one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite, log10
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator, PercentFormatter

from shoal.cli.report import Run, slots_of, standings
from shoal.machine import Value
from shoal.sim.load.figures import Interval
from shoal.sim.load.trace import Ended
from shoal.units import SECOND_MS

#: Colours by their names; the page says what each is, `--ink` and so on.
INK, SOFT, RULE, PAPER = "#010101", "#010102", "#010103", "#010104"
SERIES = tuple(f"#0102{number:02x}" for number in range(8))
VARIABLES = {INK: "ink", SOFT: "soft", RULE: "rule", PAPER: "paper"} | {
    colour: f"c{number}" for number, colour in enumerate(SERIES)
}
DASHES = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)))

WIDTH_IN = 8.6
#: Stretches of time in a picture: as many as have some jobs each, within these.
BINS_MIN, BINS_MAX, JOBS_A_BIN = 12, 72, 8
#: Beyond so many, a picture shows the first and says so.
ROWS_MAX = 32
CURVE_POINTS_MAX = 400
#: What is swept over so many times its least is drawn over a logarithmic axis.
LOG_FROM = 8
#: The least time that a logarithmic axis shows.
LEAST_MS = 1.0

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 11.0,
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "text.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
#: Names that matplotlib gives to groups; the same ones in every picture, so they cannot stand on one page.
_GROUP_ID = re.compile(
    r' id="(?:figure|axes|patch|line2d|text|legend|matplotlib\.axis|[xy]tick|[A-Za-z]+Collection)_\d+"'
)


class Sweep(Value, frozen=True, kw_only=True):
    """A figure over something that was swept: for each policy an interval at each place."""

    title: str
    x_name: str
    y_name: str
    places: tuple[float, ...]
    curves: dict[str, tuple[Interval, ...]]
    #: Heights to be marked, each with what it means: a share that was reported elsewhere.
    marks: tuple[tuple[float, str], ...] = ()
    #: Places to be marked, each with what it means.
    places_marked: tuple[tuple[float, str], ...] = ()
    is_share: bool = True


def _drawn(name: str, height_in: float, draw: Callable[[Figure], None]) -> str:
    """A picture, its colours turned into variables; `name` keeps what it refers to apart from other pictures'."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        draw(figure)
        page = io.StringIO()
        figure.savefig(page, format="svg", metadata={"Date": None, "Creator": None})
    svg = page.getvalue()
    svg = _GROUP_ID.sub("", svg[svg.index("<svg") :])
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'role="img"', svg, count=1)


def _log_times(axes: Axes, low_ms: float, high_ms: float) -> None:
    """A logarithmic axis of times, with as many names as it has room for."""
    decades = log10(max(high_ms, 1.0) / max(low_ms, LEAST_MS))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1,) if decades > 2.5 else (1, 3) if decades > 1.2 else (1, 2, 5))
    )
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, which="minor", axis="x", alpha=0.35)


def _tick(value_ms: float, _: object = None) -> str:
    return f"{value_ms:g} ms" if value_ms < SECOND_MS else f"{value_ms / SECOND_MS:,g} s"


def _style(number: int) -> dict[str, Any]:
    return {"color": SERIES[number % len(SERIES)], "linestyle": DASHES[number // len(SERIES) % len(DASHES)]}


# Over time


class Bins(Value, frozen=True):
    """The time that was measured, in equal stretches."""

    from_ms: int
    end_ms: int
    count: int

    @classmethod
    def of(cls, run: Run) -> Bins:
        """As many as the run has jobs for."""
        count = max(BINS_MIN, min(BINS_MAX, len(run.ended) // JOBS_A_BIN))
        return cls(run.trace.from_ms, max(run.trace.from_ms + 1, run.trace.end_ms), count)

    @property
    def width_s(self) -> float:
        """How long each is."""
        return (self.end_ms - self.from_ms) / self.count / SECOND_MS

    @property
    def edges_s(self) -> list[float]:
        """Where they begin, and where the last one ends."""
        return [self.from_ms / SECOND_MS + number * self.width_s for number in range(self.count + 1)]

    def counts(self, moments_ms: Iterable[int]) -> list[int]:
        """How many of these fall into each."""
        found = [0] * self.count
        for moment_ms in moments_ms:
            place = (moment_ms - self.from_ms) * self.count // (self.end_ms - self.from_ms)
            if 0 <= place < self.count:
                found[place] += 1
        return found

    def rates(self, moments_ms: Iterable[int]) -> list[float]:
        """How many a second."""
        return [count / self.width_s for count in self.counts(moments_ms)]

    def busy(self, spells_ms: Iterable[tuple[int, int]]) -> list[float]:
        """How many of these spells there were at once, on average, in each; a spell has a beginning and an end."""
        found = [0.0] * self.count
        width_ms = self.width_s * SECOND_MS
        for from_ms, end_ms in spells_ms:
            begins, ends = (from_ms - self.from_ms) / width_ms, (end_ms - self.from_ms) / width_ms
            for place in range(max(0, int(begins)), min(self.count, int(ends) + 1)):
                found[place] += max(0.0, min(ends, place + 1) - max(begins, place))
        return found

    def name(self, axes: Axes) -> None:
        """Say on a picture what its horizontal axis is."""
        axes.set_xlabel("seconds since the beginning")
        axes.set_xlim(self.edges_s[0], self.edges_s[-1])


def over_time(run: Run, name: str) -> str:
    """What came, what was answered in time, and what was turned away, a second."""
    bins = Bins.of(run)
    offered = bins.rates(job.at_ms for job in run.ended)
    served = bins.rates(job.ended_ms for job in run.ended if job.in_time)
    refused = bins.rates(job.ended_ms for job in run.ended if not job.accepted)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.stairs(offered, bins.edges_s, fill=True, color=RULE, alpha=0.55, label="came")
        axes.stairs(served, bins.edges_s, color=SERIES[0], label="answered in time", linewidth=1.8)
        if any(refused):
            axes.stairs(refused, bins.edges_s, color=SERIES[1], label="turned away", linewidth=1.6)
        axes.set_ylabel("a second")
        axes.set_ylim(bottom=0)
        bins.name(axes)
        _legend(axes, 3)

    return _drawn(name, 2.9, draw)


def refusals(run: Run, name: str) -> str:
    """Why jobs were turned away or failed, over time."""
    bins = Bins.of(run)
    lost: dict[str, list[int]] = {}
    for job in run.ended:
        if not job.done:
            what = f"{'failed' if job.accepted else 'turned away'}: {job.code}"
            lost.setdefault(what, []).append(job.ended_ms)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        floor = [0.0] * bins.count
        for number, what in enumerate(sorted(lost, key=lambda what: -len(lost[what]))):
            top = [below + rate for below, rate in zip(floor, bins.rates(lost[what]), strict=True)]
            colour = SERIES[(number + 1) % len(SERIES)]
            label = f"{what} ({len(lost[what]):,})"
            axes.stairs(top, bins.edges_s, baseline=floor, fill=True, color=colour, label=label)
            floor = top
        axes.set_ylabel("a second")
        axes.set_ylim(bottom=0)
        bins.name(axes)
        _legend(axes, 3)

    return _drawn(name, 2.5, draw)


# Distributions


def times(runs: Sequence[Run], name: str) -> str:
    """The share of answers that had waited, or had come, within a time."""
    names = list(dict.fromkeys(run.name for run in runs))

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, part, title in zip(panels, ("queue_ms", "total_ms"), ("waited", "in all"), strict=True):
            for number, one in enumerate(names):
                jobs = [job for run in runs if run.name == one for job in run.ended if job.done]
                curve = _curve(sorted(max(LEAST_MS, getattr(job, part)) for job in jobs))
                axes.plot(*curve, drawstyle="steps-post", label=one, **_style(number))
            _log_times(axes, *axes.get_xlim())
            axes.set_ylim(0, 1.005)
            axes.set_title(title)
        panels[0].yaxis.set_major_formatter(PercentFormatter(1.0))
        panels[0].set_ylabel("of all answers")
        if len(names) > 1:
            figure.legend(
                *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(names))
            )

    return _drawn(name, 3.1 + 0.22 * ((len(names) + 3) // 4) * (len(names) > 1), draw)


def _curve(ordered: Sequence[float]) -> tuple[list[float], list[float]]:
    """A cumulative curve with no more points than anybody can see."""
    count = len(ordered)
    if not count:
        return [], []
    step = max(1, count // CURVE_POINTS_MAX)
    places = [*range(0, count, step), count - 1]
    return [ordered[0], *(ordered[place] for place in places)], [0.0, *((p + 1) / count for p in places)]


# Who had what


def tenants(run: Run, name: str) -> str:
    """What each tenant asked for, and what it had in time."""
    rows = sorted(standings(run.ended, "tenant"), key=lambda row: -row.jobs)[:ROWS_MAX]
    rows.reverse()

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = range(len(rows))
        axes.barh(places, [row.jobs for row in rows], 0.74, color=RULE, alpha=0.8, label="asked for")
        axes.barh(places, [row.in_time for row in rows], 0.36, color=SERIES[0], label="answered in time")
        axes.set_yticks(list(places), [row.name for row in rows])
        axes.set_xlabel("jobs")
        axes.grid(visible=False, axis="y")
        axes.margins(y=0.02)
        _legend(axes, 2)

    return _drawn(name, 1.15 + 0.27 * len(rows), draw)


def orchestrators(run: Run, name: str) -> str:
    """How much of each orchestrator was at work, over time, and how much of that brought nothing."""
    bins, slots = Bins.of(run), slots_of(run.trace)
    rows = sorted(standings(run.ended, "orchestrator"), key=lambda row: -row.busy_ms)[:ROWS_MAX]
    names = [row.name for row in reversed(rows)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, one in enumerate(names):
            jobs = [job for job in run.ended if job.orchestrator == one]
            useful, useless = bins.busy(map(_run_of, jobs)), bins.busy(map(_loss_of, jobs))
            able = slots.get(one) or max([1.0, *useful])
            low = [row + 0.86 * min(1.0, share / able) for share in useful]
            high = [
                row + 0.86 * min(1.0, (good + bad) / able) for good, bad in zip(useful, useless, strict=True)
            ]
            axes.stairs(high, bins.edges_s, baseline=low, fill=True, color=SERIES[1], alpha=0.75)
            axes.stairs(low, bins.edges_s, baseline=row, fill=True, color=SERIES[0], alpha=0.75)
        axes.hlines(range(len(names)), bins.edges_s[0], bins.edges_s[-1], color=RULE, linewidth=0.6)
        axes.set_yticks([row + 0.4 for row in range(len(names))], names)
        axes.set_ylim(-0.1, len(names))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        bins.name(axes)

    return _drawn(name, 0.9 + 0.34 * len(names), draw)


def _run_of(job: Ended) -> tuple[int, int]:
    """When a job's answer was made."""
    begins_ms = job.at_ms + job.queue_ms
    return begins_ms, begins_ms + job.run_ms


def _loss_of(job: Ended) -> tuple[int, int]:
    """When a job was last run for nothing. Of earlier attempts nobody tells how long they took."""
    begins_ms = job.at_ms + job.queue_ms
    return begins_ms, job.ended_ms if job.failed and not job.done else begins_ms


# Side by side


def compared(
    names: Sequence[str], panels: Mapping[str, Sequence[Interval]], name: str, shares: set[str]
) -> str:
    """One row a policy, one panel a figure: the mean over the runs and its 95 % interval."""

    def draw(figure: Figure) -> None:
        spread = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for number, (axes, (title, found)) in enumerate(zip(spread, panels.items(), strict=True)):
            places = list(range(len(names)))[::-1]
            for place, one in zip(places, found, strict=True):
                if isfinite(one.half):
                    axes.hlines(place, one.low, one.high, color=SERIES[number % 8], linewidth=5, alpha=0.35)
            axes.plot([one.mean for one in found], places, "o", color=SERIES[number % 8], markersize=5.5)
            axes.set_title(title)
            axes.set_yticks(places, names)
            axes.set_ylim(-0.6, len(names) - 0.4)
            axes.locator_params(axis="x", nbins=3)
            axes.margins(x=0.12)
            if title in shares:
                axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            elif title.endswith(("waited", "in all")):
                axes.xaxis.set_major_formatter(FuncFormatter(_tick))

    return _drawn(name, 0.95 + 0.27 * len(names), draw)


def swept(sweep: Sweep, name: str) -> str:
    """A figure over what was swept, a curve a policy, its interval as a shade."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (one, found) in enumerate(sweep.curves.items()):
            style = _style(number)
            axes.plot(sweep.places, [i.mean for i in found], marker="o", markersize=3.5, label=one, **style)
            if all(isfinite(i.half) for i in found):
                low, high = [i.low for i in found], [i.high for i in found]
                axes.fill_between(sweep.places, low, high, color=style["color"], alpha=0.15, linewidth=0)
        for height, words in sweep.marks:
            axes.axhline(height, color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(
                words,
                (1, height),
                (-2, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                color=SOFT,
                fontsize=9,
            )
        for place, words in sweep.places_marked:
            axes.axvline(place, color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(
                words,
                (place, 1),
                (3, -9),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                color=SOFT,
                fontsize=9,
            )
        if min(sweep.places) > 0 and max(sweep.places) >= LOG_FROM * min(sweep.places):
            axes.set_xscale("log")
            axes.set_xticks(sweep.places, [f"{place:.2g}" for place in sweep.places])
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(sweep.x_name)
        axes.set_ylabel(sweep.y_name)
        if sweep.is_share:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.set_ylim(-0.02, 1.03)
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(sweep.curves))
        )

    return _drawn(name, 3.3 + 0.22 * ((len(sweep.curves) + 3) // 4), draw)


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, handlelength=1.4)
