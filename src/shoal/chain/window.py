"""A process's window on a chain: what it shows comes in as events, for as long as the window is open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shoal.chain.config import deployment
from shoal.chain.reader import Reader
from shoal.chain.rpc import Rpc
from shoal.chain.settings import ChainSettings
from shoal.chain.watcher import Limits, Watcher
from shoal.ids import NodeId
from shoal.machine import Event


class Window:
    """One chain, watched for one node. Make it where the loop runs."""

    def __init__(self, settings: ChainSettings, node: NodeId, tell: Callable[[Event], None]) -> None:
        """`tell` gets `ChainSeen` and `FundsSeen`. Raises `Refused` if the settings make no sense."""
        contracts = deployment(settings)
        self._rpc = Rpc(contracts.rpc_url)
        limits = Limits(poll_ms=settings.poll_ms, confirmations=settings.confirmations)
        self._watcher = Watcher(Reader(self._rpc, contracts), node, tell, limits=limits)
        self._watching: asyncio.Task[None] | None = None

    def watch(self, sender: NodeId) -> None:
        """Look at this sender's funds too."""
        self._watcher.watch(sender)

    def open(self) -> None:
        """Look from now on."""
        self._watching = asyncio.create_task(self._watcher.run())

    async def close(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._rpc.close()
