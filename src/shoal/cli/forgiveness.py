"""Have a gateway give jobs to an orchestrator again whose books did not fit its own. What was lost stays lost.

Look into it first: `shoal gateway forgive` without a name lists whom the gateway deals with no more, and why.
"""

from __future__ import annotations

import argparse
import json

from shoal.cli import office
from shoal.cli.buyer import names

EXAMPLE = """\
  shoal gateway forgive
  shoal gateway forgive orchestrator-1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom."""
    parser.add_argument(
        "node", nargs="?", metavar="NODE", help="the orchestrator's id, or its name in `shoal up`"
    )
    office.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Forgive it, or list who might be."""
    door, known = office.door(options), names()
    if options.node:
        node = {name: node for node, name in known.items()}.get(options.node, options.node)
        answer = door.ask("DELETE", f"/estranged/{node}").json()
        print(json.dumps(answer) if options.json else f"{options.node} gets jobs again")
        return 0
    sellers = door.get("/status").json()["sellers"]
    causes = {
        seller["node"]: cause for seller in sellers if (cause := seller["payment"]["estranged_because"])
    }
    if options.json:
        print(json.dumps({"estranged": causes}))
        return 0
    for node, cause in causes.items():
        print(f"{known.get(node, node)}: {cause}")
    if not causes:
        print("everybody's books fit")
    return 0
