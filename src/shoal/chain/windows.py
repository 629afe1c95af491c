"""What those load who have a chain, and nobody else: half a second, and 20 MiB."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol, cast

from shoal.chain.settings import ChainSettings
from shoal.errors import Refused
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
    return cast(Window, loaded("shoal.chain.window").Window(settings, node, tell))


def loaded(module: str) -> Any:
    """A module of those who have a chain. Raises `Refused` if what it stands on is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Refused(
            f"a chain is set, and {error.name} is not installed: install shoal[wallet] too, or set no chain"
        ) from error
