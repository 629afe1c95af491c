"""Put the gateway and its rivals to a load in virtual time, and say how each fared.

`shoal sim load SCENARIO` runs the machines of a real network, thousands of times faster than time,
under each policy and as others choose, from the same seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
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
MARK_SEEDS = 6


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
    if options.trace is not None:
        _write_trace(options, names[0])
        return 0
    if options.html is not None:
        drawing("rounds")  # better now than after the rounds
    if options.read is not None:
        rounds, marks = _read(options.read, names)
    else:
        clock = SystemClock()
        began = clock.now()
        marks = _marks(options, names, seeds)
        todo = _tasks(options, names, seeds, marks)
        rounds = play_all(
            todo, options.processes, _teller(len(todo), lambda: (clock.now() - began) / SECOND_MS)
        )
    for line in _lines(options, rounds, marks):
        print(line)
    _write(options, rounds, marks)
    return 0


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


def _marks(options: argparse.Namespace, names: Sequence[str], seeds: Sequence[int]) -> list[Mark]:
    """The rates of the reported failures; not where one has asked for certain rates or contenders."""
    if options.policy or options.rate:
        return []
    return [mark(wanted, seeds[:MARK_SEEDS]) for wanted in REPORTED if wanted.scenario in names]


def _teller(total: int, spent_s: Callable[[], float]) -> Callable[[int, Task], None]:
    """Says on stderr how far it is: one line that moves in a terminal, else a line now and then."""
    terminal = sys.stderr.isatty()

    def tell(done: int, task: Task) -> None:
        line = (
            f"{done}/{total} rounds, {spent_s():.0f} s, last: {task.scenario} {task.rate:.3g} {task.policy}"
        )
        if terminal:
            print(f"\r\033[K{line}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif done == total or done % max(1, total // 50) == 0:
            print(line, file=sys.stderr, flush=True)

    return tell


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
