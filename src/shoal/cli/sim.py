"""Put the gateway and its rivals to a load in virtual time, and say how each fared.

`shoal sim load SCENARIO` runs the machines of a real network, thousands of times faster than time,
under each policy and as others choose, from the same seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import json

from shoal.cli.drawing import drawing
from shoal.errors import Refused
from shoal.runtime.clock import SystemClock
from shoal.sim.load import contenders
from shoal.sim.load.goals import summary
from shoal.sim.load.runs import (
    REPORTED,
    Mark,
    Round,
    Task,
    csv_lines,
    mark,
    play_all,
    read_rounds,
    round_lines,
    tasks,
    trace_of,
)
from shoal.sim.load.scenarios import SCENARIOS, scenario
from shoal.sim.load.tables import page
from shoal.sim.load.trace import trace_lines
from shoal.units import SECOND_MS

EXAMPLE = """\
  shoal sim load half-full
  shoal sim load overload --policy balanced,livepeer-early --rate 1,3 --seeds 5
  shoal sim load all --out build/lab --page docs/load.md
  shoal sim load event --trace event-7.jsonl --first 7"""

BEGIN = "<!-- tables: drawn by make lab -->\n"
END = "<!-- end of tables -->\n"
ROUNDS, MARKS = "rounds.jsonl", "marks.json"
#: Seeds that are enough to find the rate of a reported failure.
MARK_SEEDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, who, and how often."""
    parser.add_argument("what", choices=("load",), help="what to simulate")
    parser.add_argument(
        "scenario", metavar="SCENARIO[,SCENARIO]", help=f"all, or any of {', '.join(SCENARIOS)}"
    )
    parser.add_argument(
        "--policy",
        metavar="NAME[,NAME]",
        help=f"who is put to it (all; at every rate of a sweep the few): {', '.join(contenders.names())}; "
        f"a policy's name with {contenders.HEDGED} asks a second node",
    )
    parser.add_argument("--rate", metavar="R[,R]", help="instead of the scenario's own rates")
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds (10)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that share the rounds (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print every round as a line of JSON")
    parser.add_argument("--csv", action="store_true", help="print every round as a line of CSV")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write rounds.jsonl, rounds.csv and tables.md there"
    )
    parser.add_argument(
        "--read", metavar="DIR[,DIR]", help="run nothing: take the rounds that --out has written there"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="a page with plots of it all")
    parser.add_argument("--resume", action="store_true", help="with --out: run only what is not there yet")
    parser.add_argument("--page", type=Path, help="write the tables between the markers of this page")
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="write the load itself there, and run nothing"
    )


def run(options: argparse.Namespace) -> int:
    """Run the rounds and print what came of them."""
    whole = options.scenario == "all"
    names = tuple(SCENARIOS) if whole else tuple(scenario(n).name for n in options.scenario.split(","))
    seeds = range(options.first, options.first + options.seeds)
    if not seeds:
        raise Refused(f"--seeds {options.seeds} leaves nothing to run; it is at least 1")
    if options.resume and options.out is None:
        raise Refused("--resume needs --out: the folder that an earlier run has written to")
    if options.trace is not None:
        _write_trace(options, names[0])
        return 0
    if options.html is not None:
        drawing("rounds")  # better now than after the rounds
    if options.read is not None:
        rounds, marks = _read(options.read, names)
    else:
        rounds, marks = _play(options, names, seeds)
    for line in _lines(options, rounds, marks):
        print(line)
    _write(options, rounds, marks)
    return 0


def _play(
    options: argparse.Namespace, names: Sequence[str], seeds: Sequence[int]
) -> tuple[list[Round], list[Mark]]:
    """Every round that is not there yet; each is written down as it ends, so that nothing is lost with us."""
    known: list[Round] = []
    marks: list[Mark] = []
    if options.resume:
        known, marks = _read(str(options.out), names)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    tell = _Teller()
    if not marks and not (options.policy or options.rate):
        tell.say("looking for the rates of the reported failures")
        marks = [mark(wanted, seeds[:MARK_SEEDS]) for wanted in REPORTED if wanted.scenario in names]
    found = {round_.task: round_ for round_ in known}
    todo = _tasks(options, names, seeds, marks)
    tell.total = sum(task not in found for task in todo)
    with _diary(options, known, marks) as note:

        def heard(round_: Round) -> None:
            note(round_)
            tell.round(round_.task)

        fresh = play_all([task for task in todo if task not in found], options.processes, heard)
    found |= {round_.task: round_ for round_ in fresh}
    return [found[task] for task in todo], marks


@contextmanager
def _diary(
    options: argparse.Namespace, known: Sequence[Round], marks: Sequence[Mark]
) -> Iterator[Callable[[Round], None]]:
    if options.out is None:
        yield lambda round_: None
        return
    (options.out / MARKS).write_bytes(json.encode(marks) + b"\n")
    with (options.out / ROUNDS).open("wb") as file:
        file.writelines(round_lines(known))

        def note(round_: Round) -> None:
            file.writelines(round_lines([round_]))
            file.flush()

        yield note


def _tasks(
    options: argparse.Namespace, names: Sequence[str], seeds: Sequence[int], marks: Sequence[Mark]
) -> list[Task]:
    rates = _rates(options.rate)
    if options.policy:
        policies = options.policy.split(",")
        for name in policies:
            contenders.require(name)
        return tasks(names, policies, seeds, rates)
    found: list[Task] = []
    for name in names:
        its = rates or scenario(name).rates
        everybody = scenario(name).policies or contenders.names()
        found += tasks([name], contenders.FEW if len(its) > 1 else everybody, seeds, its)
        marked = {found.rate for found in marks if found.scenario == name and found.rate is not None}
        everywhere = sorted(marked) if marked else its[-1:] if len(its) > 1 else ()
        found += tasks([name], everybody, seeds, tuple(everywhere)) if everywhere else []
    return list(dict.fromkeys(found))


def _rates(text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise Refused(f"--rate takes numbers with commas between them, not {text!r}") from error


class _Teller:
    """Says on stderr how far it is: one line that moves in a terminal, else a line now and then."""

    def __init__(self) -> None:
        self.total = 0
        self._done = 0
        self._clock = SystemClock()
        self._began = self._clock.now()
        self._moves = sys.stderr.isatty()

    def say(self, text: str, *, last: bool = False) -> None:
        """What is done now."""
        spent_s = (self._clock.now() - self._began) / SECOND_MS
        line = f"{spent_s:.0f} s: {text}"
        if self._moves:
            print(f"\r\033[K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def round(self, task: Task) -> None:
        """A round is over."""
        self._done += 1
        last = self._done == self.total
        if self._moves or last or self._done % max(1, self.total // 50) == 0:
            text = (
                f"{self._done} of {self.total} rounds, last {task.scenario} at {task.rate:.3g}, {task.policy}"
            )
            self.say(text, last=last)


def _lines(options: argparse.Namespace, rounds: Sequence[Round], marks: Sequence[Mark]) -> Iterator[str]:
    if options.json:
        yield from (line.decode().rstrip() for line in round_lines(rounds))
    elif options.csv:
        yield from csv_lines(rounds)
    else:
        yield from _tables(rounds, marks)


def _tables(rounds: Sequence[Round], marks: Sequence[Mark]) -> list[str]:
    return [*summary(rounds, marks), *page(rounds, marks)]


def _read(folders: str, names: Sequence[str]) -> tuple[list[Round], list[Mark]]:
    """The rounds and marks of earlier runs, in the order of the scenarios."""
    rounds: list[Round] = []
    marks: list[Mark] = []
    for folder in map(Path, folders.split(",")):
        if not (folder / ROUNDS).exists():
            raise Refused(f"{folder} holds no {ROUNDS}: name what --out was given")
        rounds += read_rounds((folder / ROUNDS).read_bytes().splitlines())
        marks += json.decode((folder / MARKS).read_bytes(), type=list[Mark])
    found = {round_.task: round_ for round_ in rounds if round_.task.scenario in names}
    return sorted(found.values(), key=lambda round_: names.index(round_.task.scenario)), marks


def _write(options: argparse.Namespace, rounds: Sequence[Round], marks: Sequence[Mark]) -> None:
    tables = "\n".join(_tables(rounds, marks)) + "\n"
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / ROUNDS).write_bytes(b"".join(round_lines(rounds)))
        (options.out / "rounds.csv").write_text("\n".join(csv_lines(rounds)) + "\n")
        (options.out / MARKS).write_bytes(json.encode(marks) + b"\n")
        (options.out / "tables.md").write_text(tables)
    if options.html is not None:
        options.html.write_text(drawing("rounds").page(rounds, marks))
    if options.page is not None:
        options.page.write_text(_between(options.page, tables))


def _between(path: Path, tables: str) -> str:
    head, begin, rest = path.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise Refused(f"{path} has no place for tables: it needs the lines {BEGIN.strip()} and {END.strip()}")
    return head + BEGIN + "\n" + tables + END + tail


def _write_trace(options: argparse.Namespace, name: str) -> None:
    rates = _rates(options.rate) or scenario(name).rates
    trace = trace_of(name, rates[-1], options.first)
    options.trace.write_bytes(b"".join(trace_lines(trace)))
    print(
        f"{options.trace}: {len(trace.arrivals)} jobs of {name} at rate {rates[-1]:g}, seed {options.first}"
    )
