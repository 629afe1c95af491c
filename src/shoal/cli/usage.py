"""Say what was used and charged, by key, pipeline, model and day; ends with 1 if it does not add up to the ledger.

As a client (`$SHOAL_API_KEY`) what is yours; with --all, or where an operator's door, home or a tenant is named,
as the gateway's operator, everybody's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from shoal.cli import office
from shoal.cli.buyer import gateway
from shoal.cli.terminal import columns, gwei
from shoal.cli.terminal import console as new_console

EXAMPLE = """\
  shoal usage --from 2026-11-01 --to 2026-11-30 --by pipeline,model
  shoal usage --all --by tenant,day --json"""

COUNTS = ("done", "failed", "cancelled", "open")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of when, and how finely."""
    parser.add_argument("--from", dest="first", metavar="DAY", help="from this day on (UTC), as 2026-11-01")
    parser.add_argument("--to", dest="last", metavar="DAY", help="up to this day, which counts too (today)")
    parser.add_argument("--by", metavar="LIST", help="some of tenant,key,pipeline,model,day (all of them)")
    parser.add_argument("--gateway", metavar="URL", help="($SHOAL_URL, else the network of `shoal up`)")
    parser.add_argument("--all", action="store_true", help="everybody's, as the operator")
    parser.add_argument("--tenant", default="", metavar="NAME", help="as the operator: only this one's")
    office.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Ask and print."""
    wanted = {"from": options.first, "to": options.last, "by": options.by}
    everybody = bool(options.all or options.tenant or options.operator or options.home)
    if everybody:
        wanted["tenant"] = options.tenant
    query = urlencode({name: text for name, text in wanted.items() if text})
    value = (
        office.door(options).get(f"/usage?{query}")
        if everybody
        else gateway(options.gateway).get(f"/v1/usage?{query}")
    ).json()
    if options.json:
        print(json.dumps(value, indent=2))
    else:
        console = new_console()
        for line in lines(value):
            console.print(line, markup=False)
    return 0 if value["adds_up"] else 1


def lines(value: dict[str, Any]) -> Iterator[str]:
    """A statement for people."""
    by = value["by"]
    units = ("units",) if "pipeline" in by else ()
    head = (*by, *(f">{name}" for name in (*COUNTS, *units)), ">charged", ">held")
    rows = [
        (
            *(_place(entry, name) for name in by),
            *(f"{entry[name]:,}" for name in COUNTS),
            *(f"{entry['units']:,}" if "units" in entry else "" for _ in units),
            gwei(entry["charged_wei"]),
            gwei(entry["held_wei"]),
        )
        for entry in value["entries"]
    ]
    total = value["total"]
    first = ("total", *("" for _ in by[1:]))[: len(by)]
    rows.append(
        (
            *first,
            *(f"{total[name]:,}" for name in COUNTS),
            *("" for _ in units),
            gwei(total["charged_wei"]),
            gwei(total["held_wei"]),
        )
    )
    yield from columns(head, rows)
    for when, name in (("before", "before_wei"), ("after", "after_wei")):
        if value[name]:
            yield f"charged {when} these days: {gwei(value[name])}"
    ledger = value["ledger"]
    verdict = "it adds up" if value["adds_up"] else "IT DOES NOT ADD UP"
    yield f"the ledger: {gwei(ledger['charged_wei'])} charged, {gwei(ledger['held_wei'])} held: {verdict}"


def _place(entry: dict[str, Any], name: str) -> str:
    if name == "day":
        return entry["day"] or "earlier"
    return str(entry.get(f"{name}_name") or entry[name] or "-")
