"""An orchestrator's process: it listens for gateways and workers, and lets its machine decide."""

from __future__ import annotations

import logging
from pathlib import Path

from shoal.chain.windows import window
from shoal.ids import NodeId
from shoal.machine import Effect
from shoal.money.payee import Payee
from shoal.orchestrator.config import Settings
from shoal.orchestrator.http import operator_door
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.orchestrator.payments import Watch
from shoal.runtime.chance import new_seed
from shoal.runtime.http import Server, bind
from shoal.runtime.keys import NodeKey, recover_hash
from shoal.runtime.node import Address, Node, heed_signals, until_told_to_stop

log = logging.getLogger("shoal.orchestrator")


class Service:
    """One running orchestrator."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admitted = {
            "gateway": set(settings.gateways),
            "worker": set(settings.workers),
            "redeemer": {*settings.redeemers, settings.rules.redeemer},
        }
        closed = bool(settings.gateways or settings.workers or settings.redeemers)
        self.node = Node(
            "orchestrator",
            Path(settings.home),
            self._build,
            self._perform,
            admitted=self._admits if closed else None,
        )
        self._window = window(settings.chain, self.node.key.id, self.node.post_soon)
        self._operator: Server | None = None

    async def start(self) -> None:
        """Listen, then go on from the journal. Raises `Refused` if an address cannot be had."""
        address = Address.parse(self._settings.listen)
        if self._settings.operator_addr:
            door = Address.parse(self._settings.operator_addr)
            self._operator = Server(operator_door(self.machine), bind(door.host, door.port))
            await self._operator.open()
        self.node.start()
        if self._window is not None:
            self._window.open()
        await self.node.peers.listen(address.host, address.port)

    async def stop(self) -> None:
        """Close the doors and the journal; leases live on, and are taken up at the next start."""
        if self._operator is not None:
            await self._operator.close()
        if self._window is not None:
            await self._window.close()
        await self.node.close()

    def _build(self, key: NodeKey) -> OrchestratorMachine:
        payee = None if self._settings.chain.off else self._payee(key)
        self.machine = OrchestratorMachine(self._settings.rules, node=key.id, sign=key.sign, payee=payee)
        return self.machine

    def _payee(self, key: NodeKey) -> Payee:
        """What its tickets are drawn with follows from its key alone: so open terms outlive a restart."""
        return Payee(
            key.id,
            self._settings.payee,
            secret=key.secret_for(b"shoal tickets"),
            draw_seed=new_seed,
            recover=recover_hash,
        )

    def _admits(self, node: NodeId, role: str) -> bool:
        return node in self._admitted.get(role, ())

    def _perform(self, effect: Effect) -> None:
        assert isinstance(effect, Watch), f"an orchestrator cannot {effect}"
        if self._window is not None:
            self._window.watch(effect.sender)


async def serve(settings: Settings) -> None:
    """Run an orchestrator until it is told to stop."""
    told = heed_signals()
    service = Service(settings)
    await service.start()
    log.info("ready: orchestrator %s on %s", service.node.key.id, settings.listen)
    if not settings.chain.off and not settings.rules.redeemer:
        log.warning("what it wins is not redeemed, and its workers are not paid: set rules.redeemer")
    try:
        await until_told_to_stop(service.node, told)
    finally:
        await service.stop()
