"""What an attempt costs whom, and the words about it that are repeated until they are heard.

Keys of the outbox name the peer, so that nobody else's word can retire them.
"""

from __future__ import annotations

from shoal.ids import ClientId, JobId, NodeId
from shoal.money.wei import Wei
from shoal.wire.words import Accept, Cancel
from shoal.work.lifecycle import DONE, Job

FEES = "fees"
#: What was paid for streams that broke off and began anew elsewhere: the client is charged once, the rest is ours.
SPILT = "spilt"


def account(client: ClientId) -> str:
    """A client's account in the ledger."""
    return f"client:{client}"


def seller(orchestrator: NodeId) -> str:
    """An orchestrator's account: what it has earned, less what its tickets are worth."""
    return f"orchestrator:{orchestrator}"


def tickets_to(orchestrator: NodeId) -> str:
    """The account of the tickets that an orchestrator got: what they are worth."""
    return f"tickets:{orchestrator}"


def lost_to(orchestrator: NodeId) -> str:
    """The account of what an orchestrator has not taken of our tickets, below zero."""
    return f"lost:{orchestrator}"


def credits(orchestrator: NodeId, wei: Wei, fee: Wei) -> dict[str, Wei]:
    """Who gets what from a job's hold."""
    return {seller(orchestrator): wei, FEES: fee} if wei else {}


def settlement(job: Job, epoch: int) -> Accept | Cancel:
    """What the orchestrator of an attempt is told about its end: one answer is paid, and what was owed without one."""
    attempt = job.attempt(epoch)
    unanswered = Cancel(job.id, epoch, attempt.units, attempt.wei)
    if epoch != job.epoch:
        return unanswered
    if job.phase is DONE:
        return Accept(job.id, epoch, job.units, job.wei)
    return unanswered


def order_key(orchestrator: NodeId, job: JobId, epoch: int) -> str:
    """The outbox's name for an order."""
    return f"{job}/{epoch}/{orchestrator}/order"


def tender_key(orchestrator: NodeId, number: int) -> str:
    """The outbox's name for a payment ahead."""
    return f"{orchestrator}/{number}/tender"


def settlement_key(orchestrator: NodeId, job: JobId, epoch: int) -> str:
    """The outbox's name for a settlement."""
    return f"{job}/{epoch}/{orchestrator}/settlement"
