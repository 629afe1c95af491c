"""The operator's way to a gateway's accounts: where its own door is, what opens it, and how amounts are typed."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoal.chain.amounts import wei_of
from shoal.cli.client import Client
from shoal.cli.network import GATEWAY_OPERATOR_PORT, HOST, NETWORK_FILE
from shoal.cli.terminal import gwei
from shoal.errors import Refused
from shoal.runtime.config import home
from shoal.units import HOUR_MS, MINUTE_MS, SECOND_MS

TOKEN_FILE = "operator.token"  # noqa: S105 - the file's name
TIMES_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": 24 * HOUR_MS}
#: How the limits are called on the command line, in JSON, and for people.
LIMITS = {
    "jobs_per_minute": "jobs a minute",
    "jobs_per_day": "jobs a day",
    "wei_per_minute": "a minute",
    "wei_per_day": "a day",
    "wei_in_all": "in all",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose operator this is."""
    parser.add_argument(
        "--operator",
        metavar="URL",
        help="the gateway's operator door (that of `shoal up`, else its usual port)",
    )
    parser.add_argument(
        "--home", type=Path, metavar="DIR", help=f"the gateway's home, where its {TOKEN_FILE} is"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """What may be limited."""
    group = parser.add_argument_group(
        "limits", "each a number, or `none`; amounts in wei, or as 5gwei, 0.1eth"
    )
    for name in LIMITS:
        group.add_argument("--" + name.replace("_", "-"), metavar="N", dest=name)


def limits(options: argparse.Namespace) -> dict[str, int | None]:
    """The limits that were typed."""
    given = {name: getattr(options, name) for name in LIMITS if getattr(options, name) is not None}
    return {
        name: None if text == "none" else wei_of(text, unit="wei") if name.startswith("wei") else count(text)
        for name, text in given.items()
    }


def said(limits: Mapping[str, int | None]) -> str:
    """Limits for people."""
    told = [
        f"{gwei(most)} {LIMITS[name]}" if name.startswith("wei") else f"{most:,} {LIMITS[name]}"
        for name, most in limits.items()
        if most is not None
    ]
    return ", ".join(told)


def count(text: str) -> int:
    """A whole number."""
    if not (text.isascii() and text.isdigit()):
        raise Refused(f"a number of jobs is a whole number, or none, not {text[:50]!r}")
    return int(text)


def duration_ms(text: str) -> int:
    """A time as it is typed: `90s`, `12h`, `30d`."""
    found = re.fullmatch(r"(\d{1,9})([smhd])", text.strip().lower())
    if found is None or not int(found[1]):
        raise Refused(f"a time is as 90s, 15m, 12h or 30d, not {text[:50]!r}")
    return int(found[1]) * TIMES_MS[found[2]]


def door(options: argparse.Namespace) -> Client:
    """The operator's door, with what opens it. Raises `Refused` and says what is missing."""
    note = _note()
    url = options.operator or os.environ.get("SHOAL_OPERATOR_URL") or note.get("url")
    where = options.home or Path(str(note.get("home") or home(os.environ) / "gateway"))
    token = os.environ.get("SHOAL_OPERATOR_TOKEN", "")
    if not token or options.home:
        path = where / TOKEN_FILE
        try:
            token = path.read_text().strip()
        except OSError as error:
            raise Refused(
                f"{path} cannot be read: {error.strerror}; name the home of a gateway that runs, and that is "
                "yours, with --home"
            ) from error
    return Client(str(url or f"http://{HOST}:{GATEWAY_OPERATOR_PORT}"), key=token)


def _note() -> dict[str, Any]:
    """What `shoal up` left behind of its gateway."""
    try:
        note = json.loads((home(os.environ) / "networks" / "local" / NETWORK_FILE).read_text())
        return dict(note["operator"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
