"""Every pipeline through the street and by a bare script: in turn, each alone on the machine, in rounds.

One round goes street then bare, the next bare then street, so that a drift of the machine favours neither. A pipeline
that cannot be measured is skipped with its reason; a noisy window is taken again while time allows, and kept, marked.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks.look import Look
from benchmarks.models.jobs import PipelineJob
from benchmarks.models.report import Sample
from benchmarks.models.sides import SIDES, Side, Told, Work, threads_here
from benchmarks.peers.peer import Skipped
from benchmarks.processes import pss_bytes
from benchmarks.samples import append
from shoal.errors import ShoalError
from shoal.worker.models import ensure, find, models_home
from shoal.worker.sources import sources

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure."""

    rounds: int
    #: A window lasts at least so long, and at least so many jobs.
    seconds: float
    jobs_min: int
    #: Jobs that are not counted, after the first answer.
    warm: int
    #: How often a noisy window is taken.
    takes_max: int
    #: No window is taken again, and no round begun, after this.
    budget_s: float


FULL = Plan(rounds=4, seconds=3.0, jobs_min=3, warm=1, takes_max=3, budget_s=1_500)
QUICK = Plan(rounds=1, seconds=1.0, jobs_min=2, warm=1, takes_max=1, budget_s=240)


@dataclass(slots=True)
class Rounds:
    """One run over all jobs. `say` is told every step."""

    run: str
    plan: Plan
    jobs: Sequence[PipelineJob]
    say: Callable[[str], None]
    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    rounds_done: int = 0
    began: float = field(default_factory=time.monotonic)

    def go(self) -> None:
        works = [work for job in self.jobs if (work := self.prepare(job)) is not None]
        self.began = time.monotonic()
        for round_ in range(self.plan.rounds):
            if self.late():
                self.say(f"out of time: {self.rounds_done} of {self.plan.rounds} rounds were made")
                return
            for work in works:
                for side in SIDES if round_ % 2 == 0 else reversed(SIDES):
                    if work.job.pipeline not in self.skipped:
                        self.visit(work, side, round_)
            self.rounds_done += 1

    def late(self) -> bool:
        return time.monotonic() - self.began > self.plan.budget_s

    def prepare(self, job: PipelineJob) -> Work | None:
        """The model's files, here and checked before anything is measured."""
        absent = [name for name in job.libraries if importlib.util.find_spec(name) is None]
        if absent:
            self.skip(job.pipeline, f"its extra is not installed: {', '.join(absent)}")
            return None
        try:
            model = find(job.pipeline, "")
            folder = ensure(model, models_home(os.environ), lambda *_: None, sources(os.environ))
        except ShoalError as error:
            self.skip(job.pipeline, error.message)
            return None
        return Work(job, model.id, folder, threads_here())

    def skip(self, pipeline: str, reason: str) -> None:
        self.skipped[pipeline] = reason
        self.say(f"skipped {pipeline}: {reason}")

    def visit(self, work: Work, name: str, round_: int) -> None:
        """Start the side, take its window, end it."""
        began = time.monotonic()
        try:
            with SIDES[name](work) as side:
                side.ask()
                ready_s = time.monotonic() - began
                for _ in range(self.plan.warm):
                    side.ask()
                self.windows(work, name, round_, side, ready_s)
        except Skipped as reason:
            self.skip(work.job.pipeline, str(reason))

    def windows(self, work: Work, name: str, round_: int, side: Side, ready_s: float) -> None:
        """One window, taken again while it is noisy and there is time."""
        for _ in range(self.plan.takes_max):
            sample = self.window(work, name, round_, side, ready_s)
            self.samples.append(sample)
            append("models", [{**asdict(sample), "quiet": sample.quiet}])
            noise = "" if sample.quiet else f"  noisy: strangers used {sample.foreign_cores:.2f} cores"
            pace = (
                f"p50 {sample.p50_ms:>9,.1f} ms  CPU {sample.cpu_s_a_job:.2f} s  {sample.model_mib:,.0f} MiB"
            )
            head = f"round {round_ + 1}/{self.plan.rounds} {work.job.pipeline:<18} {name:<6}"
            self.say(f"{head} {pace}{noise}")
            if sample.quiet or self.late():
                return

    def window(self, work: Work, name: str, round_: int, side: Side, ready_s: float) -> Sample:
        told: list[Told] = []
        side.pids()  # who belongs to it is known before the first look
        before = Look.now()
        until = time.monotonic() + self.plan.seconds
        while len(told) < self.plan.jobs_min or time.monotonic() < until:
            told.append(side.ask())
        members = side.pids()
        used = Look.now().since(before, crew=members, ours=[os.getpid()])
        return Sample(
            run=self.run,
            round=round_,
            pipeline=work.job.pipeline,
            side=name,
            jobs=len(told),
            seconds=used.wall_ns / 1e9,
            p50_ms=median(one.ms for one in told),
            max_ms=max(one.ms for one in told),
            cpu_s_a_job=used.crew_ns / len(told) / 1e9,
            model_mib=pss_bytes([side.model_pid()]) / MIB,
            all_mib=pss_bytes(members) / MIB,
            ready_s=ready_s,
            foreign_cores=used.foreign_ns / used.wall_ns,
            answers=sorted({one.sha256 for one in told}),
        )
