"""A redeemer's settings, each with its limit and its unit."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from shoal.chain.settings import ChainSettings
from shoal.redeemer.rules import Rules

__all__ = ["Rules", "Settings"]


class Settings(Struct, frozen=True, kw_only=True):
    """How one redeemer's process is run."""

    #: The folder of its key and its journal.
    home: str
    #: Whose winning tickets it redeems, and whose workers it pays.
    orchestrators: tuple[str, ...] = ()
    #: The operator's own door; only ever on this computer. Empty for none.
    operator_addr: str = "127.0.0.1:7937"
    #: Where each redemption is told: URLs of webhooks, Discord's or any that takes JSON.
    webhooks: Annotated[tuple[str, ...], Meta(max_length=16)] = ()
    #: What the operator is called there; "" for its address.
    operator_name: Annotated[str, Meta(max_length=80)] = ""
    chain: ChainSettings = ChainSettings()
    rules: Rules = Rules()
