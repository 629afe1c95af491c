"""What an orchestrator signs for a worker, and how both name a payment: written and checked by the same words."""

from __future__ import annotations

from hashlib import sha256

from shoal.ids import NodeId
from shoal.money.ticket import Hash
from shoal.wire.words import Account

#: What precedes an account under a signature, and a batch's name.
ACCOUNT = "shoal account 1"
BATCH = "shoal payout 1"


def account_bytes(orchestrator: NodeId, worker: NodeId, account: Account) -> bytes:
    """What the signature of a worker's account covers: between whom, both sums, and every payment named."""
    lines = [ACCOUNT, orchestrator, worker, account.earned.hex(), account.paid.hex()]
    lines += [f"{each.number} {each.wei.hex()} {each.transaction}" for each in account.remittances]
    return "\n".join(lines).encode()


def batch_id(orchestrator: NodeId, number: int) -> Hash:
    """How an orchestrator's batch of payments is called on chain: nobody can pass it off as another's."""
    return sha256(f"{BATCH}\n{orchestrator}\n{number}".encode()).digest()
