"""Who signs a gateway's tickets: its own key, or a signer in another process that holds the key it pays with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol, cast

from shoal.errors import Refused
from shoal.gateway.config import Settings
from shoal.gateway.events import SenderKnown, SignTickets, TicketsSigned
from shoal.machine import Event
from shoal.money.ticket import SignedNonce
from shoal.runtime.keys import NodeKey

Tell = Callable[[Event], None]


class Signer(Protocol):
    """What either can do. What comes of it is told as events."""

    def open(self) -> None:
        """Find out whose tickets these are, and say `SenderKnown`."""
        ...

    def sign(self, effect: SignTickets) -> None:
        """Sign, and say `TicketsSigned` or `SigningFailed`."""
        ...

    async def close(self) -> None:
        """Ask nobody any more."""
        ...


class OwnKey:
    """The gateway's own key."""

    def __init__(self, key: NodeKey, tell: Tell) -> None:
        self._key = key
        self._tell = tell

    def open(self) -> None:
        """They are our own."""
        self._tell(SenderKnown(self._key.id))

    def sign(self, effect: SignTickets) -> None:
        """Sign at once."""
        sign = self._key.sign_hash
        signed = tuple(SignedNonce(ticket.nonce, sign(ticket.signed_hash)) for ticket in effect.tickets)
        self._tell(TicketsSigned(effect.orchestrator, effect.params, signed))

    async def close(self) -> None:
        """There is nobody to ask."""


def signer(settings: Settings, key: NodeKey, tell: Tell) -> Signer | None:
    """Who signs; None if nobody has to. Raises `Refused` if the settings make no sense.

    Who asks no other process does not load what that takes.
    """
    if settings.chain.off:
        if settings.signer_url:
            raise Refused("signer_url is set, and no chain to pay on: set chain.file or chain.rpc_url too")
        return None
    if not settings.signer_url:
        return OwnKey(key, tell)
    remote = importlib.import_module("shoal.gateway.remote").RemoteSigner
    return cast(Signer, remote(settings.signer_url, settings.signer_token, tell))
