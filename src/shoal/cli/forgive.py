"""Have a worker take jobs again from an orchestrator that it has left. What that owes stays owed, and on the books.

The worker hears of it within a few seconds, or when it is started.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from shoal.cli.buyer import names
from shoal.cli.earnings import homes
from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.worker.cashier import leave_note
from shoal.worker.statement import read_earnings

EXAMPLE = """\
  shoal worker forgive 0x52908400098527886e0f7030069857d2e4169ee7
  shoal worker forgive orchestrator-1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom, and whose worker."""
    parser.add_argument("node", metavar="NODE", help="the orchestrator's id, or its name in `shoal up`")
    parser.add_argument(
        "--home", type=Path, metavar="FOLDER", help="the worker's folder ($SHOAL_HOME/worker)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Leave a note in each worker's home that has left it."""
    ids = {name: node for node, name in names().items()}
    node = NodeId(ids.get(options.node, options.node).lower())
    told = []
    for folder in homes(options.home):
        if any(line.orchestrator == node and line.left for line in read_earnings(folder)):
            leave_note(folder, node)
            told.append(str(folder))
    if not told:
        raise Refused(
            f"no worker here has left {options.node}; `shoal worker earnings` names those that were left"
        )
    if options.json:
        print(json.dumps({"orchestrator": node, "homes": told}))
    else:
        print(f"{options.node} gets work again, from {len(told)} worker{'s' if len(told) > 1 else ''}")
    return 0
