"""Why a ticket is not taken, and how much the winners among a sender's tickets may pay."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Fault(StrEnum):
    """Why a ticket is not taken; in the contract's words where it would say the same."""

    SENDER = "ticket sender is null address"
    RECIPIENT = "ticket recipient is not this node"
    UNLOCKED = "sender is unlocked"
    UNLOCKS_SOON = "deposit and reserve is set to unlock soon"
    NO_ROUND_HASH = "ticket creationRound does not have a block hash"
    AUX_DATA = "invalid length for ticket auxData: must be 64 bytes"
    ROUND_HASH = "ticket creationRoundBlockHash invalid for creationRound"
    ROUND_EXPIRED = "ticket is expired"
    RAND = "recipientRand does not match recipientRandHash"
    PARAMS_EXPIRED = "TicketParams expired"
    NONCE = "ticket is used"
    NONCES = "too many nonces for these TicketParams"
    SIGNATURE_LENGTH = "INVALID_SIGNATURE_LENGTH"
    SIGNATURE = "invalid signature over ticket hash"
    NO_WIN = "ticket did not win"
    NO_FUNDS = "sender deposit and reserve are zero"
    FUNDS = "sender deposit and reserve do not cover the ticket"
    FLOAT = "sender has too much in winning tickets that are not redeemed yet"
    SENDERS = "too many senders"
    PARAMS = "too many TicketParams of this sender are in use"
    TICKETS = "too many tickets in one payment"


class Refusal(Struct, frozen=True, gc=False):
    """A ticket that is not taken, and why."""

    nonce: int
    fault: Fault


class Room(Struct, frozen=True, gc=False):
    """How much winning tickets of one sender may still pay."""

    empty: bool
    covered_wei: int
    trusted_wei: int

    def fault(self, face_wei: int, winners: int) -> Fault | None:
        """Why one more ticket, after so many winners of the same face value, would not be paid for sure."""
        wanted = face_wei * (winners + 1)
        if wanted > self.covered_wei:
            return Fault.NO_FUNDS if self.empty else Fault.FUNDS
        return Fault.FLOAT if wanted > self.trusted_wei else None
