"""What a redeemer hears of the chain and asks of it.

Whatever is asked is answered, if only by `Silent` or with a fault; answers may
come late, twice or out of order, and each says what it is about.
"""

from __future__ import annotations

from shoal.ids import NodeId
from shoal.machine import Effect, Event
from shoal.redeemer.intent import Attempt, What
from shoal.wire.words import Part


class Notice(Part, frozen=True, array_like=True):
    """What is told of a redemption."""

    id: str
    pipeline: str
    sender: NodeId
    recipient: NodeId
    wei: bytes
    fee_wei: bytes
    transaction: str
    block: int


class Draft(Event, frozen=True):
    """A transaction that is to be signed; `void` ones do nothing but use up the nonce."""

    what: What
    nonce: int
    gas: int
    max_fee_wei: int
    tip_wei: int | None
    void: bool


class Mined(Event, frozen=True):
    """A transaction of ours that the chain has taken. `wei` went to the ticket's recipient."""

    transaction: str
    block: int
    good: bool
    fee_wei: int
    wei: int = 0


class Looked(Event, frozen=True):
    """The chain, at one moment: nothing in here is of another branch than its head."""

    head: int
    #: What dates tickets: the first layer's, where there are two.
    block: int
    round_initialised: bool
    #: Fees to expect: with a `tip`, `price_wei` is the block's base fee.
    price_wei: int
    tip_wei: int | None
    balance_wei: int
    #: How many transactions of this account the chain has taken, at its head and `confirmations` below.
    nonce: int
    nonce_deep: int
    mined: tuple[Mined, ...] = ()


class Silent(Event, frozen=True):
    """The chain did not answer a `Look`."""

    why: str


class Weighed(Event, frozen=True):
    """What doing it now would take and bring. `fault` says why it cannot be done; `rejected` if a contract said so."""

    id: str
    gas: int = 0
    wei: int = 0
    fault: str = ""
    rejected: bool = False


class Sent(Event, frozen=True):
    """A node has taken a transaction for the next blocks, or said why not."""

    transaction: str
    fault: str = ""


class Posted(Event, frozen=True):
    """A webhook has taken a notice, or said why not; `gone` if it never will."""

    id: str
    hook: str
    fault: str = ""
    gone: bool = False


class Look(Effect, frozen=True):
    """Look at the chain, and for these transactions of ours."""

    #: Their hashes and nonces.
    transactions: tuple[tuple[str, int], ...]


class Weigh(Effect, frozen=True):
    """Find out what doing this now would take and bring.

    `nonce` is that of its transaction, if one is on its way: once that is mined, it is no wonder if the chain will not
    have the same again.
    """

    id: str
    what: What
    nonce: int | None = None


class Broadcast(Effect, frozen=True):
    """Send a transaction to the chain; sent before or not."""

    attempt: Attempt


class Post(Effect, frozen=True):
    """Tell a webhook of a redemption."""

    hook: str
    notice: Notice
