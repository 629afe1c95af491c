"""The network at a glance."""

from __future__ import annotations

import asyncio

from rich.console import Console

from shoal.cli.network import Network
from shoal.cli.supervisor import Supervisor


async def keep_showing(
    network: Network, supervisor: Supervisor, told: asyncio.Event, console: Console
) -> None:
    """Show how the network does until told to stop."""
    await told.wait()
