"""The one who holds the key: signs what was decided, in Livepeer's forms. It tells nobody anything but signatures."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.errors import Refused, Untrusted
from shoal.money.address import checksummed
from shoal.money.keccak import keccak256
from shoal.money.ticket import SignedNonce, TicketHasher, TicketParams, personal_hash
from shoal.runtime.keys import NodeKey, recover_hash
from shoal.wire import net
from shoal.wire.protobuf import encode

#: What stands where a segment's profiles would: there is no segment.
NO_PROFILES = b"invalid"
_SEQUENCE_BYTES = 32


class Pen:
    """One key, for all that a signer signs."""

    __slots__ = ("_key", "address")

    def __init__(self, key: NodeKey) -> None:
        self._key = key
        self.address = key.id

    def sign(self, message: bytes) -> bytes:
        """A message, as Livepeer's nodes sign them."""
        return self._key.sign_hash(personal_hash(keccak256(message)))

    def require_own(self, message: bytes, signature: bytes) -> None:
        """Raise `Refused` unless this pen has signed the message."""
        try:
            signer = recover_hash(personal_hash(keccak256(message)), signature)
        except Untrusted as error:
            raise Refused("invalid sig") from error
        if signer != self.address:
            raise Refused("invalid sig")

    def introduction(self) -> tuple[str, bytes]:
        """Its address as orchestrators are told it, and the signature that goes with that."""
        address = checksummed(self.address)
        return address, self.sign(address.encode())

    def tickets(self, params: TicketParams, nonces: Sequence[int]) -> tuple[SignedNonce, ...]:
        """The tickets of these parameters and nonces, signed."""
        hash_of = TicketHasher(params.ticket(self.address, 0))
        return tuple(
            SignedNonce(nonce, self._key.sign_hash(personal_hash(hash_of(nonce)))) for nonce in nonces
        )

    def credentials(
        self, manifest: str, token: net.AuthToken | None, capabilities: net.Capabilities | None
    ) -> bytes:
        """What stands beside a payment: a segment of nothing, for this piece of work."""
        manifest_id, hash32 = manifest.encode(), keccak256(b"")
        signature = self.sign(manifest_id + bytes(_SEQUENCE_BYTES) + hash32)
        return encode(
            net.SegData(
                manifest_id=manifest_id,
                hash=hash32,
                profiles=NO_PROFILES,
                sig=signature,
                capabilities=capabilities,
                auth_token=token,
            )
        )
