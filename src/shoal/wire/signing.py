"""What a gateway asks a signer for, and what it gets: plain JSON values, amounts decimal, bytes in hex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from shoal.ids import NodeId
from shoal.money.ticket import WORD_BYTES, Address, Height, Nonce, TicketParams, uint256

#: As many tickets as a payee takes under one set of parameters.
NONCES_MAX = 600

Amount = Annotated[str, Meta(pattern=r"^[0-9]{1,78}\Z", max_length=78)]
Hex32 = Annotated[str, Meta(pattern=r"^0x[0-9a-f]{64}\Z", max_length=66)]
Hex65 = Annotated[str, Meta(pattern=r"^0x[0-9a-f]{130}\Z", max_length=132)]


class TicketOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """Tickets that are to be signed: they differ in nothing but the nonce."""

    sender: Address
    recipient: Address
    face_value: Amount
    win_prob: Amount
    recipient_rand_hash: Hex32
    expiration_block: Height
    creation_round: Height
    creation_round_hash: Hex32
    nonces: Annotated[tuple[Nonce, ...], Meta(min_length=1, max_length=NONCES_MAX)]

    @property
    def params(self) -> TicketParams:
        """What they are like. Raises `Refused` if an amount is none. Its seed is the recipient's matter."""
        return TicketParams(
            self.recipient,
            uint256(int(self.face_value)),
            uint256(int(self.win_prob)),
            bytes.fromhex(self.recipient_rand_hash[2:]),
            bytes(WORD_BYTES),
            self.expiration_block,
            self.creation_round,
            bytes.fromhex(self.creation_round_hash[2:]),
        )


class TicketSignatures(Struct, frozen=True):
    """Their signatures, in the order of the nonces."""

    signatures: Annotated[tuple[Hex65, ...], Meta(max_length=NONCES_MAX)]


class SignerAddress(Struct, frozen=True):
    """Whose tickets a signer signs."""

    address: Address


def order(params: TicketParams, sender: NodeId, nonces: Sequence[int]) -> TicketOrder:
    """Tickets of these parameters, as they are asked for."""
    return TicketOrder(
        sender,
        params.recipient,
        str(params.face_wei),
        str(int.from_bytes(params.win_prob)),
        "0x" + params.recipient_rand_hash.hex(),
        params.expiration_block,
        params.creation_round,
        "0x" + params.creation_round_hash.hex(),
        tuple(nonces),
    )
