"""The laboratory's door: `python -m benchmarks.run [race|commits|idle|fleet|models]`.

Prints markdown, appends every sample to `benchmarks/results/`, and with
`--record` writes the table into `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import UTC, datetime

from benchmarks.commits import measure_commits
from benchmarks.fleet import measure_fleet
from benchmarks.idle import measure_idle
from benchmarks.journal_commits import measure_journal
from benchmarks.models import rounds
from benchmarks.models.jobs import jobs
from benchmarks.models.report import models_report
from benchmarks.peers import door, mosec, ray_serve, runner, shoal, uvicorn
from benchmarks.peers.peer import Start
from benchmarks.race import CLIENTS, FULL, QUICK, Race
from benchmarks.report import race_report, write_block

#: Everyone in the race, in the order of the first round.
PEERS: dict[str, Start] = {
    "shoal": shoal.start,
    "door": door.start,
    "uvicorn": uvicorn.tcp,
    "uvicorn-unix": uvicorn.unix,
    "runner": runner.start,
    "mosec": mosec.start,
    "ray-serve-tuned": ray_serve.tuned,
    "ray-serve-default": ray_serve.default,
}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def race(asked: argparse.Namespace, run: str) -> str:
    peers = {name: PEERS[name] for name in asked.peers}
    contest = Race(run, QUICK if asked.quick else FULL, peers, say)
    contest.go()
    head = f"{run}: {contest.rounds_done} rounds, windows of {contest.plan.seconds} s;"
    return race_report(
        contest.samples, peers=list(peers), clients=CLIENTS, skipped=contest.skipped, head=head
    )


def commits(asked: argparse.Namespace, run: str) -> str:
    seconds, rounds = (1.0, 2) if asked.quick else (4.0, 5)
    bare = measure_commits(run, seconds=seconds, rounds=rounds)
    return bare + "\n\n" + measure_journal(run, seconds=seconds, rounds=rounds)


def idle(asked: argparse.Namespace, run: str) -> str:
    return measure_idle(
        run, {name: PEERS[name] for name in asked.peers}, seconds=3.0 if asked.quick else 10.0, say=say
    )


def fleet(asked: argparse.Namespace, run: str) -> str:
    workers, seconds = (100, 5.0) if asked.quick else (1_000, 20.0)
    return measure_fleet(run, workers=workers, seconds=seconds)


def models(asked: argparse.Namespace, run: str) -> str:
    chosen = [job for name, job in jobs().items() if not asked.pipelines or name in asked.pipelines]
    trial = rounds.Rounds(run, rounds.QUICK if asked.quick else rounds.FULL, chosen, say)
    trial.go()
    head = f"{run}: {trial.rounds_done} rounds, {rounds.threads_here()} threads, a slot each;"
    return models_report(trial.samples, jobs=chosen, skipped=trial.skipped, head=head)


PARTS = {"race": race, "commits": commits, "idle": idle, "fleet": fleet, "models": models}


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument("part", nargs="?", default="race", choices=PARTS)
    parser.add_argument(
        "--quick", action="store_true", help="about two minutes: for a look, not for a figure"
    )
    parser.add_argument("--record", action="store_true", help="write the table into benchmarks/README.md")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS, metavar="PEER")
    parser.add_argument(
        "--pipelines", nargs="+", default=[], choices=jobs(), metavar="PIPELINE", help="some, for models"
    )
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    # Told to end, we still end every process that we started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    asked = arguments(argv)
    run = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = PARTS[asked.part](asked, run)
    print(text)
    if asked.record:
        write_block(asked.part, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
