"""What a chain shows of rounds, gas and a sender's money, as events and as held by payer and payee."""

from __future__ import annotations

from msgspec import Struct

from shoal.ids import NodeId
from shoal.machine import Event
from shoal.money.ticket import NO_HASH


class ChainView(Struct, frozen=True, gc=False):
    """The chain as it was seen last. `block` is of the first layer where there are two."""

    block: int
    #: The last round that was initialised and its block hash; where that is zero, the round before it and its hash.
    round: int
    round_hash: bytes
    #: False while a later round has begun and nobody has initialised it: then nothing can be redeemed.
    round_initialised: bool
    gas_price_wei: int
    #: How many recipients share each sender's reserve.
    pool_size: int

    @property
    def current_round(self) -> int:
        """The round that redemptions are judged by, as far as is known."""
        return self.round if self.round_initialised else self.round + 1


class ChainSeen(Event, frozen=True):
    """The chain was looked at."""

    block: int
    round: int
    round_hash: bytes
    round_initialised: bool
    gas_price_wei: int
    pool_size: int

    @property
    def view(self) -> ChainView:
        """What to hold on to."""
        return ChainView(
            self.block,
            self.round,
            self.round_hash,
            self.round_initialised,
            self.gas_price_wei,
            self.pool_size,
        )


class Funds(Struct, frozen=True, gc=False):
    """A sender's money in the broker, as it was seen last."""

    deposit: int = 0
    #: What is left of the reserve.
    reserve: int = 0
    #: What this recipient has claimed of the reserve in the current round.
    claimed_by_me: int = 0
    #: The round from which the sender may take everything out; 0: it has not asked to.
    withdraw_round: int = 0
    #: What all recipients together have claimed of the reserve in the current round.
    claimed_by_all: int = 0

    def locked(self, current_round: int) -> bool:
        """False once the sender may take its money out: then nothing is redeemed any more."""
        return self.withdraw_round == 0 or current_round < self.withdraw_round

    def reserve_share(self, pool_size: int) -> int:
        """What of the reserve this recipient can still claim in the current round, whoever else redeems."""
        if pool_size <= 0:
            return 0
        return max(0, (self.reserve + self.claimed_by_all) // pool_size - self.claimed_by_me)


class FundsSeen(Event, frozen=True):
    """A sender's money in the broker was looked at."""

    sender: NodeId
    deposit: int
    reserve: int
    claimed_by_me: int
    withdraw_round: int
    claimed_by_all: int = 0

    @property
    def funds(self) -> Funds:
        """What to hold on to."""
        return Funds(self.deposit, self.reserve, self.claimed_by_me, self.withdraw_round, self.claimed_by_all)


#: Nothing was seen yet: nothing is accepted.
UNSEEN = ChainView(0, 0, NO_HASH, False, 0, 0)
