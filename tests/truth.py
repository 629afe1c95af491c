"""What a real chain says of a run, read from its logs: what the auditor compares the journals with."""

from __future__ import annotations

import asyncio
from pathlib import Path

from shoal.chain.abi import Log
from shoal.chain.bindings import BROKER_EVENTS, Payouts, TicketBroker
from shoal.chain.config import deployment
from shoal.chain.reader import Reader
from shoal.chain.rpc import Rpc
from shoal.chain.settings import ChainSettings
from shoal.ids import NodeId
from shoal.money.ticket import Ticket, rand_hash, uint256
from shoal.sim.evidence import ChainTruth, Redeemed

PAID_OUT = {Payouts.PAID_OUT.topic: Payouts.PAID_OUT}


def chain_truth(file: Path) -> ChainTruth:
    """Everything that was redeemed, put down and paid out on the chain of this `chain.json`."""
    return asyncio.run(_read(ChainSettings(file=str(file))))


async def _read(settings: ChainSettings) -> ChainTruth:
    contracts = deployment(settings)
    rpc = Rpc(contracts.rpc_url)
    try:
        reader = Reader(rpc, contracts)
        head = (await reader.head()).number
        broker = await reader.logs(contracts.ticket_broker, BROKER_EVENTS, 0, head)
        payouts = await reader.logs(contracts.payouts, PAID_OUT, 0, head)
    finally:
        await rpc.close()
    funded: dict[NodeId, int] = {}
    brought: dict[str, int] = {}
    redeemed: dict[bytes, tuple[Redeemed, ...]] = {}
    for log in broker:
        if log.kind in (TicketBroker.DEPOSIT_FUNDED.name, TicketBroker.RESERVE_FUNDED.name):
            sender = NodeId(log.values.get("sender") or log.values["reserveHolder"])
            funded[sender] = funded.get(sender, 0) + log.values["amount"]
        elif log.kind == TicketBroker.TRANSFER.name:
            brought[log.transaction] = log.values["amount"]
        elif log.kind == TicketBroker.REDEEMED.name:
            ticket, found = _redeemed(log, brought.pop(log.transaction, 0))
            redeemed[ticket] = (*redeemed.get(ticket, ()), found)
    batches: dict[bytes, tuple[str, ...]] = {}
    paid: dict[NodeId, int] = {}
    for log in payouts:
        batch, worker = log.values["batch"], NodeId(log.values["worker"])
        batches[batch] = tuple(dict.fromkeys((*batches.get(batch, ()), log.transaction)))
        paid[worker] = paid.get(worker, 0) + log.values["amount"]
    return ChainTruth(redeemed, funded, batches, paid)


def _redeemed(log: Log, wei: int) -> tuple[bytes, Redeemed]:
    """A redemption, and the name of its ticket: all that the ticket said is in the log."""
    said = log.values
    ticket = Ticket(
        NodeId(said["recipient"]),
        NodeId(said["sender"]),
        uint256(said["faceValue"]),
        uint256(said["winProb"]),
        said["senderNonce"],
        rand_hash(uint256(said["recipientRand"])),
        said["auxData"],
    )
    return ticket.ticket_hash, Redeemed(ticket.sender, ticket.recipient, log.transaction, log.block, wei)
