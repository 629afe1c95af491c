"""A gateway's process: it dials its orchestrators, opens its doors, and lets its machine decide."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from shoal.chain.windows import window
from shoal.gateway.accounts import Accounts
from shoal.gateway.clients import Clients
from shoal.gateway.config import Settings
from shoal.gateway.desk import Desk
from shoal.gateway.events import SenderKnown, SignTickets
from shoal.gateway.http import Doors
from shoal.gateway.machine import GatewayMachine
from shoal.gateway.operator import Operator, load_or_create_token
from shoal.gateway.renown import rules_of
from shoal.gateway.signing import signer
from shoal.ids import NodeId
from shoal.machine import Effect, Event
from shoal.money.payer import Payer
from shoal.runtime.http import Server, bind
from shoal.runtime.keys import NodeKey, verify
from shoal.runtime.node import Address, Node, heed_signals, until_told_to_stop
from shoal.wire.words import Job, Word


class Service:
    """One running gateway."""

    def __init__(self, settings: Settings) -> None:
        """Raises `Refused` if its address is open to others and no keys are set, or a file makes no sense."""
        self._rules = rules_of(settings)
        self._orchestrators = [Address.parse(text) for text in settings.orchestrators]
        self._accounts = Accounts(self._rules, settings.api_keys, settings.tenants)
        self._operator_addr = settings.operator_addr
        self._operator: Server | None = None
        address = Address.parse(settings.http_addr)
        listener = bind(address.host, address.port, guarded=self._accounts.closed)
        self.port: int = listener.getsockname()[1]
        self._settings = settings
        self.node = Node("gateway", Path(settings.home), self._build, self._perform, complete=self._complete)
        self._window = window(settings.chain, self.node.key.id, self.node.post_soon)
        self._signer = signer(settings, self.node.key, self._hear_signer)
        self.desk = Desk(self.machine, self.node)
        clients = Clients(self._accounts, self.node.clock.now)
        self._server = Server(Doors(self.desk, clients, self.node.key.id).door(), listener)

    async def start(self) -> None:
        """Go on from the journal, dial the orchestrators, and take requests."""
        if self._operator_addr:
            door = Address.parse(self._operator_addr)
            listener = bind(door.host, door.port)
            self.operator_port: int = listener.getsockname()[1]
            operator = Operator(self.desk, load_or_create_token(self.node.home))
            self._operator = Server(operator.door(), listener)
        self.node.start()
        if self._window is not None:
            self._window.open()
        if self._signer is not None:
            self._signer.open()
        if self._operator is not None:
            await self._operator.open()
        self.node.dial(self._orchestrators)
        await self._server.open()

    async def stop(self) -> None:
        """Take no new requests, let open ones end, then take leave; jobs live on in the journal."""
        self.desk.close(failed=self.node.failed.done())
        await self._server.close()
        if self._operator is not None:
            await self._operator.close()
        if self._signer is not None:
            await self._signer.close()
        if self._window is not None:
            await self._window.close()
        await self.node.close()

    def _build(self, key: NodeKey) -> GatewayMachine:
        settings = self._settings
        me = NodeId("") if settings.signer_url else key.id
        payer = None if settings.chain.off else Payer(me, settings.payer)
        self.machine = GatewayMachine(self._rules, verify=verify, payer=payer, accounts=self._accounts)
        return self.machine

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, SignTickets):
            assert self._signer is not None, "who has a payer has a signer"
            self._signer.sign(effect)
        else:
            self.desk.perform(effect)

    def _hear_signer(self, event: Event) -> None:
        """Whose tickets are signed is whose money is looked at."""
        if isinstance(event, SenderKnown) and self._window is not None:
            self._window.watch(event.sender)
        self.node.post_soon(event)

    def _complete(self, word: Word) -> Word:
        """A job goes out with its body, which the outbox leaves to the disk."""
        if isinstance(word, Job):
            return replace(word, body=self.node.journal.body(word.digest) or b"")
        return word


async def serve(settings: Settings) -> None:
    """Run a gateway until it is told to stop."""
    told = heed_signals()
    service = Service(settings)
    await service.start()
    try:
        await until_told_to_stop(service.node, told)
    finally:
        await service.stop()
