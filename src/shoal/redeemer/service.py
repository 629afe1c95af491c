"""A redeemer's process: it dials its operator's orchestrators, asks an Ethereum node, and lets its machine decide."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from shoal.chain.config import Deployment, deployment
from shoal.chain.reader import Reader
from shoal.chain.rpc import Rpc
from shoal.machine import Effect, Event
from shoal.redeemer.config import Settings
from shoal.redeemer.events import Broadcast, Look, Post, Weigh
from shoal.redeemer.herald import Herald
from shoal.redeemer.http import operator_door
from shoal.redeemer.lookout import Lookout
from shoal.redeemer.machine import RedeemerMachine
from shoal.redeemer.notary import Notary
from shoal.runtime.http import Server, bind
from shoal.runtime.keys import NodeKey
from shoal.runtime.node import Address, Node, heed_signals, until_told_to_stop

log = logging.getLogger("shoal.redeemer")


class Service:
    """One running redeemer."""

    def __init__(self, settings: Settings) -> None:
        """Raises `Refused` if the settings name no chain, or a webhook that is none."""
        self._settings = settings
        self._contracts: Deployment = deployment(settings.chain)
        self._errands: set[asyncio.Task[None]] = set()
        self.node = Node("redeemer", Path(settings.home), self._build, self._perform)
        self._rpc = Rpc(self._contracts.rpc_url)
        reader = Reader(self._rpc, self._contracts)
        self._lookout = Lookout(reader, self._notary, settings.rules.confirmations)
        self._operator: Server | None = None

    async def start(self) -> None:
        """Go on from the journal, and dial. Raises `Refused` if the operator's door cannot be had."""
        if self._settings.operator_addr:
            door = Address.parse(self._settings.operator_addr)
            self._operator = Server(operator_door(self.machine, self.node.key.id), bind(door.host, door.port))
            await self._operator.open()
        self.node.start()
        self.node.dial([Address.parse(text) for text in self._settings.orchestrators])

    async def stop(self) -> None:
        """Close the doors and the journal; what was sent is taken up at the next start."""
        if self._operator is not None:
            await self._operator.close()
        for errand in tuple(self._errands):
            errand.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)
        await self.node.close()
        await self._rpc.close()
        await self._herald.close()

    def _build(self, key: NodeKey) -> RedeemerMachine:
        self._notary = Notary(key.id, key.sign_hash, self._contracts)
        self._herald = Herald(self._settings.webhooks, self._settings.operator_name or key.id)
        self.machine = RedeemerMachine(self._settings.rules, sign=self._notary.sign, hooks=self._herald.hooks)
        return self.machine

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Look():
                self._begin(self._lookout.look(effect))
            case Weigh():
                self._begin(self._lookout.weigh(effect))
            case Broadcast():
                self._begin(self._lookout.broadcast(effect))
            case Post():
                self._begin(self._herald.post(effect))

    def _begin(self, asking: Coroutine[Any, Any, Event]) -> None:
        async def answer() -> None:
            self.node.post_soon(await asking)

        errand = asyncio.create_task(answer())
        self._errands.add(errand)
        errand.add_done_callback(self._end)

    def _end(self, errand: asyncio.Task[None]) -> None:
        self._errands.discard(errand)
        if not errand.cancelled() and (error := errand.exception()) is not None:
            log.error("asking met a bug", exc_info=error)


async def serve(settings: Settings) -> None:
    """Run a redeemer until it is told to stop."""
    told = heed_signals()
    service = Service(settings)
    await service.start()
    log.info("ready: redeemer %s for %s", service.node.key.id, ", ".join(settings.orchestrators))
    try:
        await until_told_to_stop(service.node, told)
    finally:
        await service.stop()
