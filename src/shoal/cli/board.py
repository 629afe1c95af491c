"""A running network at a glance: a table that stays in place in a terminal, a line for each event elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct
from rich.console import Group
from rich.live import Live
from rich.text import Text

from shoal.cli.buyer import ENDED, Buyer, Job
from shoal.cli.client import Client
from shoal.cli.jobs import line
from shoal.cli.network import Network, Node
from shoal.cli.page import Page
from shoal.cli.sight import LOOK_TIMEOUT_S, Status, status
from shoal.cli.supervisor import Supervisor
from shoal.cli.terminal import columns, gwei
from shoal.errors import ShoalError

LOOK_S = 1.0
JOBS_MAX = 50
#: Where those are asked who have to do with the chain.
BANK = (("chain", "/health"), ("redeemer", "/payouts"))


class Glance(Struct, frozen=True):
    """What everybody said of themselves a moment ago; None for who did not answer, or is not there."""

    gateway: dict[str, Any] | None
    orchestrators: dict[str, Status | None]
    jobs: list[Job]
    chain: Status | None = None
    redeemer: Status | None = None


def glance(network: Network) -> Glance:
    """Ask everybody."""
    buyer = Buyer(Client(network.gateway.url, timeout_s=LOOK_TIMEOUT_S))
    reports = {node.name: status(node) for node in network.of("orchestrator")}
    bank = [next((status(node, route) for node in network.of(role)), None) for role, route in BANK]
    try:
        return Glance(buyer.network(), reports, buyer.jobs(JOBS_MAX), *bank)
    except ShoalError:
        return Glance(None, reports, [], *bank)


async def keep_showing(network: Network, supervisor: Supervisor, told: asyncio.Event, page: Page) -> None:
    """Show how the network does until told to stop."""
    known = {str(node.id): node.name for node in network.nodes}
    seen = {job["id"] for job in (await asyncio.to_thread(glance, network)).jobs if job["state"] in ENDED}
    with Live(console=page.console, auto_refresh=False, transient=True) as live:
        while not told.is_set():
            now = await asyncio.to_thread(glance, network)
            for job in reversed(now.jobs):
                if job["state"] in ENDED and job["id"] not in seen:
                    seen.add(job["id"])
                    page.line(line(job, known))
            if page.console.is_terminal:
                live.update(Group(Text(), board(network, supervisor, now)), refresh=True)
            try:
                await asyncio.wait_for(told.wait(), LOOK_S)
            except TimeoutError:
                continue


def board(network: Network, supervisor: Supervisor, now: Glance) -> Text:
    """Every process, what it does, and what it has earned."""
    rows = []
    for node in network.nodes:
        kept = supervisor.kept[node.name]
        state, does, money = _about(node, now)
        again = f", started {kept.restarts + 1} times" if kept.restarts else ""
        rows.append((node.name, state + again, money, does))
    return Text("\n".join(columns(("", "state", ">money", "work"), rows)), no_wrap=True, overflow="ellipsis")


def _about(node: Node, now: Glance) -> tuple[str, str, str]:
    if node.role == "gateway":
        return _gateway(now.gateway)
    if node.role == "orchestrator":
        return _orchestrator(now.orchestrators[node.name])
    if node.role == "chain":
        return (
            ("ready", f"block {now.chain['block']:,}", "") if now.chain is not None else ("starting", "", "")
        )
    if node.role == "redeemer":
        return _redeemer(now.redeemer)
    reports = [(name, report) for name, report in now.orchestrators.items() if name in node.orchestrators]
    return _worker(node, [(name, report) for name, report in reports if report is not None])


def _gateway(said: dict[str, Any] | None) -> tuple[str, str, str]:
    if said is None:
        return "starting", "", ""
    jobs, ledger = said["jobs"], said["ledger"]
    does = f"{jobs['queued']} waiting, {jobs['running']} running"
    if tickets := sum(seller["payment"]["tickets_sent"] for seller in said["sellers"]):
        does += f", {tickets:,} tickets sent"
    return "ready", does, f"charged {gwei(ledger['charged_wei'])}"


def _redeemer(said: Status | None) -> tuple[str, str, str]:
    if said is None:
        return "starting", "", ""
    tickets = [
        entry for entry in said["ended"] if entry["kind"] == "ticket" and entry["state"] == "confirmed"
    ]
    won_wei = sum(int(entry["wei"]) for entry in tickets)
    return "ready", f"{len(tickets)} redeemed, {len(said['open'])} open", f"won {gwei(won_wei)}"


def _orchestrator(said: Status | None) -> tuple[str, str, str]:
    if said is None:
        return "starting", "", ""
    workers = sum(worker["connected"] for worker in said["workers"])
    return "ready", f"{workers} workers, {said['leases']} leases", f"kept {gwei(said['own_wei'])}"


def _worker(node: Node, reports: list[tuple[str, Status]]) -> tuple[str, str, str]:
    """A worker as its orchestrators see it: slots are the same at each, leases and shares add up."""
    slots, leased, share_wei, connected = dict[str, int](), dict[str, int](), 0, 0
    for _, report in reports:
        for worker in report["workers"]:
            if worker["node"] != node.id:
                continue
            share_wei += worker["share_wei"]
            connected += worker["connected"]
            for offer in worker["offers"] if worker["connected"] else ():
                name = offer["pipeline"]
                slots[name] = max(slots.get(name, 0), offer["slots"])
                leased[name] = leased.get(name, 0) + offer["leased"]
    does = ", ".join(f"{name} {leased[name]}/{slots[name]}" for name in node.pipelines if name in slots)
    state = (
        "ready" if connected == len(node.orchestrators) and len(slots) == len(node.pipelines) else "starting"
    )
    return state, does, f"share {gwei(share_wei)}"
