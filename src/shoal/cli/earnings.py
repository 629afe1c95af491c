"""Say what a worker has earned: by orchestrator the jobs, the money, what was paid, and what is owed.

It is read from the worker's own books, which lie in its home; the worker may be running. What it counted
in the last second may be missing.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import msgspec

from shoal.cli.buyer import names
from shoal.cli.terminal import columns, console, gwei
from shoal.errors import Refused
from shoal.runtime.config import home
from shoal.worker.statement import JOURNAL, Line, read_earnings

EXAMPLE = """\
  shoal worker earnings
  shoal worker earnings --home ~/shoal/worker --json"""

HEAD = ("orchestrator", ">jobs", ">earned", ">paid", ">on chain", ">owed", "last payment")
TRANSACTION_CHARS = 14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose, and how."""
    parser.add_argument(
        "--home",
        type=Path,
        metavar="FOLDER",
        help="the worker's ($SHOAL_HOME/worker, and those of `shoal up`)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, amounts in wei")


def run(options: argparse.Namespace) -> int:
    """Read and print."""
    statements = {str(folder): read_earnings(folder) for folder in homes(options.home)}
    if options.json:
        workers = [
            {"home": folder, "orchestrators": [_as_json(line) for line in lines]}
            for folder, lines in statements.items()
        ]
        print(json.dumps({"workers": workers}, indent=2))
        return 0
    shown, known = console(), names()
    for folder, lines in statements.items():
        if len(statements) > 1:
            shown.print(f"{Path(folder).name}:", markup=False)
        shown.print(table(lines, known) if lines else "nothing has been earned yet", markup=False)
        for line in lines:
            if line.left:
                name = known.get(line.orchestrator, line.orchestrator)
                note = f"{name} gets no more work: {line.left}; `shoal worker forgive {line.orchestrator}`"
                shown.print(note, markup=False)
    return 0


def homes(named: Path | None) -> list[Path]:
    """The folders of the workers on this computer, or the one that is named. Raises `Refused` if there is none."""
    if named is not None:
        return [named.expanduser()]
    top = home(os.environ)
    places = [top / "worker", *sorted((top / "networks" / "local").glob("worker-*"))]
    found = [place for place in places if (place / JOURNAL).exists()]
    if not found:
        raise Refused(f"no worker has run in {top}; name its folder with --home")
    return found


def table(lines: list[Line], known: dict[str, str]) -> str:
    """One orchestrator a line."""
    return "\n".join(columns(HEAD, [_cells(line, known) for line in lines]))


def _cells(line: Line, known: dict[str, str]) -> tuple[str, ...]:
    confirmed = "not looked for" if line.confirmed is None else gwei(line.confirmed)
    return (
        known.get(line.orchestrator, line.orchestrator),
        f"{line.jobs:,}",
        gwei(line.earned),
        gwei(line.paid),
        confirmed,
        gwei(line.owed),
        _payment(line),
    )


def _payment(line: Line) -> str:
    if not line.transaction:
        return "none yet"
    short = line.transaction[:TRANSACTION_CHARS]
    return f"{short}… ({'confirmed' if line.on_chain else 'announced'})"


def _as_json(line: Line) -> dict[str, object]:
    amounts = ("earned", "paid", "confirmed", "owed", "unpaid")
    fields = msgspec.structs.asdict(line)
    return {f"{name}_wei" if name in amounts else name: value for name, value in fields.items()}
