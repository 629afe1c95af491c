"""Are we slower than we were? Two networks of one run: the source as it lies here, and that of an earlier commit.

    python -m benchmarks.against COMMIT [--rounds N] [--clients N] [--seconds S] [--lost PART] [--python FILE] [--json]

Both live all the time, on journals of their own, and are asked in short windows: a pair a round, whose order is
drawn. What a window says of a busy machine its pair says too, so only the ratio within a pair is used. A pair in which
strangers used much of the processors is set aside and taken again, as in the race (`benchmarks/race.py`). The
commit's source runs under this environment's interpreter and libraries, unless `--python` names that of another: its
own `requirements/` are not looked at.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import Self

from benchmarks.figures import Bound, Estimate, estimate
from benchmarks.peers import shoal
from benchmarks.peers.peer import REPOSITORY, Peer, Room
from benchmarks.processes import Program
from benchmarks.race import ask
from benchmarks.report import machine, table
from benchmarks.samples import FOREIGN_CORES_MAX, append
from benchmarks.sides import Side, Window, processes_of, window

OURS, THEIRS = "now", "then"
SIDES = (OURS, THEIRS)
#: Before the first pair, so that code is warm on both sides.
BEGIN_S = 2.0
#: So many pairs may be taken for each that is wanted, while they are noisy.
TAKES_MAX = 2
#: With fewer quiet pairs than this all are used; with fewer pairs there is no verdict.
PAIRS_MIN = 5
SEED = 1

Metric = Callable[[Window], float]
Pair = Mapping[str, Window]


class Version(Side):
    """A network that runs one version of the source."""

    def __init__(self, source: Path, folder: Path, python: str = sys.executable) -> None:
        folder.mkdir()
        programs, address = shoal.network(Room(folder), "echo", "echo", slots=shoal.SLOTS)
        names = ("orchestrator", "worker", "gateway")
        homes = {name: folder / name for name in names}
        for home in homes.values():
            home.mkdir(mode=0o700)
        super().__init__(address, homes)
        self._programs = {
            name: Program((python, *program.command[1:]), {**program.env, "PYTHONPATH": str(source)})
            for name, program in zip(names, programs, strict=True)
        }

    def __enter__(self) -> Self:
        try:
            for name, program in self._programs.items():
                self.start(name, program)
            self.wait_until(self._wrong)
        except BaseException:
            self.__exit__()
            raise
        self.is_ready()
        return self

    def _wrong(self) -> str:
        """What is wrong with its answer, if anything is."""
        try:
            return ask(Peer((), self.address, "/echo", body=shoal.BODY, echoed=False))
        except (OSError, http.client.HTTPException) as error:
            return repr(error)


def git(*arguments: str) -> bytes:
    """What git says of this repository. Ends with its reason where it cannot."""
    said = subprocess.run(("git", *arguments), cwd=REPOSITORY, capture_output=True, check=False)  # noqa: S607
    if said.returncode:
        raise SystemExit(said.stderr.decode(errors="replace").strip())
    return said.stdout


def unpack(commit: str, folder: Path) -> Path:
    """The commit's source, laid into a folder; where Python finds it."""
    archive = io.BytesIO(git("archive", "--format=tar", commit, "src"))
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


def named(commit: str) -> str:
    """The full name of a commit, however it was written."""
    return git("rev-list", "--max-count=1", "--end-of-options", commit, "--").decode().strip()


# Taking pairs


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    rounds: int
    clients: int
    seconds: float
    lost: float


def take(plan: Plan, run: str, sides: Mapping[str, Side]) -> list[Pair]:
    """Pairs of windows until enough of them were quiet, or twice as many were taken."""
    for name in SIDES:
        window(sides, run, -1, name, plan.clients, BEGIN_S)
    luck = random.Random(SEED)
    pairs: list[Pair] = []
    while len(pairs) < plan.rounds * TAKES_MAX and len(quiet(pairs)) < plan.rounds:
        order = luck.sample(SIDES, 2)
        pair = {name: window(sides, run, len(pairs), name, plan.clients, plan.seconds) for name in order}
        append("against", [asdict(each) for each in pair.values()])
        pairs.append(pair)
        noise = mean(each.foreign_cores for each in pair.values())
        pace = " to ".join(f"{pair[name].jobs_s:,.0f}" for name in SIDES)
        say(f"pair {len(pairs)}: {pace} jobs/s; strangers used {noise:.2f} cores")
    return pairs


def quiet(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs in which strangers left the machine to us both times."""
    return [pair for pair in pairs if all(each.quiet for each in pair.values())]


# What it comes to


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure on both sides, and what becomes of it: the median of the pairs' ratios."""

    name: str
    now: float
    then: float
    ratio: Estimate


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all pairs say together."""

    figures: list[Figure]
    used: int
    taken: int
    #: False if so few pairs were quiet that the noisy ones had to be used too.
    quiet: bool
    foreign_cores: float
    errors: int
    bound: float
    verdict: str


def outcome(pairs: Sequence[Pair], lost: float) -> Outcome:
    """Compare the pairs that are worth using."""
    chosen = quiet(pairs)
    enough = len(chosen) >= PAIRS_MIN
    used = chosen if enough else list(pairs)
    figures = [compared(used, name, what) for name, what in metrics(used).items()]
    bound = Bound(round(1 - lost, 6), at_least=True)
    errors = sum(each.errors for pair in pairs for each in pair.values())
    verdict = bound.verdict(figures[0].ratio) if len(used) >= PAIRS_MIN else "too few pairs to say"
    return Outcome(
        figures=figures,
        used=len(used),
        taken=len(pairs),
        quiet=enough,
        foreign_cores=mean(each.foreign_cores for pair in used for each in pair.values()),
        errors=errors,
        bound=bound.limit,
        verdict=f"void: {errors} wrong answers" if errors else verdict,
    )


def metrics(pairs: Sequence[Pair]) -> dict[str, Metric]:
    """What is compared; jobs/s first, since that has the bound."""
    found: dict[str, Metric] = {
        "jobs/s": lambda each: each.jobs_s,
        "p50 ms": lambda each: each.p50_ms,
        "p99 ms": lambda each: each.p99_ms,
    }
    for process in processes_of(each for pair in pairs for each in pair.values()):
        found[f"{process} CPU a job µs"] = _cpu_of(process)
    return {**found, "CPU a job µs": lambda each: each.all_cpu_us}


def _cpu_of(process: str) -> Metric:
    return lambda each: each.cpu_us[process]


def compared(pairs: Sequence[Pair], name: str, what: Metric) -> Figure:
    """One figure, pair by pair."""
    both = [(what(pair[OURS]), what(pair[THEIRS])) for pair in pairs]
    ratios = estimate([now / then for now, then in both if then])
    return Figure(name, median(now for now, _ in both), median(then for _, then in both), ratios)


def report(found: Outcome, head: str) -> str:
    """The table, and the verdict in words."""
    rows = [
        [
            each.name,
            f"{each.then:,.2f}",
            f"{each.now:,.2f}",
            f"{each.ratio.value:.3f}",
            f"{each.ratio.low:.3f} to {each.ratio.high:.3f}",
        ]
        for each in found.figures
    ]
    used = f"{found.used} of {found.taken} pairs were quiet enough and are used"
    if not found.quiet:
        used = f"fewer than {PAIRS_MIN} pairs were quiet, so all {found.used} are used"
    return "\n\n".join(
        [
            f"{head} {machine()}.",
            table(("figure", "then", "now", "now ÷ then", "95 % interval"), rows),
            f"{used} (strangers: {found.foreign_cores:.2f} cores; quiet is {FOREIGN_CORES_MAX} at most).",
            f"jobs/s now ÷ then {Bound(found.bound, at_least=True)}: {found.verdict}.",
        ]
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.against", description="Are we slower than we were?")
    parser.add_argument("commit", help="what to compare with: any name that git knows")
    parser.add_argument(
        "--rounds", type=int, default=20, metavar="N", help="pairs that are wanted (%(default)s)"
    )
    parser.add_argument("--clients", type=int, default=64, metavar="N", help="at once (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=1.0, metavar="S", help="of each window (%(default)s)"
    )
    parser.add_argument(
        "--lost", type=float, default=0.10, metavar="PART", help="of jobs/s that may be lost (%(default)s)"
    )
    parser.add_argument(
        "--python",
        default=sys.executable,
        metavar="FILE",
        help="the interpreter that runs the commit's source",
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON instead of a table")
    return parser.parse_args(argv)


def main() -> None:
    """Measure and print."""
    # Told to end, we still end every process that we started.
    for told in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told, lambda number, _: sys.exit(128 + number))
    asked = arguments()
    plan = Plan(asked.rounds, asked.clients, asked.seconds, asked.lost)
    run = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    commit = named(asked.commit)
    with (
        tempfile.TemporaryDirectory(prefix="against-", ignore_cleanup_errors=True) as folder,
        ExitStack() as up,
    ):
        room = Path(folder)
        sources = {OURS: REPOSITORY / "src", THEIRS: unpack(commit, room)}
        pythons = {OURS: sys.executable, THEIRS: asked.python}
        sides = {name: up.enter_context(Version(sources[name], room / name, pythons[name])) for name in SIDES}
        say("both networks are ready")
        pairs = take(plan, run, sides)
    found = outcome(pairs, plan.lost)
    if asked.json:
        print(json.dumps({"run": run, "commit": commit, **asdict(plan), **asdict(found)}))
        return
    head = f"{run}: the source here against {commit[:12]}, {plan.clients} clients,"
    print(report(found, f"{head} windows of {plan.seconds:g} s;"))


if __name__ == "__main__":
    main()
