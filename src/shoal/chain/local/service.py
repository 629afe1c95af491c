"""A local chain's process: the chain, its door, its keeper, and a block every now and then."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from shoal.chain.local.chain import LocalChain
from shoal.chain.local.config import Settings
from shoal.chain.local.door import chain_door
from shoal.chain.local.keeper import Keeper, note
from shoal.chain.local.methods import Methods
from shoal.chain.local.shelf import Shelf
from shoal.errors import Broken, ShoalError
from shoal.runtime.clock import SystemClock
from shoal.runtime.http import Server, bind
from shoal.runtime.node import Address, heed_signals
from shoal.units import SECOND_MS

log = logging.getLogger("shoal.chain")

BLOCKS_FILE = "chain.sqlite3"
#: Where a network's nodes read what is on its chain.
CHAIN_FILE = "chain.json"


class Service:
    """One running chain."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = Path(settings.home)
        self._shelf = Shelf(self._home / BLOCKS_FILE)
        self.chain = LocalChain(
            self._shelf, SystemClock().now, chain_id=settings.chain_id, base_fee_wei=settings.base_fee_wei
        )
        self._methods = Methods(self.chain, self.set_interval_ms)
        self._interval_ms = settings.block_ms
        self._next: asyncio.TimerHandle | None = None
        #: Done with what went wrong, if no more blocks can be made.
        self.failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def start(self) -> str:
        """Listen once everything is on the chain; where. Raises `Refused` if the address cannot be had."""
        address = Address.parse(self._settings.http_addr)
        listener = bind(address.host, address.port)
        port = listener.getsockname()[1]
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = f"http://{host}:{port}"
        round_blocks = 0
        if self._settings.contracts:
            keeper = Keeper(self.chain)
            keeper.found(self._settings)
            settings = self._settings
            keeper.fund(settings.accounts, settings.account_ether, settings.account_tokens)
            round_blocks = keeper.round_blocks
        _write(self._home / CHAIN_FILE, note(self.chain, self._settings, url, round_blocks))
        self._server = Server(chain_door(self._methods.table, self._status), listener)
        await self._server.open()
        self.set_interval_ms(self._interval_ms)
        return url

    async def stop(self) -> None:
        """Close the door and the file."""
        self.set_interval_ms(0)
        await self._server.close()
        self._shelf.close()

    def set_interval_ms(self, interval_ms: int) -> None:
        """How often a block is made without being asked, from now on."""
        self._interval_ms = interval_ms
        if self._next is not None:
            self._next.cancel()
        self._next = None
        if interval_ms:
            self._next = asyncio.get_running_loop().call_later(interval_ms / SECOND_MS, self._tick)

    def _tick(self) -> None:
        try:
            self.chain.mine()
        except Exception as error:
            if not isinstance(error, ShoalError):  # those say themselves what it is
                log.exception("no block could be made")
            if not self.failed.done():
                self.failed.set_result(error)
            return
        self.set_interval_ms(self._interval_ms)

    def _status(self) -> dict[str, object]:
        return {"status": "ok", "chain_id": self.chain.chain_id, "block": self.chain.head.number}


def _write(path: Path, text: bytes) -> None:
    """All of it or nothing: others read it while we run."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(text)
    draft.replace(path)


async def serve(settings: Settings) -> None:
    """Run a chain until it is told to stop."""
    told = heed_signals()
    service = Service(settings)
    url = await service.start()
    log.info("ready: chain %d on %s, block %d", settings.chain_id, url, service.chain.head.number)
    service.failed.add_done_callback(lambda _: told.set())
    await told.wait()
    await service.stop()
    if service.failed.done():
        raise Broken(f"the chain in {settings.home} cannot go on: {service.failed.result()}")
