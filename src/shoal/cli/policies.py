"""List by what a job's node can be chosen at a gateway, its own policies among ours."""

from __future__ import annotations

import argparse
import json

from shoal.cli.buyer import Buyer, gateway
from shoal.cli.terminal import columns
from shoal.cli.terminal import console as new_console

EXAMPLE = """\
  shoal policies
  shoal run llm "Name three fish." --policy fastest"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose."""
    parser.add_argument("--gateway", metavar="URL", help="($SHOAL_URL, else the network of `shoal up`)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Ask the gateway and print."""
    value = Buyer(gateway(options.gateway)).policies()
    if options.json:
        print(json.dumps(value, indent=2))
        return 0
    rows = [
        ("*" if policy["name"] == value["default"] else "", policy["name"], policy["about"])
        for policy in value["policies"]
    ]
    console = new_console()
    for line in columns(("", "policy", "takes"), rows):
        console.print(line, markup=False)
    console.print("* where a job asks for none", markup=False)
    return 0
