"""The tour from beginning to end: walked beside a supervisor, added up, and judged."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import msgspec

from shoal.cli.accounts import Books, Row, differences, settled
from shoal.cli.bank import Statement, balances, settle, tell
from shoal.cli.bank import differences as differences_on_chain
from shoal.cli.gallery import Gallery
from shoal.cli.guide import Guide, Interrupted
from shoal.cli.network import Network
from shoal.cli.page import Page
from shoal.cli.sight import missing
from shoal.cli.supervisor import Supervisor
from shoal.cli.terminal import columns, duration, gwei
from shoal.cli.tour import Tour
from shoal.cli.webhook import Heard
from shoal.errors import Failed, Refused, ShoalError

EXAMPLES = Path(__file__).parents[3] / "examples"
INTERRUPTED = 130
READY_S = 60.0
LOOK_S = 0.2


async def show(
    network: Network,
    supervisor: Supervisor,
    page: Page,
    *,
    folder: Path,
    report: Path | None,
    told: asyncio.Event,
    heard: Heard,
) -> int:
    """Walk the tour; 0 if everything came back and every sum is right. What it makes goes into the folder."""
    if not (EXAMPLES / "questions.txt").exists():
        raise Refused(f"the tour sends what lies in {EXAMPLES}; run it from a copy of the source")
    ending = threading.Event()

    def kill(name: str) -> int:
        pid = supervisor.kept[name].pid
        if pid is None:
            raise Failed(f"{name} is not running")
        os.kill(pid, signal.SIGKILL)
        return pid

    gallery = Gallery(folder)
    before = await balances(network) if network.chain_file is not None else None
    tour = Tour(Guide(network, page, ending), gallery, examples=EXAMPLES, kill=kill)
    walking = asyncio.create_task(asyncio.to_thread(tour.run))
    stopping = asyncio.create_task(told.wait())
    await asyncio.wait([walking, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not walking.done():
        # Its thread ends with the gateway, or before it begins the next job.
        ending.set()
        walking.add_done_callback(_heard)
        return INTERRUPTED
    rows = walking.result()
    await _until_whole(network, page)
    books = await settled(network)
    wrong = differences(books, rows)
    _add_up(page, rows, books, wrong)
    statement = None
    if before is not None:
        page.heading("What it came to on the chain")
        statement = await settle(network, before, page)
        tell(statement, network, heard.notices, page)
        amiss = differences_on_chain(statement, network, books.shares())
        _judge(page, amiss, "Every balance on the chain is right, to the wei.")
        wrong += amiss
    page.line()
    page.line(f"What it made, to be looked at and listened to: {gallery.page}")
    if report is not None:
        text = as_json(rows, books, gallery, statement, heard.notices)
        await asyncio.to_thread(report.write_text, text + "\n")
    return 1 if wrong else 0


async def _until_whole(network: Network, page: Page) -> None:
    """Wait until everybody that was killed is back."""
    loop = asyncio.get_running_loop()
    until = loop.time() + READY_S
    while lacking := await asyncio.to_thread(missing, network):
        if loop.time() > until:
            raise Failed(f"not everybody came back: {lacking}")
        await asyncio.sleep(LOOK_S)
    page.line()
    page.line("Every process is there again, with all that it offers.")


def as_json(
    rows: list[Row],
    books: Books,
    gallery: Gallery,
    statement: Statement | None,
    notices: list[dict[str, Any]],
) -> str:
    """The tour for programs."""
    told = {
        "jobs": msgspec.to_builtins(rows),
        "summary": msgspec.to_builtins(books.sums()),
        "folder": str(gallery.folder),
        "exhibits": msgspec.to_builtins(gallery.exhibits),
        "chain": msgspec.to_builtins(statement),
        "notices": notices,
    }
    return json.dumps(told, indent=2)


def _heard(walking: asyncio.Task[list[Row]]) -> None:
    """What an interrupted tour runs into is no news."""
    error = None if walking.cancelled() else walking.exception()
    if error is not None and not isinstance(error, Interrupted | ShoalError):
        raise error


def _add_up(page: Page, rows: list[Row], books: Books, wrong: list[str]) -> None:
    page.heading("What it came to")
    for line in _table(rows):
        page.line(line)
    sums = books.sums()
    page.line()
    page.line(f"charged to the client     {gwei(sums.charged_wei):>20}   for {len(rows)} jobs")
    page.line(f"earned by orchestrators   {gwei(sums.earned_wei):>20}   charged = earned + the gateway's fee")
    page.line(f"the gateway's fee         {gwei(sums.fees_wei):>20}")
    page.line(f"kept by orchestrators     {gwei(sums.own_wei):>20}   earned = kept + shares")
    page.line(f"shares of workers         {gwei(sums.worker_wei):>20}")
    page.line(f"earned by failed attempts {gwei(sum(row.failed_attempts_wei for row in rows)):>20}")
    page.line(f"still held                {gwei(sums.holds_wei):>20}")
    page.line()
    _judge(page, wrong, "Every sum is right, by the gateway's books and by the orchestrators' own.")


def _judge(page: Page, wrong: list[str], well: str) -> None:
    for line in wrong:
        page.line(f"WRONG: {line}", "bold red")
    if not wrong:
        page.line(well, "bold green")


def _table(rows: list[Row]) -> list[str]:
    head = ("pipeline", "state", "attempts", "worker", "orchestrator", ">waited", ">ran")
    return columns(
        (*head, ">gwei charged", ">kept", ">share"),
        [
            (
                *(row.pipeline, row.state, str(row.attempts), row.worker, row.orchestrator),
                *(duration(row.queue_ms), duration(row.run_ms)),
                *(
                    gwei(wei).removesuffix(" gwei")
                    for wei in (row.charged_wei, row.orchestrator_wei, row.worker_wei)
                ),
            )
            for row in rows
        ],
    )
