"""The contracts as a model: rounds, deposits, reserves, tickets that were used, workers who were paid.

What it pays and refuses, and in which words, is what TicketBroker and Payouts
say; a test lets the real ones judge it. It costs nothing to copy, so that a
chain can go back.
"""

from __future__ import annotations

from shoal.errors import Untrusted
from shoal.ids import NodeId
from shoal.money.funds import Funds
from shoal.money.ticket import SIGNATURE_BYTES, WORD_BYTES, WinningTicket, rand_hash
from shoal.runtime.keys import recover_hash
from shoal.wire.words import Payee

NOBODY = NodeId("0x" + 40 * "0")


class Rejected(Exception):
    """What the contract says when it undoes a call."""


def require(holds: bool, why: str) -> None:
    """The contract's `assert`."""
    if not holds:
        raise Rejected(why)


class Broker:
    """The money of all senders, and what became of it."""

    def __init__(
        self, pool: tuple[NodeId, ...], *, round_blocks: int, validity_rounds: int = 2, unlock_rounds: int = 2
    ) -> None:
        """`pool` are the recipients that may claim of reserves; each round has `round_blocks` blocks."""
        self.pool = pool
        self.round_blocks = round_blocks
        self.validity_rounds = validity_rounds
        self.unlock_rounds = unlock_rounds
        #: The newest block: what a call is judged by.
        self.block = 0
        #: The rounds that somebody opened, by number, and the block hash of each.
        self.round_hashes: dict[int, bytes] = {}
        self.deposits: dict[NodeId, int] = {}
        self.reserves: dict[NodeId, int] = {}
        self.withdraw_rounds: dict[NodeId, int] = {}
        self.claimed: dict[tuple[NodeId, int, NodeId], int] = {}
        self.used: frozenset[bytes] = frozenset()
        #: All that an operator has paid a worker, and the batches by which it did.
        self.paid: dict[tuple[NodeId, NodeId], int] = {}
        self.batches: frozenset[tuple[NodeId, bytes]] = frozenset()

    def copy(self) -> Broker:
        """The same, to go on from or to come back to."""
        other = Broker.__new__(Broker)
        other.__dict__ |= {
            name: dict(value) if isinstance(value, dict) else value for name, value in self.__dict__.items()
        }
        return other

    # Rounds

    @property
    def round(self) -> int:
        """The current round."""
        return 1 + self.block // self.round_blocks

    @property
    def round_initialised(self) -> bool:
        """Whether somebody has opened it."""
        return self.round in self.round_hashes

    def initialise_round(self, block_hash: bytes) -> None:
        """Open the current round, by the hash of the block before."""
        require(not self.round_initialised, "round already initialized")
        self.round_hashes[self.round] = block_hash

    # Senders

    def fund(self, sender: NodeId, deposit: int, reserve: int) -> None:
        """Put money down; a sender who does so while its account unlocks wants to go on."""
        self.deposits[sender] = self.deposits.get(sender, 0) + deposit
        self.reserves[sender] = self.reserves.get(sender, 0) + reserve
        self.withdraw_rounds.pop(sender, None)

    def unlock(self, sender: NodeId) -> None:
        """Ask for all of it."""
        require(self._funds_of(sender) > 0, "sender deposit and reserve are zero")
        require(sender not in self.withdraw_rounds, "unlock already initiated")
        self.withdraw_rounds[sender] = self.round + self.unlock_rounds

    def withdraw(self, sender: NodeId) -> int:
        """Take all of it back."""
        require(self._funds_of(sender) > 0, "sender deposit and reserve are zero")
        require(sender in self.withdraw_rounds, "no unlock request in progress")
        require(not self._is_locked(sender), "account is locked")
        return self.deposits.pop(sender, 0) + self.reserves.pop(sender, 0)

    def funds(self, sender: NodeId, recipient: NodeId) -> Funds:
        """A sender's money as one recipient sees it."""
        return Funds(
            self.deposits.get(sender, 0),
            self.reserves.get(sender, 0),
            self.claimed.get((sender, self.round, recipient), 0),
            self.withdraw_rounds.get(sender, 0),
            self._claimed_by_all(sender),
        )

    def claimable(self, holder: NodeId, claimant: NodeId) -> int:
        """What a recipient may take of a reserve now."""
        if claimant not in self.pool:
            return 0
        return self.funds(holder, claimant).reserve_share(len(self.pool))

    def _funds_of(self, sender: NodeId) -> int:
        return self.deposits.get(sender, 0) + self.reserves.get(sender, 0)

    def _is_locked(self, sender: NodeId) -> bool:
        return self.round < self.withdraw_rounds.get(sender, self.round + 1)

    def _claimed_by_all(self, sender: NodeId) -> int:
        return sum(self.claimed.get((sender, self.round, one), 0) for one in self.pool)

    # Tickets

    def pays(self, winning: WinningTicket) -> int:
        """What a ticket would bring now."""
        ticket = winning.signed.ticket
        return min(
            ticket.face_wei,
            self.deposits.get(ticket.sender, 0) + self.claimable(ticket.sender, ticket.recipient),
        )

    def check(self, winning: WinningTicket) -> None:
        """Raise `Rejected` as the contract would."""
        ticket, signature = winning.signed.ticket, winning.signed.signature
        require(self.round_initialised, "current round is not initialized")
        require(ticket.recipient != NOBODY, "ticket recipient is null address")
        require(ticket.sender != NOBODY, "ticket sender is null address")
        self._check_age(ticket.aux_data)
        fits = rand_hash(winning.recipient_rand) == ticket.recipient_rand_hash
        require(fits, "recipientRand does not match recipientRandHash")
        require(ticket.ticket_hash not in self.used, "ticket is used")
        require(len(signature) == SIGNATURE_BYTES, "INVALID_SIGNATURE_LENGTH")
        try:
            signer = recover_hash(ticket.signed_hash, signature)
        except Untrusted:
            raise Rejected("ECDSA: invalid signature") from None
        require(signer == ticket.sender, "invalid signature over ticket hash")
        require(ticket.wins(signature, winning.recipient_rand), "ticket did not win")
        require(self._is_locked(ticket.sender), "sender is unlocked")
        require(self._funds_of(ticket.sender) > 0, "sender deposit and reserve are zero")

    def redeem(self, winning: WinningTicket) -> int:
        """Pay a ticket, once: from the deposit, and what that lacks from the reserve."""
        self.check(winning)
        ticket = winning.signed.ticket
        sender, recipient = ticket.sender, ticket.recipient
        wei = self.pays(winning)
        self.used |= {ticket.ticket_hash}
        deposit = self.deposits.get(sender, 0)
        self.deposits[sender] = deposit - min(wei, deposit)
        if wei > deposit:
            key = (sender, self.round, recipient)
            self.claimed[key] = self.claimed.get(key, 0) + wei - deposit
            self.reserves[sender] -= wei - deposit
        return wei

    def _check_age(self, aux_data: bytes) -> None:
        require(len(aux_data) == 2 * WORD_BYTES, "invalid length for ticket auxData: must be 64 bytes")
        made, block_hash = int.from_bytes(aux_data[:WORD_BYTES]), aux_data[WORD_BYTES:]
        known = self.round_hashes.get(made)
        require(known is not None, "ticket creationRound does not have a block hash")
        require(known == block_hash, "ticket creationRoundBlockHash invalid for creationRound")
        require(self.round - made < self.validity_rounds, "ticket is expired")

    # Workers

    def pay_out(self, operator: NodeId, batch: bytes, payees: tuple[Payee, ...]) -> None:
        """Pay workers, a batch of an operator only once."""
        require((operator, batch) not in self.batches, "batch is paid")
        require(all(payee.node != NOBODY for payee in payees), "worker is null address")
        self.batches |= {(operator, batch)}
        for payee in payees:
            key = (operator, payee.node)
            self.paid[key] = self.paid.get(key, 0) + int.from_bytes(payee.wei)
