"""Which chain: in the settings of every role that has one."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class ChainSettings(Struct, frozen=True, kw_only=True):
    """A chain by its file, or by the addresses of its node and contracts; those count before the file."""

    #: A `chain.json` as `shoal chain` writes it: the node's URL and the contracts.
    file: str = ""
    rpc_url: str = ""
    #: 0: whatever the node says.
    chain_id: int = 0
    ticket_broker: str = ""
    rounds: str = ""
    bonding: str = ""
    service_registry: str = ""
    payouts: str = ""
    #: How often the chain is looked at by those who only watch.
    poll_ms: Annotated[int, Meta(ge=50)] = 3_000
    #: Money counts once it is so many blocks deep.
    confirmations: Annotated[int, Meta(ge=0, le=64)] = 6

    @property
    def off(self) -> bool:
        """True if there is no chain: everything is on trust."""
        return not (self.file or self.rpc_url)
