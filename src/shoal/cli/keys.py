"""Make, list and revoke the API keys of a gateway's tenants.

The first key closes the gateway: from then on nobody comes in without one. A key is shown once, when it is made;
what the gateway keeps is its hash.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from shoal.cli import office
from shoal.cli.terminal import columns, gwei
from shoal.cli.terminal import console as new_console
from shoal.units import SECOND_MS

EXAMPLE = """\
  shoal keys create --tenant studio --name website --may submit,read --pipelines llm --expires 90d
  shoal keys create --tenant studio --jobs-per-minute 60 --wei-per-day 0.01eth
  shoal keys list --tenant studio
  shoal keys revoke key_1f3c…"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and with which."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key, and show it this once")
    create.add_argument("--tenant", required=True, metavar="NAME", help="whose it is, by name or id")
    create.add_argument("--name", default="", metavar="NAME", help="what it is for, for you to know it again")
    create.add_argument(
        "--may",
        default="submit,read,usage",
        metavar="LIST",
        help="what it may do: submit, read, usage, admin (%(default)s)",
    )
    create.add_argument("--pipelines", default="", metavar="LIST", help="only these (all)")
    create.add_argument("--models", default="", metavar="LIST", help="only these (all)")
    create.add_argument("--expires", metavar="TIME", help="after this long, as 90s, 12h or 30d (never)")
    office.add_limits(create)
    listing = actions.add_parser("list", help="all keys, the newest first")
    listing.add_argument("--tenant", default="", metavar="NAME", help="only this one's")
    revoke = actions.add_parser("revoke", help="make a key good for nothing, at once")
    revoke.add_argument("id", metavar="ID", help="the key's id")
    for action in (create, listing, revoke):
        office.add_arguments(action)
    parser.epilog = (
        parser.epilog or ""
    ) + "\n\nevery action takes --json; `shoal keys create --help` says more"


def run(options: argparse.Namespace) -> int:
    """Ask the gateway's operator door and print."""
    value = {"create": _create, "list": _list, "revoke": _revoke}[options.action](options)
    console = new_console()
    if options.json:
        print(json.dumps(value, indent=2))
    elif options.action == "create":
        for name, text in _facts(value):
            console.print(f"{name:<9} {text}", markup=False)
        console.print("It is shown this once: only its hash is kept.")
    elif options.action == "revoke":
        console.print(f"{value['id']} is revoked", markup=False)
    elif value["keys"]:
        for line in table(value["keys"]):
            console.print(line, markup=False)
    else:
        console.print(
            "no keys yet; make one: shoal tenants create NAME, then shoal keys create --tenant NAME"
        )
    return 0


def _create(options: argparse.Namespace) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "tenant": options.tenant,
        "name": options.name,
        "may": _listed(options.may),
        "pipelines": _listed(options.pipelines),
        "models": _listed(options.models),
        "limits": office.limits(options),
    }
    if options.expires:
        wanted["expires_in_ms"] = office.duration_ms(options.expires)
    return dict(office.door(options).post("/keys", wanted).json())


def _list(options: argparse.Namespace) -> dict[str, Any]:
    return dict(office.door(options).get(f"/keys?tenant={quote(options.tenant)}").json())


def _revoke(options: argparse.Namespace) -> dict[str, Any]:
    return dict(office.door(options).ask("DELETE", f"/keys/{quote(options.id, safe='')}").json())


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _facts(key: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("key", key["key"]),
        ("id", key["id"]),
        ("tenant", key["tenant_name"] or key["tenant"]),
        ("name", key["name"]),
        ("may", ", ".join(key["may"])),
        ("for", _scope(key)),
        ("limits", office.said(key["limits"])),
        ("expires", _day(key["expires_at_ms"])),
    ]
    return [(name, text) for name, text in facts if text]


def table(keys: list[dict[str, Any]]) -> list[str]:
    """Keys, one a line."""
    head = ("key", "tenant", "name", "state", "may", "for", "limits", "expires", ">charged")
    rows = [
        (
            key["id"],
            key["tenant_name"] or key["tenant"],
            key["name"],
            key["state"],
            ", ".join(key["may"]),
            _scope(key) or "everything",
            office.said(key["limits"]),
            _day(key["expires_at_ms"]),
            gwei(key["charged_wei"]),
        )
        for key in keys
    ]
    return columns(head, rows)


def _scope(key: dict[str, Any]) -> str:
    return ", ".join([*key["pipelines"], *key["models"]])


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / SECOND_MS, UTC):%Y-%m-%d %H:%M} UTC" if at_ms else ""
