"""Say why a job ran where it ran: whom the gateway could choose from, by what it judged them, and whom it left out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from shoal.cli.buyer import Buyer, gateway_url, names
from shoal.cli.client import Client
from shoal.cli.terminal import columns, duration
from shoal.cli.terminal import console as new_console

EXAMPLE = """\
  shoal why job_1f3c…
  shoal why job_1f3c… --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which."""
    parser.add_argument("id", metavar="ID", help="a job's id")
    parser.add_argument("--gateway", metavar="URL", help="($SHOAL_URL, else the network of `shoal up`)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Ask the gateway and print."""
    value = Buyer(Client(gateway_url(options.gateway))).why(options.id)
    if options.json:
        print(json.dumps(value, indent=2))
        return 0
    console = new_console()
    for line in _lines(value, names()):
        console.print(line, markup=False)
    return 0


def _lines(value: dict[str, Any], known: dict[str, str]) -> Iterator[str]:
    yield f"{value['id']}  {value['pipeline']}, {value['model']}: {value['state']}"
    for attempt in value["attempts"]:
        node = known.get(attempt["orchestrator"], attempt["orchestrator"])
        waited = duration(attempt["waited_ms"])
        yield ""
        yield f"attempt {attempt['epoch']} after {waited}, by {attempt['policy']}: {node} ({attempt['ended']})"
        yield from _choice(attempt, known)
    if (waiting := value["waiting"]) is not None:
        yield ""
        starts = duration(waiting["start_estimate_ms"])
        yield f"it waits: {waiting['position']} before it, it starts in about {starts}"
        yield from _choice(waiting, known)


def _choice(choice: dict[str, Any], known: dict[str, str]) -> Iterator[str]:
    if "forgotten" in choice:
        yield f"  {choice['forgotten']}"
        return
    candidates = choice["candidates"]
    if candidates:
        terms = list(candidates[0]["terms"])
        head = ("", "node", ">free", ">score", *(f">{name}" for name in terms))
        rows = [
            (
                ">" if candidate["chosen"] else "",
                known.get(candidate["node"], candidate["node"]),
                f"{candidate['facts']['free']} of {candidate['facts']['slots']}",
                _number(candidate["score"]),
                *(_number(candidate["terms"][name]) for name in terms),
            )
            for candidate in candidates
        ]
        yield from (f"  {line}" for line in columns(head, rows))
        if choice["candidates_in_all"] > len(candidates):
            yield f"  and {choice['candidates_in_all'] - len(candidates)} more"
    for out in choice["excluded"]:
        example = known.get(out["example"], out["example"])
        yield f"  left out: {out['count']} ({out['why']}), as {example}"


def _number(value: float | str | None) -> str:
    if not isinstance(value, int | float):
        return str(value or "")
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
