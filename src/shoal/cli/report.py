"""What a load came to: for people, for programs, and job by job for spreadsheets.

The figures are those of `sim/load/figures.py`, so that a simulated and a real load are told in the same words.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from shoal.cli.terminal import columns, gwei
from shoal.machine import Value
from shoal.sim.load.figures import Figures, figures_of, quantile
from shoal.sim.load.trace import Ended, Trace
from shoal.units import SECOND_MS

#: Requests that left later than this say that the client was too slow for the load.
LATE_MS = 50.0


class Sender(Value, frozen=True, kw_only=True):
    """How well the client kept to its times."""

    late_p99_ms: float = 0.0
    late_max_ms: float = 0.0
    #: Requests that had no answer when it was told to stop.
    unfinished: int = 0


class Run(Value, frozen=True, kw_only=True):
    """One run of one load: what was asked, and what became of it."""

    name: str
    trace: Trace
    ended: tuple[Ended, ...]
    #: None for a simulated run, whose clients are never late.
    sender: Sender | None = None

    @property
    def figures(self) -> Figures:
        """Its figures."""
        return figures_of(self.trace, self.ended)

    def refusals(self) -> Counter[str]:
        """How many were turned away, by what they were told."""
        return Counter(job.code for job in self.ended if not job.accepted)

    def failures(self) -> Counter[str]:
        """How many of those taken on failed, by what they failed of."""
        return Counter(job.code for job in self.ended if job.accepted and not job.done)


class Table(Value, frozen=True, kw_only=True):
    """The figures of many runs of one load, by the name of what was compared."""

    scenario: str
    source: str = ""
    runs: dict[str, tuple[Figures, ...]]


class Standing(Value, frozen=True, kw_only=True):
    """What an orchestrator, or a tenant, had of the whole."""

    name: str
    jobs: int
    done: int
    in_time: int
    #: Time in which a slot worked for them.
    busy_ms: int
    wei: int
    total_p50_ms: float
    total_p99_ms: float


def standings(ended: Sequence[Ended], part: str) -> list[Standing]:
    """By `orchestrator` or by `tenant`; jobs that nobody had are left out."""
    groups: dict[str, list[Ended]] = {}
    for job in ended:
        groups.setdefault(str(getattr(job, part)), []).append(job)
    return [_standing(name, groups[name]) for name in sorted(groups, key=_natural) if name]


def _standing(name: str, jobs: Sequence[Ended]) -> Standing:
    total = sorted(job.total_ms for job in jobs if job.done)
    return Standing(
        name=name,
        jobs=len(jobs),
        done=len(total),
        in_time=sum(job.in_time for job in jobs),
        busy_ms=sum(job.run_ms for job in jobs),
        wei=sum(job.wei for job in jobs),
        total_p50_ms=quantile(total, 0.50),
        total_p99_ms=quantile(total, 0.99),
    )


def _natural(name: str) -> tuple[str, int, str]:
    """`worker-2` before `worker-10`."""
    head = name.rstrip("0123456789")
    digits = name[len(head) :]
    return head, int(digits or 0), name


def text(run: Run) -> Iterator[str]:
    """A run in lines for people."""
    said = run.figures
    window_s = (run.trace.end_ms - run.trace.from_ms) / SECOND_MS
    accepted = sum(job.accepted for job in run.ended)
    yield (
        f"{run.name}: {len(run.ended):,} requests in {window_s:,.1f} s ({said.offered_per_s:,.2f}/s): "
        f"{accepted:,} taken on, {len(run.ended) - accepted:,} turned away"
    )
    yield (
        f"answered in time {said.success_share:.1%}; goodput {said.goodput_per_s:,.2f}/s; "
        f"taken on and not answered in time {said.broken_share:.1%}"
    )
    yield ""
    yield from columns(
        ("", ">mean", ">p50", ">p95", ">p99"),
        [
            ("waited", *_times(said, "queue")),
            ("in all", *_times(said, "total")),
        ],
    )
    yield ""
    yield (
        f"orders that brought nothing {said.wasted_share:.2%} (a full orchestrator {said.full_share:.2%}); "
        f"sent again {said.retry_share:.2%}"
    )
    tenants = standings(run.ended, "tenant")
    yield f"fairness (Jain) {said.jain:.4f} between {len(tenants)} tenants"
    paid_wei = sum(job.wei for job in run.ended)
    yield f"cost {gwei(paid_wei)}; {gwei(round(said.wei_mean))} an answer"
    for words, told in (("turned away", run.refusals()), ("failed", run.failures())):
        if told:
            yield f"{words}: " + ", ".join(f"{code} {count:,}" for code, count in told.most_common())
    if run.refusals():
        yield (
            f"of those turned away {said.retry_after_share:.0%} were told when to come again; "
            f"the word took {said.refused_p99_ms:,.0f} ms (p99)"
        )
    yield ""
    yield from _by_orchestrator(run, window_s)
    if run.sender is not None:
        yield ""
        yield from _about_sender(run.sender)


def _times(said: Figures, part: str) -> tuple[str, ...]:
    return tuple(milliseconds(getattr(said, f"{part}_{name}_ms")) for name in ("mean", "p50", "p95", "p99"))


def milliseconds(value_ms: float) -> str:
    """A time with three digits or so: `8.2 ms`, `340 ms`, `2.40 s`, `127 s`."""
    if value_ms < SECOND_MS:
        return f"{value_ms:.1f} ms" if value_ms < 10 else f"{value_ms:.0f} ms"
    value_s = value_ms / SECOND_MS
    return (
        f"{value_s:.2f} s" if value_s < 10 else f"{value_s:.1f} s" if value_s < 100 else f"{value_s:,.0f} s"
    )


def _by_orchestrator(run: Run, window_s: float) -> list[str]:
    slots = slots_of(run.trace)
    rows = []
    for one in standings(run.ended, "orchestrator"):
        able_ms = slots.get(one.name, 0) * window_s * SECOND_MS
        busy = f"{one.busy_ms / able_ms:.0%}" if able_ms else ""
        rows.append(
            (one.name, f"{one.jobs:,}", f"{one.done:,}", str(slots.get(one.name, "")), busy, gwei(one.wei))
        )
    head = ("orchestrator", ">jobs", ">answered", ">slots", ">busy", ">earned")
    return columns(head, rows) if rows else ["no orchestrator had any of them"]


def slots_of(trace: Trace) -> dict[str, int]:
    """How many slots each operator has for what was asked."""
    needs = {arrival.need for arrival in trace.arrivals}
    return {
        operator.name: max((operator.slots(need) for need in needs), default=0)
        for operator in trace.fleet.orchestrators
    }


def _about_sender(sender: Sender) -> Iterator[str]:
    yield (
        f"the client sent on time: p99 {milliseconds(sender.late_p99_ms)} late, "
        f"at most {milliseconds(sender.late_max_ms)}"
    )
    if sender.late_p99_ms > LATE_MS:
        yield "THE CLIENT WAS TOO SLOW: times count from when a request was due, but the load itself came late"
    if sender.unfinished:
        yield f"stopped early: {sender.unfinished:,} requests had no answer yet, and are in none of these figures"


def value(run: Run) -> dict[str, Any]:
    """A run for programs."""
    accepted = sum(job.accepted for job in run.ended)
    done = sum(job.done for job in run.ended)
    return {
        "name": run.name,
        "source": run.trace.source,
        "seed": run.trace.seed,
        "scale": run.trace.scale,
        "window_ms": [run.trace.from_ms, run.trace.end_ms],
        "counts": {
            "offered": len(run.ended),
            "accepted": accepted,
            "refused": len(run.ended) - accepted,
            "done": done,
            "in_time": sum(job.in_time for job in run.ended),
            "failed": accepted - done,
            "unfinished": run.sender.unfinished if run.sender else 0,
        },
        "figures": msgspec.to_builtins(run.figures),
        "refusals": dict(run.refusals()),
        "failures": dict(run.failures()),
        "tenants": msgspec.to_builtins(standings(run.ended, "tenant")),
        "orchestrators": msgspec.to_builtins(standings(run.ended, "orchestrator")),
        "slots": slots_of(run.trace),
        "paid_wei": sum(job.wei for job in run.ended),
        "client": msgspec.to_builtins(run.sender),
    }


def table(run: Run) -> str:
    """Every job of a run, one a line, separated by commas."""
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    names = Ended.__struct_fields__
    writer.writerow(names)
    for job in sorted(run.ended, key=lambda job: job.index):
        writer.writerow([int(v) if isinstance(v := getattr(job, name), bool) else v for name in names])
    return page.getvalue()
