"""Tables in markdown: what was measured, what it means against the aims, what was skipped.

Writes to a marked block of `benchmarks/README.md` when asked to, and nowhere else.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Bound, estimate
from benchmarks.samples import FOREIGN_CORES_MAX, Cell, Sample, cell

README = Path(__file__).resolve().parent / "README.md"
OURS = "shoal"
RIVAL = "ray-serve-tuned"

#: With fewer rounds than this an interval says nothing, and so no verdict is given.
ROUNDS_MIN = 3

Metric = Callable[[Sample], float]


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure of ours, alone or as a multiple of a peer's, and its bound."""

    name: str
    metric: Metric
    clients: int
    bound: Bound
    against: str = ""


AIMS = (
    Aim("jobs/s at 64 clients ÷ Ray Serve tuned", lambda s: s.jobs_s, 64, Bound(1.0, at_least=True), RIVAL),
    Aim("p99 at 16 clients ÷ Ray Serve tuned", lambda s: s.p99_us, 16, Bound(0.5, at_least=False), RIVAL),
    Aim("p50 at 1 client, ms", lambda s: s.p50_us / 1e3, 1, Bound(1.5, at_least=False)),
)


def machine() -> str:
    """The computer in a line."""
    system, python = f"{platform.system()} {platform.release()}", platform.python_version()
    return f"{os.cpu_count()} cores, {system}, Python {python}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table: the first column to the left, figures to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def race_table(samples: Sequence[Sample], peers: Sequence[str], clients: int) -> str:
    """One row a peer at this number of clients: medians over the rounds."""
    head = (
        f"{clients} clients",
        "jobs/s",
        "p50 ms",
        "p99 ms",
        "CPU a job µs",
        "client µs",
        "errors",
        "quiet windows",
    )
    rows = []
    for peer in peers:
        found = cell(samples, peer, clients)
        if found is not None:
            rows.append(race_row(peer, found))
    return table(head, rows)


def race_row(peer: str, found: Cell) -> list[str]:
    def mid(metric: Metric) -> float:
        return estimate([metric(sample) for sample in found.samples]).value

    used = f"{len(found.samples)} of {found.taken}" if found.quiet else f"0 of {found.taken} (all used)"
    return [
        peer,
        f"{mid(lambda s: s.jobs_s):,.0f}",
        f"{mid(lambda s: s.p50_us) / 1e3:.2f}",
        f"{mid(lambda s: s.p99_us) / 1e3:.2f}",
        f"{mid(lambda s: s.cpu_us_a_job):,.0f}",
        f"{mid(lambda s: s.load_cpu_us_a_job):,.0f}",
        f"{found.errors}",
        used,
    ]


def judged(samples: Sequence[Sample], aim: Aim) -> list[float] | str:
    """The aim's figure in each round that both sides had a window worth using, or why there is none."""
    ours = cell(samples, OURS, aim.clients)
    if ours is None:
        return f"{OURS} was not measured"
    if ours.errors:
        return f"void: {ours.errors} wrong answers"
    values = ours.by_round(aim.metric)
    if not aim.against:
        return list(values.values())
    theirs = cell(samples, aim.against, aim.clients)
    if theirs is None:
        return f"{aim.against} was not measured"
    rival = theirs.by_round(aim.metric)
    return [values[round_] / rival[round_] for round_ in values if rival.get(round_)]


def aim_row(samples: Sequence[Sample], aim: Aim) -> list[str]:
    found = judged(samples, aim)
    if isinstance(found, str):
        return [aim.name, "", "", "", str(aim.bound), found]
    if not found:
        return [aim.name, "", "", "0", str(aim.bound), "no round with a quiet window of both"]
    figure = estimate(found)
    verdict = aim.bound.verdict(figure) if len(found) >= ROUNDS_MIN else "too few rounds to say"
    interval = f"{figure.low:.2f} to {figure.high:.2f}"
    return [aim.name, f"{figure.value:.2f}", interval, f"{len(found)}", str(aim.bound), verdict]


def aims_table(samples: Sequence[Sample]) -> str:
    head = ("aim", "median", "95 % interval", "rounds", "bound", "verdict")
    return table(head, [aim_row(samples, aim) for aim in AIMS])


def race_report(
    samples: Sequence[Sample],
    *,
    peers: Sequence[str],
    clients: Sequence[int],
    skipped: Mapping[str, str],
    head: str,
) -> str:
    """Everything a reader needs to judge one race."""
    parts = [f"{head} {machine()}."]
    parts += [race_table(samples, peers, count) for count in clients]
    parts.append(aims_table(samples))
    parts.append(
        f"Windows in which strangers used more than {FOREIGN_CORES_MAX} of a core are set aside. "
        "CPU a job is that of the peer's whole process tree; the load client's own is apart."
    )
    parts += [f"Skipped: **{peer}**: {reason.splitlines()[0]}" for peer, reason in skipped.items()]
    return "\n\n".join(parts)


def write_block(name: str, text: str) -> None:
    """Replace what stands between the marks `<!-- name -->` and `<!-- /name -->` of the README."""
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    whole = README.read_text()
    before, found, rest = whole.partition(opening)
    _, closed, after = rest.partition(closing)
    if not (found and closed):
        raise ValueError(f"{README} has no block {opening} … {closing}")
    README.write_text(f"{before}{opening}\n{text}\n{closing}{after}")
