"""The books of both sides, laid beside each other: what the gateway charged is what its sellers earned."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct

from shoal.cli.buyer import Buyer
from shoal.cli.client import Client
from shoal.cli.network import Network
from shoal.cli.sight import LOOK_TIMEOUT_S, Status, status
from shoal.errors import Failed
from shoal.ids import NodeId

#: Settling takes a round trip after a job's end, or a restart's; who has not settled by then has not settled.
SETTLE_S = 30.0
LOOK_S = 0.1


class Row(Struct, frozen=True, kw_only=True):
    """One job and its money, from the gateway's books and from the orchestrators'."""

    id: str
    pipeline: str
    model: str
    #: What the model does, in its manifest's words.
    method: str
    state: str
    attempts: int
    queue_ms: int
    run_ms: int
    units: int
    unit: str
    price_wei: int
    price_units: int
    charged_wei: int
    orchestrator: str
    worker: str
    orchestrator_wei: int
    worker_wei: int
    #: What attempts earned that broke off and were tried again: nothing, if all is well.
    failed_attempts_wei: int


class Sums(Struct, frozen=True, kw_only=True):
    """All the money that moved, or is still held."""

    charged_wei: int
    earned_wei: int
    own_wei: int
    worker_wei: int
    fees_wei: int
    #: What the gateway paid for streams that broke off, and charged nobody for.
    spilt_wei: int
    holds_wei: int

    @property
    def paid_wei(self) -> int:
        """All that the gateway paid, whoever bears it."""
        return self.charged_wei + self.spilt_wei


class Books(Struct, frozen=True):
    """Both sides' books at one moment."""

    gateway: dict[str, Any]
    orchestrators: dict[str, Status]

    def sums(self) -> Sums:
        """Charged and fees from the gateway's ledger, earned and shares from the orchestrators'."""
        reports = self.orchestrators.values()
        return Sums(
            charged_wei=self.gateway["charged_wei"],
            earned_wei=sum(report["earned_wei"] for report in reports),
            own_wei=sum(report["own_wei"] for report in reports),
            worker_wei=sum(report["worker_wei"] for report in reports),
            fees_wei=self.gateway["fees_wei"],
            spilt_wei=self.gateway["spilt_wei"],
            holds_wei=self.gateway["holds_wei"] + sum(report["holds_wei"] for report in reports),
        )

    def shares(self) -> dict[NodeId, int]:
        """What each worker has earned, at all orchestrators together."""
        shares: dict[NodeId, int] = {}
        for report in self.orchestrators.values():
            for worker in report["workers"]:
                node = NodeId(worker["node"])
                shares[node] = shares.get(node, 0) + int(worker["share_wei"])
        return shares


def read_books(network: Network) -> Books:
    """Ask everybody. Raises `Failed` if one does not answer."""
    ledger = Buyer(Client(network.gateway.url, timeout_s=LOOK_TIMEOUT_S)).network()["ledger"]
    reports: dict[str, Status] = {}
    for node in network.of("orchestrator"):
        report = status(node)
        if report is None:
            raise Failed(f"{node.name} does not say what it has earned")
        reports[node.id] = report
    return Books(ledger, reports)


def differences(books: Books, rows: list[Row]) -> list[str]:
    """Where the books do not agree, with each other or with the jobs; empty if all is well."""
    sums = books.sums()
    told = books.gateway["earned_by_orchestrator_wei"]
    found = [
        _differ(
            "charged by the gateway", sums.charged_wei, "charged for the jobs", _sum(rows, "charged_wei")
        ),
        _differ("charged and spilt", sums.paid_wei, "earned and fees", sums.earned_wei + sums.fees_wei),
        _differ("earned", sums.earned_wei, "kept and shares of workers", sums.own_wei + sums.worker_wei),
        _differ("shares of workers", sums.worker_wei, "shares by job", _sum(rows, "worker_wei")),
        _differ("kept", sums.own_wei, "kept by job", _sum(rows, "orchestrator_wei")),
        _differ("earned by failed attempts", _sum(rows, "failed_attempts_wei"), "spilt", sums.spilt_wei),
        _differ("still held", sums.holds_wei, "nothing", 0),
    ]
    found += [
        _differ(f"earned by {node}", report["earned_wei"], "owed to it", told.get(node, 0))
        for node, report in books.orchestrators.items()
    ]
    return [line for line in found if line]


async def settled(network: Network) -> Books:
    """The books once nothing is held any more, or as they stand after `SETTLE_S`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + SETTLE_S
    while True:
        books = await asyncio.to_thread(read_books, network)
        sums = books.sums()
        if not sums.holds_wei and sums.paid_wei == sums.earned_wei + sums.fees_wei:
            return books
        if loop.time() > until:
            return books
        await asyncio.sleep(LOOK_S)


def _sum(rows: list[Row], field: str) -> int:
    return sum(getattr(row, field) for row in rows)


def _differ(left: str, left_wei: int, right: str, right_wei: int) -> str:
    return "" if left_wei == right_wei else f"{left}: {left_wei} wei, but {right}: {right_wei} wei"
