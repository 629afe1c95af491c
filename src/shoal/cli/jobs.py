"""List your jobs, the newest first; or say all that is known about one."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from shoal.cli.buyer import ENDED, Buyer, Job, gateway, names
from shoal.cli.terminal import columns, duration, gwei
from shoal.cli.terminal import console as new_console

EXAMPLE = """\
  shoal jobs
  shoal jobs --watch
  shoal jobs job_1f3c… --json"""

LOOK_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which, and how."""
    parser.add_argument("id", nargs="?", metavar="ID", help="a job's id")
    parser.add_argument("--watch", action="store_true", help="go on: to the job's end, or to Ctrl-C")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many at most (%(default)s)")
    parser.add_argument("--gateway", metavar="URL", help="($SHOAL_URL, else the network of `shoal up`)")
    parser.add_argument("--json", action="store_true", help="print JSON, with --watch one job a line")


def run(options: argparse.Namespace) -> int:
    """Ask the gateway and print."""
    buyer = Buyer(gateway(options.gateway))
    console = new_console()
    if options.id:
        _one(buyer, options, console)
    elif options.watch:
        _watch(buyer, options, console)
    else:
        jobs = buyer.jobs(options.limit)
        if options.json:
            print(json.dumps({"jobs": jobs}, indent=2))
        elif jobs:
            console.print(table(jobs, names()), markup=False)
        else:
            console.print('no jobs yet; send one: shoal run llm "Name three fish."')
    return 0


def table(jobs: list[Job], known: dict[str, str]) -> str:
    """Jobs, one a line."""
    head = ("job", "pipeline", "state", ">waited", ">ran", ">charged", "by")
    return "\n".join(columns(head, [_cells(job, known) for job in jobs]))


def line(job: Job, known: dict[str, str]) -> str:
    """A job in one line."""
    return "  ".join(cell for cell in _cells(job, known) if cell)


def _cells(job: Job, known: dict[str, str]) -> tuple[str, ...]:
    started = bool(job["attempts"])
    waits = job["state"] == "queued"
    return (
        job["id"],
        job["pipeline"],
        f"{job['position']} before it" if waits and job["position"] else job["state"],
        duration(job["queue_ms"]) if started and not waits else "",
        duration(job["run_ms"]) if job["run_ms"] else "",
        gwei(job["charged_wei"]) if job["state"] in ENDED else "",
        " for ".join(known.get(node, node) for node in _nodes(job)),
    )


def _nodes(job: Job) -> list[str]:
    return [str(job[part]) for part in ("worker", "orchestrator") if job[part]]


def _one(buyer: Buyer, options: argparse.Namespace, console: Console) -> None:
    job = buyer.job(options.id)
    if options.watch and job["state"] not in ENDED:
        for name, value in buyer.follow(options.id):
            if name == "state":
                job = value
                _say(job, options, console)
    elif options.json:
        print(json.dumps(job, indent=2))
        return
    if not options.json:
        for name, text in _facts(job, names()):
            console.print(f"{name:<12} {text}", markup=False)


def _facts(job: Job, known: dict[str, str]) -> Iterator[tuple[str, str]]:
    yield "job", job["id"]
    yield "what", f"{job['pipeline']}, {job['model']}"
    yield "state", job["state"]
    if wants := _wants(job):
        yield "wants", wants
    if job["error"]:
        yield "error", f"{job['error']['message']} ({job['error']['code']})"
    if job["state"] == "queued":
        yield "queue", f"{job['position']} before it; starts in about {duration(job['start_estimate_ms'])}"
    for attempt in job["attempts"]:
        ending = f": {attempt['error']['message']}" if attempt["error"] else ""
        yield (
            f"attempt {attempt['epoch']}",
            known.get(attempt["orchestrator"], attempt["orchestrator"]) + ending,
        )
    if job["worker"]:
        yield "worker", " for ".join(known.get(node, node) for node in _nodes(job))
    yield "time", f"waited {duration(job['queue_ms'])}, ran {duration(job['run_ms'])}"
    price = job["price"]
    per_units = f" for {price['per_units']}" if price["per_units"] != 1 else ""
    yield "price", f"{gwei(price['wei'])}{per_units} a {job['unit']}"
    yield "charged", f"{gwei(job['charged_wei'])} for {job['units']:,}; {gwei(job['hold_wei'])} held"


def _wants(job: Job) -> str:
    """How it was asked to be served, where that is not the usual way."""
    said = [f"priority {job['priority']}"] if job["priority"] != "normal" else []
    said += [f"{name} {job[name]}" for name in ("policy", "region") if job[name]]
    return ", ".join(said + ["hedged"] * job["hedge"])


def _watch(buyer: Buyer, options: argparse.Namespace, console: Console) -> None:
    """All jobs, again and again: a table that stays in place, or a line for each change."""
    never = threading.Event()
    if console.is_terminal and not options.json:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(Text(table(buyer.jobs(options.limit), names())), refresh=True)
                never.wait(LOOK_S)
    seen: dict[str, str] = {}
    while True:
        for job in reversed(buyer.jobs(options.limit)):
            if seen.get(job["id"]) != job["state"]:
                seen[job["id"]] = job["state"]
                _say(job, options, console)
        never.wait(LOOK_S)


def _say(job: Job, options: argparse.Namespace, console: Console) -> None:
    if options.json:
        print(json.dumps(job), flush=True)
    else:
        console.print(line(job, names()), markup=False)
