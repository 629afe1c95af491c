"""Say what was won and what became of it: winning tickets, redemptions, payouts to workers, and totals by pipeline.

Asks the redeemer of `shoal up` or the one that --redeemer names; if it does not run, its journal is read.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shoal.chain.amounts import eth
from shoal.cli.client import Client
from shoal.cli.network import NETWORK_FILE
from shoal.cli.terminal import columns
from shoal.cli.terminal import console as new_console
from shoal.errors import Refused, Unreachable
from shoal.redeemer.archive import read_books
from shoal.redeemer.statement import statement
from shoal.runtime.config import home
from shoal.runtime.keys import NodeKey

EXAMPLE = """\
  shoal payouts
  shoal payouts --open --json
  shoal payouts --home ~/redeemer     # from its journal, even if it does not run"""

WHY_CHARACTERS = 90


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose, and how much of it."""
    parser.add_argument(
        "--redeemer", metavar="URL", help="its operator's door ($SHOAL_REDEEMER_URL, else that of `shoal up`)"
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="read the journal in this folder instead")
    parser.add_argument("--open", action="store_true", help="only what has not ended")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Ask or read, and print."""
    value = _statement(options)
    if options.open:
        value["ended"] = []
    if options.json:
        print(json.dumps(value, indent=2))
        return 0
    console = new_console()
    for line in lines(value):
        console.print(line, markup=False)
    return 0


def lines(value: dict[str, Any]) -> Iterator[str]:
    """A statement for people."""
    entries = [*value["open"], *value["ended"]]
    if not entries and not value["totals"]:
        yield "no ticket has won yet"
        return
    if value["silence"]:
        yield f"the chain does not answer: {value['silence']}"
    head = ("what", "state", "pipeline", ">eth", ">gas", "transaction", "why")
    yield from columns(head, [_row(entry) for entry in entries])
    yield ""
    names = ("taken", "confirmed", "refused")
    totals = [
        (
            name or "(unknown)",
            *(f"{total[each]:,}" for each in names),
            eth(int(total["wei"])),
            eth(int(total["fee_wei"])),
        )
        for name, total in value["totals"].items()
    ]
    yield from columns(("totals", *(f">{name}" for name in names), ">eth", ">gas"), totals)
    if untold := len(value["untold"]):
        yield f"{untold} redemptions have not been told to every webhook yet"
    if given_up := value["given_up_notices"]:
        yield f"{given_up} notices were given up: their webhooks would not take them"


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    wei = int(entry["wei"]) or int(entry.get("face_wei") or entry.get("pays_wei") or 0)
    kind = {"ticket": "ticket", "payout": f"payout to {len(entry.get('payees', ()))}", "nonce": "nonce"}
    return (
        kind[entry["kind"]],
        entry["state"] + (f" ({entry['replaced']} times dearer)" if entry["replaced"] else ""),
        entry.get("pipeline", ""),
        eth(wei),
        eth(int(entry["fee_wei"])),
        entry["transaction"] or "",
        (entry["why"] or "")[:WHY_CHARACTERS],
    )


def _statement(options: argparse.Namespace) -> dict[str, Any]:
    if options.home:
        return _from_journal(options.home)
    network = home(os.environ) / "networks" / "local"
    url = options.redeemer or os.environ.get("SHOAL_REDEEMER_URL") or _url(network)
    if url:
        try:
            return dict(Client(url).get("/payouts").json())
        except Unreachable:
            if options.redeemer:
                raise
    for folder in (network / "redeemer", home(os.environ) / "redeemer"):
        if (folder / "journal.sqlite3").exists():
            return _from_journal(folder)
    raise Refused("no redeemer is known here: name its door with --redeemer, or its folder with --home")


def _from_journal(folder: Path) -> dict[str, Any]:
    machine = read_books(folder / "journal.sqlite3")
    return statement(machine, NodeKey.load(folder / "key").id)


def _url(network: Path) -> str:
    """Where the redeemer of `shoal up` is, "" if there is none."""
    try:
        nodes = json.loads((network / NETWORK_FILE).read_text())["nodes"].values()
        return next((str(node["url"]) for node in nodes if node["role"] == "redeemer"), "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
