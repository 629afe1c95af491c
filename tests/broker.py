"""What the TicketBroker contract says to a ticket, as a model in its own words and its own order.

Written from the contract's rules alone; the real one judges it in tests/contract/test_ticket_broker.py.
"""

from __future__ import annotations

from typing import NamedTuple

from coincurve import PublicKey

from shoal.money.keccak import keccak256

LOW_S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
NOBODY = "0x" + 40 * "0"


class Refusal(Exception):
    """The contract's reason."""


def need(holds: bool, reason: str) -> None:
    """A `require`."""
    if not holds:
        raise Refusal(reason)


class OnChain(NamedTuple):
    """A ticket as the contract is given it."""

    recipient: str
    sender: str
    face: int
    win_prob: int
    nonce: int
    rand_hash: bytes
    aux_data: bytes

    @property
    def hash(self) -> bytes:
        """The name by which it is known to be used."""
        numbers = b"".join(number.to_bytes(32, "big") for number in (self.face, self.win_prob, self.nonce))
        parties = bytes.fromhex(self.recipient[2:] + self.sender[2:])
        return keccak256(parties + numbers + self.rand_hash + self.aux_data)


class Broker:
    """Rounds, one sender's or many senders' money, and the tickets that were used."""

    def __init__(self, *, pool_size: int, validity_rounds: int = 2) -> None:
        self.round = 1
        self.round_initialised = True
        self.round_hashes: dict[int, bytes] = {}
        self.pool_size = pool_size
        self.validity_rounds = validity_rounds
        self.deposits: dict[str, int] = {}
        self.reserves: dict[str, int] = {}
        self.withdraw_rounds: dict[str, int] = {}
        self.claimed: dict[tuple[str, int, str], int] = {}
        self.used: set[bytes] = set()

    def claimed_by_all(self, holder: str) -> int:
        """Of its reserve, in this round."""
        return sum(
            wei for (who, round_, _), wei in self.claimed.items() if (who, round_) == (holder, self.round)
        )

    def claimed_by(self, holder: str, claimant: str) -> int:
        """By one."""
        return self.claimed.get((holder, self.round, claimant), 0)

    def claimable(self, holder: str, claimant: str) -> int:
        """What one active recipient may still take of a reserve."""
        if self.pool_size == 0:
            return 0
        whole = self.reserves.get(holder, 0) + self.claimed_by_all(holder)
        return max(0, whole // self.pool_size - self.claimed_by(holder, claimant))

    def pays(self, ticket: OnChain, sig: bytes, rand: bytes) -> int:
        """What it would pay now. Raises `Refusal` as the contract would."""
        need(self.round_initialised, "current round is not initialized")
        need(ticket.recipient != NOBODY, "ticket recipient is null address")
        need(ticket.sender != NOBODY, "ticket sender is null address")
        self._check_age(ticket.aux_data)
        need(keccak256(rand) == ticket.rand_hash, "recipientRand does not match recipientRandHash")
        need(ticket.hash not in self.used, "ticket is used")
        need(len(sig) == 65, "INVALID_SIGNATURE_LENGTH")
        need(self._signer(ticket.hash, sig) == ticket.sender, "invalid signature over ticket hash")
        need(int.from_bytes(keccak256(sig + rand), "big") < ticket.win_prob, "ticket did not win")
        withdraw_round = self.withdraw_rounds.get(ticket.sender, 0)
        need(withdraw_round == 0 or self.round < withdraw_round, "sender is unlocked")
        deposit = self.deposits.get(ticket.sender, 0)
        need(deposit + self.reserves.get(ticket.sender, 0) > 0, "sender deposit and reserve are zero")
        return min(ticket.face, deposit + self.claimable(ticket.sender, ticket.recipient))

    def redeem(self, ticket: OnChain, sig: bytes, rand: bytes) -> int:
        """What it pays. Raises `Refusal` as the contract would."""
        paid = self.pays(ticket, sig, rand)
        self.used.add(ticket.hash)
        deposit = self.deposits.get(ticket.sender, 0)
        self.deposits[ticket.sender] = deposit - min(paid, deposit)
        if paid > deposit:
            key = (ticket.sender, self.round, ticket.recipient)
            self.claimed[key] = self.claimed.get(key, 0) + paid - deposit
            self.reserves[ticket.sender] -= paid - deposit
        return paid

    def _check_age(self, aux: bytes) -> None:
        need(len(aux) == 64, "invalid length for ticket auxData: must be 64 bytes")
        made = int.from_bytes(aux[:32], "big")
        known = self.round_hashes.get(made)
        need(known is not None, "ticket creationRound does not have a block hash")
        need(known == aux[32:], "ticket creationRoundBlockHash invalid for creationRound")
        need(made + self.validity_rounds > self.round, "ticket is expired")

    @staticmethod
    def _signer(ticket_hash: bytes, sig: bytes) -> str:
        hash32 = keccak256(b"\x19Ethereum Signed Message:\n32" + ticket_hash)
        if int.from_bytes(sig[32:64], "big") > LOW_S_MAX or sig[64] not in (27, 28):
            return ""
        try:
            key = PublicKey.from_signature_and_message(sig[:64] + bytes([sig[64] - 27]), hash32, hasher=None)
        except ValueError:
            return ""
        return "0x" + keccak256(key.format(compressed=False)[1:])[-20:].hex()
