"""Opening a window on a chain, for those who have one: who has none does not load what it takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol, cast

from shoal.chain.settings import ChainSettings
from shoal.ids import NodeId
from shoal.machine import Event


class Window(Protocol):
    """What `shoal.chain.window` has."""

    def watch(self, sender: NodeId) -> None:
        """Look at this sender's funds too."""
        ...

    def open(self) -> None:
        """Look from now on."""
        ...

    async def close(self) -> None:
        """Look no more."""
        ...


def window(settings: ChainSettings, node: NodeId, tell: Callable[[Event], None]) -> Window | None:
    """A window on the chain that is set, for this node; None if none is. Raises `Refused` if it makes no sense."""
    if settings.off:
        return None
    return cast(Window, importlib.import_module("shoal.chain.window").Window(settings, node, tell))
