"""Run seeds: `python -m shoal.sim --seeds 200`. Exits with 1 if any of them found something.

One seed is one whole network. `--seed N --trace FILE` runs a single one and
writes down everything that happened in it.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from multiprocessing import Pool
from pathlib import Path

from msgspec import Struct, json

from shoal.runtime.clock import SystemClock
from shoal.sim.world import Outcome, Plan, run_seed
from shoal.units import SECOND_MS


class Summary(Struct, frozen=True):
    """What a run of seeds came to."""

    seeds: int
    jobs: int
    words: int
    events: int
    virtual_s: float
    took_s: float
    seeds_with_findings: tuple[int, ...]
    findings: tuple[str, ...]

    def __str__(self) -> str:
        took_s = max(self.took_s, 0.001)
        return (
            f"{self.seeds} seeds ({self.seeds / took_s:.1f} a second), {self.jobs} jobs, "
            f"{self.words} words, {self.events} events, "
            f"{self.virtual_s / took_s:.0f} virtual seconds a second, "
            f"{len(self.findings)} findings in {len(self.seeds_with_findings)} seeds"
        )


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; the exit code."""
    options = _options(arguments)
    clock = SystemClock()
    began = clock.now()
    outcomes: list[Outcome] = []
    for outcome in _outcomes(options):
        outcomes.append(outcome)
        for finding in outcome.findings:
            _say(options, f"seed {outcome.seed}: {finding}")
        if outcome.findings and options.until_found:
            break
        if len(outcomes) % 50 == 0:
            _say(options, f"{len(outcomes)} seeds, {(clock.now() - began) / SECOND_MS:.0f} s")
    summary = _sum_up(outcomes, (clock.now() - began) / SECOND_MS)
    text = json.encode(summary).decode() if options.json else str(summary)
    sys.stdout.write(text + "\n")
    return 1 if summary.findings else 0


def _options(arguments: list[str] | None) -> Namespace:
    parser = ArgumentParser(
        prog="python -m shoal.sim",
        description="Run the network under faults, once for each seed, and audit it.",
        epilog="example: python -m shoal.sim --seed 117 --trace /tmp/117.txt",
    )
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (200)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--jobs", type=int, default=100, help="jobs in each world (100)")
    parser.add_argument("--processes", type=int, default=2, help="processes that share the seeds (2)")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", type=Path, help="with --seed: write down everything that happens")
    parser.add_argument("--until-found", action="store_true", help="stop at the first seed with findings")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON, and nothing else")
    options = parser.parse_args(arguments)
    if options.trace is not None and options.seed is None:
        parser.error("--trace needs --seed: one seed's events are enough for one file")
    return options


def _outcomes(options: Namespace) -> Iterator[Outcome]:
    plan = Plan(jobs=options.jobs)
    if options.seed is not None:
        with options.trace.open("w") if options.trace else nullcontext() as file:
            yield run_seed(options.seed, plan, file)
        return
    seeds = range(options.first, options.first + options.seeds)
    if options.processes <= 1:
        yield from map(partial(run_seed, plan=plan), seeds)
        return
    with Pool(options.processes) as pool:
        yield from pool.imap(partial(run_seed, plan=plan), seeds, chunksize=4)


def _sum_up(outcomes: list[Outcome], took_s: float) -> Summary:
    return Summary(
        len(outcomes),
        sum(outcome.jobs for outcome in outcomes),
        sum(outcome.words for outcome in outcomes),
        sum(outcome.events for outcome in outcomes),
        sum(outcome.virtual_ms for outcome in outcomes) / SECOND_MS,
        took_s,
        tuple(outcome.seed for outcome in outcomes if outcome.findings),
        tuple(f"seed {o.seed}: {finding}" for o in outcomes for finding in o.findings),
    )


def _say(options: Namespace, text: str) -> None:
    if not options.json:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
