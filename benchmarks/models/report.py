"""What the street costs beside the model itself: tables out of windows. Pure.

A difference is taken within a round and its median over the rounds is the figure. Answers that differ are said to
differ, for then two different works were compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import estimate
from benchmarks.models.jobs import PipelineJob
from benchmarks.report import ROUNDS_MIN, machine, table
from benchmarks.samples import FOREIGN_CORES_MAX


@dataclass(frozen=True, slots=True)
class Sample:
    """What one side did with one pipeline's job in one window."""

    run: str
    round: int
    pipeline: str
    #: `street` or `bare`.
    side: str
    jobs: int
    seconds: float
    p50_ms: float
    max_ms: float
    cpu_s_a_job: float
    #: Of the process that holds the model, and of the whole side.
    model_mib: float
    all_mib: float
    ready_s: float
    foreign_cores: float
    #: The hashes of everything that came out.
    answers: list[str]

    @property
    def quiet(self) -> bool:
        return self.foreign_cores <= FOREIGN_CORES_MAX


Metric = Callable[[Sample], float]


@dataclass(frozen=True, slots=True)
class Pair:
    """The windows of both sides of one pipeline."""

    street: tuple[Sample, ...]
    bare: tuple[Sample, ...]

    @classmethod
    def of(cls, samples: Sequence[Sample], pipeline: str) -> Pair | None:
        """None unless both sides were measured."""
        street, bare = (
            tuple(sample for sample in samples if sample.pipeline == pipeline and sample.side == side)
            for side in ("street", "bare")
        )
        return cls(street, bare) if street and bare else None

    def more(self, metric: Metric) -> list[float]:
        """How much more the street has, in each round in which both sides have a window worth using."""
        street, bare = by_round(self.street, metric), by_round(self.bare, metric)
        return [street[round_] - bare[round_] for round_ in street if round_ in bare]

    def compared(self) -> str:
        """How the answers of all windows, noisy ones too, compare."""
        street, bare = (
            {answer for sample in side for answer in sample.answers} for side in (self.street, self.bare)
        )
        if street == bare and len(street) == 1:
            return "equal"
        if street == bare:
            return f"{len(street)} kinds, the same of both"
        return "NOT EQUAL"


def usable(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The quiet ones; all of them if there are none."""
    return [sample for sample in samples if sample.quiet] or samples


def by_round(samples: Sequence[Sample], metric: Metric) -> dict[int, float]:
    """One value a round: that of the last usable window taken in it."""
    return {sample.round: metric(sample) for sample in usable(samples)}


def middle(samples: Sequence[Sample], metric: Metric) -> float:
    return estimate(list(by_round(samples, metric).values())).value


def windows(samples: Sequence[Sample]) -> str:
    """How many of the windows were quiet, and so used."""
    quiet = sum(sample.quiet for sample in samples)
    return f"{quiet} of {len(samples)}" if quiet else f"0 of {len(samples)} (the last of each round used)"


def latency_row(job: PipelineJob, pair: Pair) -> list[str]:
    def p50(sample: Sample) -> float:
        return sample.p50_ms

    bare_ms = middle(pair.bare, p50)
    return [
        job.pipeline,
        f"{middle(pair.street, p50):,.1f}",
        f"{bare_ms:,.1f}",
        *difference(pair.more(p50), bare_ms),
        f"{middle(pair.street, lambda s: s.cpu_s_a_job):.3f}",
        f"{middle(pair.bare, lambda s: s.cpu_s_a_job):.3f}",
        f"{job.compared}: {pair.compared()}",
        windows(pair.street),
        windows(pair.bare),
    ]


def difference(more_ms: Sequence[float], bare_ms: float) -> tuple[str, str, str]:
    """The median over the rounds, its interval, and how much that is of the bare latency."""
    if not more_ms:
        return ("no round with a quiet window of both", "", "")
    found = estimate(more_ms)
    interval = f"{found.low:+,.1f} to {found.high:+,.1f}" if len(more_ms) >= ROUNDS_MIN else "too few rounds"
    return (f"{found.value:+,.1f}", interval, f"{found.value / bare_ms * 100:+.1f}")


def memory_row(job: PipelineJob, pair: Pair) -> list[str]:
    return [
        job.pipeline,
        f"{middle(pair.street, lambda s: s.model_mib):,.0f}",
        f"{middle(pair.bare, lambda s: s.model_mib):,.0f}",
        f"{middle(pair.street, lambda s: s.all_mib - s.model_mib):,.0f}",
        f"{middle(pair.street, lambda s: s.ready_s):.1f}",
        f"{middle(pair.bare, lambda s: s.ready_s):.1f}",
        ", ".join(job.libraries),
    ]


def models_report(
    samples: Sequence[Sample], *, jobs: Sequence[PipelineJob], skipped: Mapping[str, str], head: str
) -> str:
    """Everything a reader needs to judge what the street costs."""
    pairs = [(job, pair) for job in jobs if (pair := Pair.of(samples, job.pipeline)) is not None]
    latency_head = (
        *("pipeline", "street p50 ms", "bare p50 ms", "street more, ms", "95 % interval", "more, %"),
        *("street CPU s a job", "bare CPU s a job", "answers", "street quiet windows", "bare quiet windows"),
    )
    memory_head = (
        *("pipeline", "runner PSS MiB", "bare PSS MiB", "the other roles PSS MiB"),
        *("street ready s", "bare ready s", "the bare script calls"),
    )
    parts = [f"{head} {machine()}."]
    if pairs:
        parts.append(table(latency_head, [latency_row(*both) for both in pairs]))
        parts.append(table(memory_head, [memory_row(*both) for both in pairs]))
    parts.append(
        f"Windows in which strangers used more than {FOREIGN_CORES_MAX} of a core are set aside. CPU is that of all "
        "processes of a side. Ready is the first answer, counted from the start of the first process."
    )
    parts += [f"Skipped: **{pipeline}**: {reason.splitlines()[0]}" for pipeline, reason in skipped.items()]
    return "\n\n".join(parts)
