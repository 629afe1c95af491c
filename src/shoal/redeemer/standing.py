"""What is known of an intent beside the books: how the chain stands to it now. It need not outlive the process."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from shoal.redeemer.events import Mined
from shoal.redeemer.intent import Attempt, Fill, Intent, Pay, Phase, Redeem
from shoal.units import Instant
from shoal.wire import words


class Standing(Struct):
    """What is known of an open intent and need not outlive the process."""

    #: When it is looked at again, and why it is not done yet.
    again_at: Instant = Instant(0)
    why: str = ""
    #: What last kept it from being done, though the contract would have had it.
    held: str = ""
    weighing: bool = False
    #: What the contract says against it, and since which block.
    verdict: str = ""
    verdict_head: int = 0
    mined: Mined | None = None
    broadcast_at: Instant = Instant(0)
    #: The account does not cover it, and that was said.
    poor: bool = False


def report(intent: Intent, why: str) -> words.Word | None:
    """What its orchestrator is told of an intent."""
    state = "taken" if intent.phase is Phase.WAITING else intent.phase.value
    transaction = intent.transaction or (intent.last.transaction if intent.phase is Phase.SENT else "")
    match intent.what:
        case Redeem(winning):
            return words.Redemption(winning.ticket_hash, state, transaction, intent.wei, why)
        case Pay(batch):
            return words.PaidOut(batch, state, transaction, why)
        case Fill():
            return None


def which(intent: Intent, mined: Mapping[str, Mined]) -> Mined | None:
    """The transaction by which the chain has done this, or used up the nonce that it has."""
    for attempt in intent.attempts:
        found = mined.get(attempt.transaction)
        if found is None:
            continue
        current = intent.phase is Phase.SENT and attempt.nonce == intent.last.nonce
        if current or (found.good and not attempt.void):
            return found
    return None


def most_wei(intent: Intent) -> int:
    """What a transaction that is on its way can cost at most."""
    value = intent.what.wei if isinstance(intent.what, Pay) and not intent.last.void else 0
    return value + intent.last.gas * intent.last.max_fee_wei


def revert_reason(found: Mined, attempt: Attempt) -> str:
    """Why a transaction that the chain has taken did nothing."""
    if attempt.void:
        return "it was called back"
    if found.good:
        return "its transaction went through, and nothing was redeemed: is the broker's address right?"
    return "the contract rejected its transaction"
