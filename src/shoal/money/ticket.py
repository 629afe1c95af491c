"""A ticket: a signed lottery draw that pays `face_value` with probability `win_prob`.

The hash, the signature and the winning rule are those of Livepeer's
TicketBroker, to the byte. Both sides compute a ticket's worth here, so they
cannot disagree. Nothing here signs, and nothing here knows a secret.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from shoal.errors import Refused
from shoal.ids import NODE_ID_PATTERN, NodeId
from shoal.money.keccak import keccak256

WORD_BYTES = 32
SIGNATURE_BYTES = 65
#: The probability that always wins (but for one hash in 2**256).
WIN_PROB_MAX = 2**256 - 1
NONCE_MAX = 2**32 - 1
NO_HASH = bytes(WORD_BYTES)

#: A whole number below 2**256, as 32 bytes, big-endian: encoders end at 64 bits.
Uint256 = Annotated[bytes, Meta(min_length=WORD_BYTES, max_length=WORD_BYTES)]
Hash = Annotated[bytes, Meta(min_length=WORD_BYTES, max_length=WORD_BYTES)]
#: r, s and v, which is 27 or 28.
Signature = Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
Address = Annotated[NodeId, Meta(pattern=NODE_ID_PATTERN, max_length=42)]
Nonce = Annotated[int, Meta(ge=0, le=NONCE_MAX)]
#: A number of a block or a round.
Height = Annotated[int, Meta(ge=0, le=2**63 - 1)]

_PERSONAL = b"\x19Ethereum Signed Message:\n32"


def uint256(number: int) -> Uint256:
    """A whole number as its 32 bytes. Raises `Refused` if it does not fit."""
    try:
        return number.to_bytes(WORD_BYTES)
    except OverflowError:
        raise Refused(f"{number} does not fit in 256 bits; amounts are whole and not below 0") from None


def address_bytes(node: NodeId) -> bytes:
    """The 20 bytes of a node's address."""
    return bytes.fromhex(node[2:])


def worth_wei(face_value: Uint256, win_prob: Uint256) -> int:
    """What a ticket is worth on average, in whole wei, rounded down: the credit that it gives."""
    return int.from_bytes(face_value) * int.from_bytes(win_prob) // WIN_PROB_MAX


def aux_data(creation_round: int, creation_round_hash: Hash) -> bytes:
    """What a ticket says about when it was made: 64 bytes, or none without a round."""
    if creation_round == 0 and creation_round_hash == NO_HASH:
        return b""
    return uint256(creation_round) + creation_round_hash


def rand_hash(recipient_rand: Uint256) -> Hash:
    """What binds a recipient to the number that it draws with."""
    return keccak256(recipient_rand)


def personal_hash(hash32: Hash) -> Hash:
    """What is signed for a 32-byte hash: the hash as a personal message, not hashed again before."""
    return keccak256(_PERSONAL + hash32)


def drawn(signature: Signature, recipient_rand: Uint256) -> int:
    """The number drawn from what neither side could choose alone."""
    return int.from_bytes(keccak256(signature + recipient_rand))


class Ticket(Struct, frozen=True, array_like=True, gc=False):
    """One draw, as the chain sees it."""

    recipient: Address
    sender: Address
    face_value: Uint256
    win_prob: Uint256
    nonce: Nonce
    recipient_rand_hash: Hash
    #: The creation round and its block hash, 32 bytes each, or nothing.
    aux_data: Annotated[bytes, Meta(max_length=2 * WORD_BYTES)]

    @property
    def face_wei(self) -> int:
        """What it pays if it wins."""
        return int.from_bytes(self.face_value)

    @property
    def ev_wei(self) -> int:
        """What it is worth on average."""
        return worth_wei(self.face_value, self.win_prob)

    @property
    def ticket_hash(self) -> Hash:
        """The name by which the contract knows it."""
        return TicketHasher(self)(self.nonce)

    @property
    def signed_hash(self) -> Hash:
        """What its sender signs."""
        return personal_hash(self.ticket_hash)

    def wins(self, signature: Signature, recipient_rand: Uint256) -> bool:
        """Whether it wins with this signature."""
        return drawn(signature, recipient_rand) < int.from_bytes(self.win_prob)


class TicketHasher:
    """The hashes of tickets that differ in nothing but the nonce: what is common is packed once."""

    __slots__ = ("_head", "_tail")

    def __init__(self, like: Ticket) -> None:
        self._head = (
            address_bytes(like.recipient) + address_bytes(like.sender) + like.face_value + like.win_prob
        )
        self._tail = like.recipient_rand_hash + like.aux_data

    def __call__(self, nonce: int) -> Hash:
        """The ticket hash for this nonce."""
        return keccak256(self._head + nonce.to_bytes(WORD_BYTES) + self._tail)


class SignedTicket(Struct, frozen=True, array_like=True, gc=False):
    """A ticket and its sender's signature over `signed_hash`."""

    ticket: Ticket
    signature: Signature


class WinningTicket(Struct, frozen=True, array_like=True, gc=False):
    """A ticket that won, with the number that shows it.

    The number goes to the chain for all to read, so nobody redeems it before
    `expiration_block`: until then its sender may still draw against it.
    """

    signed: SignedTicket
    recipient_rand: Uint256
    expiration_block: Height

    @property
    def ticket_hash(self) -> Hash:
        """The name by which the contract knows it."""
        return self.signed.ticket.ticket_hash

    @property
    def face_wei(self) -> int:
        """What it pays."""
        return self.signed.ticket.face_wei


class TicketParams(Struct, frozen=True, array_like=True, gc=False):
    """What a recipient asks of tickets, for one sender and until `expiration_block` has come."""

    recipient: Address
    face_value: Uint256
    win_prob: Uint256
    recipient_rand_hash: Hash
    #: What the recipient finds its number by again.
    seed: Uint256
    expiration_block: Height
    creation_round: Height
    creation_round_hash: Hash

    @property
    def face_wei(self) -> int:
        """What a winning ticket pays."""
        return int.from_bytes(self.face_value)

    @property
    def ev_wei(self) -> int:
        """What one ticket is worth: the credit that it gives."""
        return worth_wei(self.face_value, self.win_prob)

    @property
    def aux_data(self) -> bytes:
        """What its tickets say about when they were made."""
        return aux_data(self.creation_round, self.creation_round_hash)

    def ticket(self, sender: NodeId, nonce: int) -> Ticket:
        """The ticket of this sender under this nonce."""
        return Ticket(
            self.recipient,
            sender,
            self.face_value,
            self.win_prob,
            nonce,
            self.recipient_rand_hash,
            self.aux_data,
        )


class SignedNonce(Struct, frozen=True, array_like=True, gc=False):
    """A ticket as it travels beside its parameters: the rest follows from them."""

    nonce: Nonce
    signature: Signature


class Payment(Struct, frozen=True, array_like=True, gc=False):
    """Many tickets of one sender under one set of parameters: a fifth of the bytes of as many `SignedTicket`s."""

    params: TicketParams
    sender: Address
    tickets: tuple[SignedNonce, ...]

    @property
    def ev_wei(self) -> int:
        """What its tickets are worth together."""
        return self.params.ev_wei * len(self.tickets)

    def signed_tickets(self) -> tuple[SignedTicket, ...]:
        """Its tickets, each whole."""
        return tuple(
            SignedTicket(self.params.ticket(self.sender, each.nonce), each.signature) for each in self.tickets
        )


def payment(params: TicketParams, sender: NodeId, tickets: tuple[SignedTicket, ...]) -> Payment:
    """Signed tickets of these parameters, as they travel."""
    return Payment(params, sender, tuple(SignedNonce(each.ticket.nonce, each.signature) for each in tickets))
