"""Make, list and change a gateway's tenants: who its keys, its jobs and its charges belong to."""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import quote

from shoal.cli import office
from shoal.cli.terminal import columns, gwei
from shoal.cli.terminal import console as new_console

EXAMPLE = """\
  shoal tenants create studio --jobs-per-minute 60 --wei-per-day 0.01eth
  shoal tenants change studio --weight 3 --wei-per-day none
  shoal tenants list"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and with whom."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a tenant; its keys are made with `shoal keys create`")
    change = actions.add_parser("change", help="grant a tenant otherwise; what is not said stays")
    for action in (create, change):
        action.add_argument("name", metavar="NAME", help="its name" if action is create else "its name or id")
        action.add_argument("--weight", type=int, metavar="N", help="its share of a busy network, 1 to 1000")
        action.add_argument("--priority-max", choices=("high", "normal", "low"), help="its highest class")
        office.add_limits(action)
    for action in (create, change, actions.add_parser("list", help="everybody")):
        office.add_arguments(action)
    parser.epilog = (
        parser.epilog or ""
    ) + "\n\nevery action takes --json; `shoal tenants create --help` says more"


def run(options: argparse.Namespace) -> int:
    """Ask the gateway's operator door and print."""
    door = office.door(options)
    if options.action == "list":
        value = door.get("/tenants").json()
    elif options.action == "create":
        value = door.post("/tenants", {"name": options.name, **_granted(options)}).json()
    else:
        path = f"/tenants/{quote(options.name, safe='')}"
        value = door.ask("PATCH", path, _granted(options)).json()
    if options.json:
        print(json.dumps(value, indent=2))
        return 0
    console = new_console()
    tenants = value["tenants"] if options.action == "list" else [value]
    if not tenants:
        console.print("no tenants yet; make one: shoal tenants create NAME")
        return 0
    for line in table(tenants):
        console.print(line, markup=False)
    return 0


def _granted(options: argparse.Namespace) -> dict[str, Any]:
    granted = {"weight": options.weight, "priority_max": options.priority_max}
    return {name: value for name, value in granted.items() if value is not None} | {
        "limits": office.limits(options)
    }


def table(tenants: list[dict[str, Any]]) -> list[str]:
    """Tenants, one a line."""
    head = ("tenant", "id", ">weight", "up to", ">keys", "limits", ">charged", ">held")
    rows = [
        (
            tenant["name"],
            tenant["id"],
            str(tenant["weight"]),
            tenant["priority_max"],
            str(tenant["keys"]),
            office.said(tenant["limits"]) or "none",
            gwei(tenant["charged_wei"]),
            gwei(tenant["held_wei"]),
        )
        for tenant in tenants
    ]
    return columns(head, rows)
