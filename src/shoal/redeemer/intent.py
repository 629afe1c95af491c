"""An intent: one thing that the operator's account is to do on chain, and how far it is.

A winning ticket to redeem, or workers to pay; or nothing at all, where a nonce
has to be used up. It has at most one nonce at a time, and any number of
transactions under it, of which the chain takes one.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import IllegalMove
from shoal.ids import NodeId
from shoal.machine import Event, Fact
from shoal.money.ticket import WinningTicket
from shoal.units import Instant
from shoal.wire.words import Part, Payee


class Redeem(Part, frozen=True, array_like=True, tag=True):
    """Redeem a winning ticket, once the sender can learn nothing from its number any more."""

    winning: WinningTicket
    pipeline: str

    @property
    def creation_round(self) -> int:
        """The round by which the ticket is dated; 0 if it names none."""
        return int.from_bytes(self.winning.signed.ticket.aux_data[:32])


class Pay(Part, frozen=True, array_like=True, tag=True):
    """Pay workers, all at once; the contract takes a batch only once."""

    batch: bytes
    payees: tuple[Payee, ...]

    @property
    def wei(self) -> int:
        """What it comes to."""
        return sum(int.from_bytes(payee.wei) for payee in self.payees)


class Fill(Part, frozen=True, array_like=True, tag=True):
    """Use up a nonce that somebody left open, so that those after it can go on."""

    nonce: int


What = Redeem | Pay | Fill


class Attempt(Part, frozen=True, array_like=True):
    """One transaction: `raw` is what is sent. A `void` one does nothing but use up the nonce."""

    transaction: str
    raw: bytes
    nonce: int
    gas: int
    max_fee_wei: int
    #: None where there is no market of fees (EIP-1559).
    tip_wei: int | None
    at: Instant
    void: bool = False


class Taken(Fact, frozen=True):
    """This is to be done, for this orchestrator ("" for our own sake)."""

    id: str
    peer: NodeId
    what: What


class Signed(Fact, frozen=True):
    """A transaction exists; from now on it may be on chain at any time."""

    id: str
    attempt: Attempt


class Confirmed(Fact, frozen=True):
    """It is done, and deep enough. `hooks` are those who are to be told."""

    id: str
    transaction: str
    block: int
    wei: bytes
    fee_wei: bytes
    hooks: tuple[str, ...] = ()


class Reverted(Fact, frozen=True):
    """The chain took a transaction and did nothing; its gas is spent, its nonce used up."""

    id: str
    transaction: str
    fee_wei: bytes
    why: str


class Displaced(Fact, frozen=True):
    """Another transaction of this account took the nonce: none of ours will be taken."""

    id: str


class Refused(Fact, frozen=True):
    """It will not be done."""

    id: str
    why: str


class Phase(Enum):
    """How far an intent is. Whether a transaction is mined, but not deep enough, is for the chain to remember."""

    WAITING = "waiting"
    SENT = "sent"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


#: What may happen when. A pair that is not here is a bug, and raises.
MOVES: dict[tuple[Phase, type[Event]], Phase] = {
    (Phase.WAITING, Signed): Phase.SENT,
    (Phase.WAITING, Confirmed): Phase.CONFIRMED,  # one that was given up for lost, and was not
    (Phase.WAITING, Refused): Phase.REFUSED,
    (Phase.SENT, Signed): Phase.SENT,
    (Phase.SENT, Confirmed): Phase.CONFIRMED,
    (Phase.SENT, Reverted): Phase.WAITING,
    (Phase.SENT, Displaced): Phase.WAITING,
}


class Intent(Struct, frozen=True):
    """One thing to do."""

    id: str
    peer: NodeId
    what: What
    taken_at: Instant
    phase: Phase = Phase.WAITING
    attempts: tuple[Attempt, ...] = ()
    reverts: int = 0
    transaction: str = ""
    wei: bytes = b""
    fee_wei: bytes = b""
    why: str = ""
    ended_at: Instant = Instant(0)

    @property
    def last(self) -> Attempt:
        """Its newest transaction."""
        return self.attempts[-1]

    @property
    def replacements(self) -> int:
        """How many transactions were made for the nonce that it has, but for the first."""
        return sum(attempt.nonce == self.last.nonce for attempt in self.attempts) - 1

    @property
    def open(self) -> bool:
        """True while something is to be done about it."""
        return self.phase in (Phase.WAITING, Phase.SENT)

    @property
    def urgency(self) -> tuple[int, int, int, str]:
        """What comes first: a nonce to fill, then pay, then the ticket that expires first."""
        match self.what:
            case Fill(nonce):
                return (0, nonce, 0, "")
            case Pay():
                return (1, self.taken_at, 0, self.id)
            case Redeem() as redeem:
                return (2, redeem.creation_round, redeem.winning.expiration_block, self.id)

    def move(self, fact: Signed | Confirmed | Reverted | Displaced | Refused, at: Instant) -> Intent:
        """This intent after a fact about it. Raises `IllegalMove` if the table has no such line."""
        phase = MOVES.get((self.phase, type(fact)))
        if phase is None:
            raise IllegalMove(f"{type(fact).__name__} of {self.id} while it is {self.phase.value}")
        match fact:
            case Signed():
                return replace(self, phase=phase, attempts=(*self.attempts, fact.attempt))
            case Confirmed():
                return replace(
                    self,
                    phase=phase,
                    transaction=fact.transaction,
                    wei=fact.wei,
                    fee_wei=_sum(self.fee_wei, fact.fee_wei),
                    attempts=(),
                    ended_at=at,
                )
            case Reverted():
                fee_wei = _sum(self.fee_wei, fact.fee_wei)
                return replace(self, phase=phase, reverts=self.reverts + 1, fee_wei=fee_wei, why=fact.why)
            case Displaced():
                return replace(self, phase=phase)
            case Refused():
                return replace(self, phase=phase, why=fact.why, attempts=(), ended_at=at)


def _sum(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) + int.from_bytes(other)).to_bytes(32)


def redeem_id(ticket_hash: bytes) -> str:
    """What the redemption of a ticket is called here."""
    return f"ticket/{ticket_hash.hex()}"


def pay_id(batch: bytes) -> str:
    """What a batch of payments is called here."""
    return f"payout/{batch.hex()}"


def fill_id(nonce: int, number: int) -> str:
    """What a filling of a nonce is called here."""
    return f"nonce/{nonce}/{number}"
