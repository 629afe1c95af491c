"""A load on one page of HTML: figures, pictures and tables; no scripts, nothing fetched from elsewhere.

The same page tells of one run, of several side by side, and of a sweep; of real runs and of simulated ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import count
from math import isfinite

from shoal.cli import plots
from shoal.cli.plots import ROWS_MAX, Sweep
from shoal.cli.report import Run, Table, milliseconds, slots_of, standings, text
from shoal.cli.terminal import GWEI, gwei
from shoal.machine import Value
from shoal.sim.load.figures import Figures, Interval, interval
from shoal.units import SECOND_MS

#: Runs whose own pictures are shown; of the others there is only what is compared.
SHOWN_MAX = 24

HEAD = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
:root {{ --ink: #1d2733; --soft: #5b6875; --rule: #cdd5dd; --paper: #fcfcfa; --card: #f2f4f5 }}
:root {{ --c0: #2566a8; --c1: #c9661f; --c2: #22806a; --c3: #9a3f86 }}
:root {{ --c4: #857413; --c5: #6250bf; --c6: #b23748; --c7: #566470 }}
@media (prefers-color-scheme: dark) {{
:root {{ --ink: #e4e8ec; --soft: #9aa7b3; --rule: #3a444e; --paper: #14181c; --card: #1d2329 }}
:root {{ --c0: #6cacec; --c1: #f0a05c; --c2: #5cc4a5; --c3: #df8ccb }}
:root {{ --c4: #cfbd58; --c5: #ab9ef7; --c6: #f0808d; --c7: #aab6c0 }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper) }}
body {{ max-width: 60rem; margin: 2rem auto 4rem; padding: 0 1rem }}
h1, h2, h3 {{ font-weight: 600; line-height: 1.2 }}
h2 {{ margin: 3rem 0 .5rem; padding-top: 1.25rem; border-top: 1px solid var(--rule) }}
h3 {{ margin: 2rem 0 .25rem; font-size: 1rem }}
p.note {{ margin: 0 0 .5rem; color: var(--soft); font-size: .9rem; max-width: 45rem }}
svg {{ width: 100%; height: auto }}
svg text {{ font-family: inherit !important }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem }}
.tiles {{ margin: 1.25rem 0 }}
.tiles div {{ background: var(--card); border-radius: 6px; padding: .6rem .8rem }}
.tiles b {{ display: block; font-size: 1.45rem; font-weight: 600; line-height: 1.25 }}
.tiles span {{ font-size: .8rem; color: var(--soft) }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; margin: .75rem 0 }}
th, td {{ padding: .25rem .75rem .25rem 0; text-align: right; border-bottom: 1px solid var(--rule) }}
td {{ white-space: nowrap }}
th:first-child, td:first-child {{ text-align: left }}
th {{ font-weight: 600; color: var(--soft); vertical-align: bottom }}
td small {{ color: var(--soft) }}
pre {{ background: var(--card); border-radius: 6px; padding: .8rem; overflow-x: auto; font-size: .8rem }}
summary {{ cursor: pointer; color: var(--soft); font-size: .9rem; margin: .4rem 0 }}
summary.run {{ font-size: 1rem; font-weight: 600; color: var(--ink); margin: 1.5rem 0 .5rem }}
a {{ color: var(--c0) }}
</style>
"""

Show = Callable[[float], str]


def _share(value: float) -> str:
    return f"{value:.1%}" if value < 0.0995 or value > 0.9905 else f"{value:.0%}"


def _rate(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def _index(value: float) -> str:
    return f"{value:.3f}"


#: The figures that are compared: field, words, how they are written, and whether a picture shows them.
COMPARED: tuple[tuple[str, str, Show, bool], ...] = (
    ("success_share", "answered in time", _share, True),
    ("goodput_per_s", "goodput a second", _rate, False),
    ("queue_mean_ms", "mean waited", milliseconds, True),
    ("queue_p99_ms", "p99 waited", milliseconds, False),
    ("total_p50_ms", "p50 in all", milliseconds, False),
    ("total_p99_ms", "p99 in all", milliseconds, True),
    ("wasted_share", "wasted orders", _share, True),
    ("full_share", "to full ones", _share, False),
    ("retry_share", "sent again", _share, False),
    ("jain", "Jain", _index, True),
)
SHARES = {words for _, words, show, _ in COMPARED if show is _share}


class Chapter(Value, frozen=True, kw_only=True):
    """One load: what was swept, what is compared, and runs that are shown in full."""

    title: str
    note: str = ""
    sweeps: tuple[Sweep, ...] = ()
    tables: tuple[Table, ...] = ()
    runs: tuple[Run, ...] = ()


def page(runs: Sequence[Run], *, title: str = "") -> str:
    """Runs on one page: those of the same name are taken together, and compared with those of other names."""
    title = title or "Load: " + ", ".join(dict.fromkeys(run.trace.name for run in runs))
    return pages(title, [Chapter(title=title, tables=_tables(runs), runs=tuple(runs))])


def pages(title: str, chapters: Sequence[Chapter]) -> str:
    """Several loads on one page, a chapter each."""
    numbers = count()
    parts = [HEAD.format(title=escape(title)), f"<h1>{escape(title)}</h1>\n"]
    if len(chapters) > 1:
        names = (f'<a href="#{_anchor(one)}">{escape(one.title)}</a>' for one in chapters)
        parts.append(f"<p>{' · '.join(names)}</p>\n")
    for one in chapters:
        if len(chapters) > 1:
            parts.append(f'<h2 id="{_anchor(one)}">{escape(one.title)}</h2>\n')
        parts += _chapter(one, numbers)
    return "".join(parts) + "</html>\n"


def _anchor(chapter: Chapter) -> str:
    return "-".join(chapter.title.casefold().split())


def _chapter(chapter: Chapter, numbers: Iterator[int]) -> Iterator[str]:
    if chapter.note:
        yield f"<p class=note>{escape(chapter.note)}</p>\n"
    for sweep in chapter.sweeps:
        yield f"<h3>{escape(sweep.title)}</h3>\n{plots.swept(sweep, f'p{next(numbers)}')}\n"
    for table in chapter.tables:
        yield _compared(table, f"p{next(numbers)}")
    shown = list({run.name: run for run in reversed(chapter.runs)}.values())[::-1]
    if len(shown) > 1:
        yield _times(chapter.runs, f"p{next(numbers)}")
    for number, run in enumerate(shown[:SHOWN_MAX]):
        inside = "".join(_run(run, numbers, alone=len(shown) == 1))
        if len(shown) == 1:
            yield inside
        else:
            opened = "" if number else " open"
            yield f"<details{opened}><summary class=run>{escape(run.name)}</summary>\n{inside}</details>\n"


def _tables(runs: Sequence[Run]) -> tuple[Table, ...]:
    """What there is to compare: runs of several names, or of several seeds."""
    if len(runs) < 2:
        return ()
    found: dict[str, tuple[Figures, ...]] = {}
    for run in runs:
        found[run.name] = (*found.get(run.name, ()), run.figures)
    trace = runs[0].trace
    return (Table(scenario=trace.name, source=trace.source, runs=found),)


# Side by side


def _compared(table: Table, name: str) -> str:
    found = {
        field: [interval([float(getattr(one, field)) for one in figures]) for figures in table.runs.values()]
        for field, *_ in COMPARED
    }
    panels = {words: found[field] for field, words, _, is_drawn in COMPARED if is_drawn}
    runs = max(map(len, table.runs.values()))
    note = f"{table.source}. " if table.source else ""
    note += (
        f"Means of {runs} runs; the bar is the 95 % interval of the mean." if runs > 1 else "One run of each."
    )
    rows = [
        (escape(one), *(_with_interval(found[field][place], show) for field, _, show, _ in COMPARED))
        for place, one in enumerate(table.runs)
    ]
    return (
        f"<h3>{escape(table.scenario)}</h3>\n<p class=note>{escape(note)}</p>\n"
        f"{plots.compared(list(table.runs), panels, name, SHARES)}\n"
        f"{_table(('', *(words for _, words, _, _ in COMPARED)), rows)}"
    )


def _with_interval(found: Interval, show: Show) -> str:
    middle = escape(show(found.mean))
    return f"{middle} <small>± {escape(show(found.half))}</small>" if isfinite(found.half) else middle


def _times(runs: Sequence[Run], name: str) -> str:
    note = "The share of answers that had come within a time; the axis of times is logarithmic."
    return f"<h3>How long answers took</h3>\n<p class=note>{note}</p>\n{plots.times(runs, name)}\n"


# One run


def _run(run: Run, numbers: Iterator[int], *, alone: bool) -> Iterator[str]:
    def picture(title: str, note: str, draw: Callable[[Run, str], str]) -> str:
        drawn = draw(run, f"p{next(numbers)}")
        return f"<h3>{title}</h3>\n<p class=note>{note}</p>\n{drawn}\n"

    yield f"<p class=note>{escape(_about(run))}</p>\n{_tiles(run)}"
    yield picture("What came, and what was answered", "Requests and answers a second.", plots.over_time)
    if alone:
        yield _times([run], f"p{next(numbers)}")
    if any(not job.done for job in run.ended):
        yield picture("What was not answered", "Jobs by what their clients were told.", plots.refusals)
    yield picture("What each tenant had", _most(run, "tenant"), plots.tenants)
    if any(job.orchestrator for job in run.ended):
        note = (
            "The share of each orchestrator's slots that was at work: for an answer (blue), or for a job that "
            f"failed (orange). {_most(run, 'orchestrator')}"
        )
        yield picture("Who worked", note, plots.orchestrators)
        yield _orchestrators(run)
    lines = escape("\n".join(text(run)))
    yield f"<details><summary>The same in words</summary><pre>{lines}</pre></details>\n"


def _about(run: Run) -> str:
    trace = run.trace
    source = f"{trace.source.rstrip('.')}. " if trace.source else ""
    scale = f" Times are those of the source times {trace.scale:g}." if trace.scale != 1 else ""
    measured = (
        f"Seed {trace.seed}; measured from {trace.from_ms / SECOND_MS:g} s to {trace.end_ms / SECOND_MS:g} s."
    )
    return f"{source}{measured}{scale}"


def _most(run: Run, part: str) -> str:
    count = len(standings(run.ended, part))
    return f"The first {ROWS_MAX} of {count}." if count > ROWS_MAX else ""


def _tiles(run: Run) -> str:
    said = run.figures
    tiles = (
        (f"{len(run.ended):,}", f"requests, {_rate(said.offered_per_s)} a second"),
        (_share(said.success_share), "answered in time"),
        (_rate(said.goodput_per_s), "goodput a second"),
        (milliseconds(said.queue_mean_ms), f"waited; p99 {milliseconds(said.queue_p99_ms)}"),
        (milliseconds(said.total_p50_ms), f"p50 in all; p99 {milliseconds(said.total_p99_ms)}"),
        (_share(said.wasted_share), "of orders brought nothing"),
        (_index(said.jain), "fairness (Jain)"),
        _price(said.wei_mean),
    )
    inside = "".join(
        f"<div><b>{escape(figure)}</b><span>{escape(words)}</span></div>\n" for figure, words in tiles
    )
    return f"<div class=tiles>\n{inside}</div>\n"


def _price(wei: float) -> tuple[str, str]:
    """What an answer costs, in the unit in which that is a number one can read."""
    return (
        (f"{wei / GWEI:,.4g}", "gwei an answer") if wei >= GWEI / 1_000 else (f"{wei:,.0f}", "wei an answer")
    )


def _orchestrators(run: Run) -> str:
    slots = slots_of(run.trace)
    window_ms = run.trace.end_ms - run.trace.from_ms
    rows = []
    for one in standings(run.ended, "orchestrator"):
        able_ms = slots.get(one.name, 0) * window_ms
        rows.append(
            (
                one.name,
                f"{one.jobs:,}",
                f"{one.done:,}",
                str(slots.get(one.name, "")),
                f"{one.busy_ms / able_ms:.0%}" if able_ms else "",
                milliseconds(one.total_p50_ms),
                milliseconds(one.total_p99_ms),
                gwei(one.wei),
            )
        )
    head = ("orchestrator", "jobs", "answered", "slots", "busy", "p50", "p99", "earned")
    table = _table(head, [tuple(map(escape, row)) for row in rows])
    return f"<details><summary>Each orchestrator in figures</summary>\n{table}</details>\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are HTML already, but for its head."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<div class=wide><table>\n<tr>{top}</tr>\n{body}</table></div>\n"
