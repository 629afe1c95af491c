"""What a tour came to on its chain: tickets sent, won and redeemed, workers paid, and every balance to the wei.

Two looks at the chain itself, before and after; what lies between must be
exactly what the redeemer says it did. Nothing is taken from anybody's word.
"""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct

from shoal.chain.bindings import TicketBroker
from shoal.chain.config import deployment, require
from shoal.chain.reader import Reader
from shoal.chain.rpc import Rpc
from shoal.chain.settings import ChainSettings
from shoal.cli.client import Client
from shoal.cli.network import Network
from shoal.cli.page import Page
from shoal.cli.sight import LOOK_TIMEOUT_S, Status, status
from shoal.cli.terminal import columns, gwei
from shoal.errors import Failed
from shoal.ids import NodeId

#: A winning ticket waits until its terms have expired, a batch for its blocks; whoever takes longer has not paid.
PAID_S = 90.0
LOOK_S = 0.5


class Balances(Struct, frozen=True):
    """What everybody has on the chain at one block."""

    block: int
    #: The gateway's money in the broker.
    deposit_wei: int
    reserve_wei: int
    accounts: dict[NodeId, int]


class Redeemed(Struct, frozen=True):
    """One winning ticket, as the chain has it."""

    recipient: NodeId
    wei: int
    transaction: str


class Statement(Struct, frozen=True):
    """The tour's money on the chain."""

    before: Balances
    after: Balances
    tickets: int
    ev_wei: int
    redeemed: tuple[Redeemed, ...]
    #: What went to each worker, and what the redeemer's transactions cost.
    paid: dict[NodeId, int]
    fees_wei: int
    #: Winning tickets of which nothing came, and why.
    refused: tuple[str, ...] = ()

    @property
    def redeemed_wei(self) -> int:
        """What the winners brought."""
        return sum(each.wei for each in self.redeemed)


async def balances(network: Network) -> Balances:
    """A look at the chain: everything at one and the same block."""
    contracts = deployment(ChainSettings(file=str(network.chain_file)))
    rpc = Rpc(contracts.rpc_url)
    try:
        reader = Reader(rpc, contracts)
        block = (await reader.head()).number
        broker = require(contracts.ticket_broker, "TicketBroker")
        (deposit, _), (reserve, _) = await reader.call(
            broker, TicketBroker.sender_info, network.gateway.id, at=block
        )
        nodes = [node for node in network.nodes if node.role != "chain"]
        accounts = {node.id: await reader.balance_wei(node.id, at=block) for node in nodes}
    finally:
        await rpc.close()
    return Balances(block, deposit, reserve, accounts)


async def settle(network: Network, before: Balances, page: Page) -> Statement:
    """Wait until every winning ticket is redeemed and every worker paid; what that came to."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    said = ""
    while waits := await asyncio.to_thread(_open, network):
        if loop.time() > began + PAID_S:
            raise Failed(f"after {PAID_S:.0f} s the chain still waits for {waits}")
        if waits != said:
            page.line(f"waiting for {waits}")
            said = waits
        await asyncio.sleep(LOOK_S)
    after = await balances(network)
    books = await asyncio.to_thread(_redeemer, network)
    ledger = Client(network.gateway.url, timeout_s=LOOK_TIMEOUT_S).get("/v1/network").json()
    return _statement(before, after, books, ledger)


def _statement(before: Balances, after: Balances, books: Status, ledger: Status) -> Statement:
    ended = [entry for entry in books["ended"] if entry["state"] == "confirmed"]
    paid: dict[NodeId, int] = {}
    for entry in ended:
        for worker, wei in entry.get("payees", {}).items():
            paid[NodeId(worker)] = paid.get(NodeId(worker), 0) + int(wei)
    sellers = [seller["payment"] for seller in ledger["sellers"]]
    return Statement(
        before,
        after,
        tickets=sum(seller["tickets_sent"] for seller in sellers),
        ev_wei=ledger["ledger"]["tickets_wei"],
        redeemed=tuple(
            Redeemed(NodeId(entry["recipient"]), int(entry["wei"]), entry["transaction"])
            for entry in ended
            if entry["kind"] == "ticket"
        ),
        paid=paid,
        fees_wei=sum(int(entry["fee_wei"]) for entry in books["ended"]),
        refused=tuple(
            str(entry["why"])
            for entry in books["ended"]
            if entry["state"] == "refused" and entry["kind"] == "ticket"
        ),
    )


def _redeemer(network: Network) -> Status:
    said = Client(network.of("redeemer")[0].url, timeout_s=LOOK_TIMEOUT_S).get("/payouts").json()
    if not isinstance(said, dict):
        raise Failed("the redeemer does not say what it did")
    return said


def _open(network: Network) -> str:
    """What is still on its way, "" if nothing is."""
    pending, owed = 0, 0
    for node in network.of("orchestrator"):
        report = status(node)
        if report is None:
            return f"{node.name}, which does not answer"
        pending += report["winners_pending"]
        owed += sum(1 for worker in report["workers"] if worker["owed_wei"])
    if pending:
        return f"{pending} winning ticket{'s' if pending > 1 else ''} to be redeemed, each once its terms have expired"
    if owed:
        return f"{owed} worker{'s' if owed > 1 else ''} to be paid"
    return "the redeemer" if _redeemer(network)["open"] else ""


def differences(statement: Statement, network: Network, shares: dict[NodeId, int]) -> list[str]:
    """Where the chain does not show what was said to be done; empty if all is well. `shares`: earned by workers."""
    before, after = statement.before, statement.after
    won = {node.id: 0 for node in network.of("orchestrator")}
    for each in statement.redeemed:
        won[each.recipient] = won.get(each.recipient, 0) + each.wei

    def gained(node: NodeId) -> int:
        return after.accounts[node] - before.accounts[node]

    left = before.deposit_wei + before.reserve_wei - after.deposit_wei - after.reserve_wei
    redeemer = network.of("redeemer")[0].id
    found = [
        _differ("left the gateway's deposit and reserve", left, "redeemed", statement.redeemed_wei),
        _differ(
            "left the redeemer",
            -gained(redeemer),
            "paid to workers and for gas",
            sum(statement.paid.values()) + statement.fees_wei,
        ),
    ]
    found += [
        _differ(f"gained by {network.name(node)}", gained(node), "won", wei) for node, wei in won.items()
    ]
    for node in network.of("worker"):
        share = shares.get(node.id, 0)
        found.append(_differ(f"gained by {node.name}", gained(node.id), "its shares", share))
    return [line for line in found if line]


def tell(statement: Statement, network: Network, notices: list[dict[str, Any]], page: Page) -> None:
    """Show it."""
    before, after, wins = statement.before, statement.after, len(statement.redeemed)
    page.line(
        f"{statement.tickets:,} tickets were sent, worth {gwei(statement.ev_wei)}; "
        f"{wins or 'none'} of them won and {'were' if wins != 1 else 'was'} redeemed"
        + (f", for {gwei(statement.redeemed_wei)}" if wins else ": the next tour may see one")
    )
    for why in statement.refused:
        page.line(f"one that won brought nothing: {why}")
    rows = [
        ("the gateway's deposit", before.deposit_wei, after.deposit_wei),
        ("the gateway's reserve", before.reserve_wei, after.reserve_wei),
    ]
    rows += [
        (node.name, before.accounts[node.id], after.accounts[node.id])
        for node in network.nodes
        if node.role in ("orchestrator", "redeemer", "worker")
    ]
    for line in columns(
        ("on the chain", ">before", ">after", ">difference"),
        [(name, f"{old:,}", f"{new:,}", f"{new - old:+,} wei") for name, old, new in rows],
    ):
        page.line(line)
    page.line(
        f"of the redeemer's: {gwei(sum(statement.paid.values()))} to workers, {gwei(statement.fees_wei)} for gas"
    )
    for notice in notices[:1]:
        page.line()
        page.line(f"what its webhook was told of {'each' if wins > 1 else 'the'} redemption:")
        for name, value in notice.items():
            page.line(f"  {name:<12} {value}")


def _differ(left: str, left_wei: int, right: str, right_wei: int) -> str:
    return "" if left_wei == right_wei else f"{left}: {left_wei} wei, but {right}: {right_wei} wei"
