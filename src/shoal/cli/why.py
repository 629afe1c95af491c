"""Say why a job ran where it ran: whom the gateway could choose from, by what it judged them, and whom it left out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from shoal.cli.buyer import Buyer, gateway, names
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
    value = Buyer(gateway(options.gateway)).why(options.id)
    if options.json:
        print(json.dumps(value, indent=2))
        return 0
    console = new_console()
    for line in lines(value, names()):
        console.print(line, markup=False)
    return 0


def lines(value: dict[str, Any], known: dict[str, str]) -> Iterator[str]:
    """What a gateway says of a job, for people; `known` are names of nodes."""
    yield f"{value['id']}: {value['model']} for {value['pipeline']}, {value['state']}"
    for attempt in value["attempts"]:
        node = known.get(attempt["orchestrator"], attempt["orchestrator"])
        after = f"after {duration(attempt['waited_ms'])}" if attempt["waited_ms"] else "at once"
        yield ""
        ended = f"it failed: {attempt['ended']}" if attempt["failed"] else attempt["ended"]
        yield f"attempt {attempt['epoch']}, {after}, by {attempt['policy']}: {node}; {ended}"
        yield from _choice(attempt, known)
    if (waiting := value["waiting"]) is not None:
        yield ""
        yield from _waiting(waiting, known)
        yield from _choice(waiting, known)


def _waiting(waiting: dict[str, Any], known: dict[str, str]) -> Iterator[str]:
    starts = duration(waiting["start_estimate_ms"])
    yield f"it waits by {waiting['policy']}, {waiting['position']} before it, and starts in about {starts}"
    yield f"  {waiting['reason']}"
    if (quicker := waiting["quicker"]) is not None:
        node = known.get(quicker["node"], quicker["node"])
        free, done = duration(quicker["free_in_ms"]), duration(quicker["done_in_ms"])
        yield f"  {node}: free in about {free}, and the job done in {done}"


def _choice(choice: dict[str, Any], known: dict[str, str]) -> Iterator[str]:
    if "forgotten" in choice:
        yield f"  {choice['forgotten']}"
        return
    if choice["candidates"]:
        yield ""
        yield from (f"  {line}" for line in _table(choice, known))
        hidden = choice["candidates_in_all"] - len(choice["candidates"])
        if hidden > 0:
            yield f"    and {hidden} more"
        taken = (
            "anybody, now and then, to see who has become better" if choice["explored"] else choice["draw"]
        )
        yield f"  score: {choice['formula']}; the least is the best"
        yield f"  taken: {taken}"
    if choice["lifted"]:
        yield f"  nobody passed {', '.join(choice['lifted'])}: it gave way"
    for out in sorted(choice["excluded"], key=lambda out: -int(out["count"])):
        example = known.get(out["example"], out["example"])
        others = f" and {out['count'] - 1} more" if out["count"] > 1 else ""
        yield f"  left out: {example}{others}: {out['why']}"


def _table(choice: dict[str, Any], known: dict[str, str]) -> list[str]:
    """The candidates, the best first, with every term that is not nothing for all of them."""
    candidates = choice["candidates"]
    units = candidates[0]["units"]
    terms = [name for name in units if any(candidate["terms"][name] for candidate in candidates)]
    head = ("", "node", ">free", ">score", *(f">{name} {units[name]}".rstrip() for name in terms))
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
    table = columns(head, rows)
    if nothing := [name for name in units if name not in terms]:
        table.append(f"   0 for all of them: {', '.join(nothing)}")
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
