"""A signer's process: it opens its door, looks at its chain, and lets its machine decide what may be signed."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from pathlib import Path

from shoal.chain.windows import window
from shoal.errors import Failed
from shoal.machine import Effect, Event
from shoal.runtime import token
from shoal.runtime.errand import Later
from shoal.runtime.http import Server, bind
from shoal.runtime.keys import NodeKey
from shoal.runtime.node import Address, Node, heed_signals, until_told_to_stop
from shoal.signer.config import Settings, require_strong
from shoal.signer.events import Answer
from shoal.signer.http import Doors
from shoal.signer.machine import SignerMachine
from shoal.signer.pen import Pen
from shoal.signer.webhook import Webhook
from shoal.units import Instant

log = logging.getLogger("shoal.signer")

TOKEN_FILE = "signer.token"  # noqa: S105 - the file's name
#: A decision takes a commit; one that takes this long met a bug, and the log says which.
ANSWER_S = 10.0


class Service:
    """One running signer."""

    def __init__(self, settings: Settings) -> None:
        """Raises `Refused` if its address is open to others and no tokens are set, or a setting makes no sense."""
        self._settings = settings
        require_strong(settings.tokens)
        self._webhook = Webhook(settings.auth_url, settings.auth_headers) if settings.auth_url else None
        address = Address.parse(settings.http_addr)
        listener = bind(address.host, address.port, guarded=bool(settings.tokens))
        self.port: int = listener.getsockname()[1]
        self._numbers = itertools.count(1)
        self._asked: dict[int, Later[Answer]] = {}
        self.node = Node("signer", Path(settings.home), self._build, self._perform)
        self._window = window(settings.chain, self.node.key.id, self.node.post_soon)
        tokens = settings.tokens or (token.load_or_create(self.node.home / TOKEN_FILE),)
        doors = Doors(
            self,
            Pen(self.node.key),
            tokens,
            webhook=self._webhook,
            listed=settings.orchestrators,
            here=not settings.tokens,
        )
        self._server = Server(doors.door(), listener)

    async def start(self) -> None:
        """Go on from the journal, look at the chain, and take requests."""
        self.node.start()
        if self._window is not None:
            self._window.watch(self.node.key.id)
            self._window.open()
        await self._server.open()

    async def stop(self) -> None:
        """Take no new requests, let open ones end, and close the journal."""
        await self._server.close()
        if self._webhook is not None:
            await self._webhook.close()
        if self._window is not None:
            await self._window.close()
        await self.node.close()

    async def ask(self, make: Callable[[int], Event]) -> Answer:
        """Have the machine decide; what it says is on disk by then."""
        number = next(self._numbers)
        answer = self._asked[number] = Later[Answer]()
        late = Failed("the signer could not decide; its log says why")
        timer = asyncio.get_running_loop().call_later(ANSWER_S, answer.fail, late)
        try:
            self.node.post(make(number))
            return await answer
        finally:
            timer.cancel()
            del self._asked[number]

    def now(self) -> Instant:
        """This node's instant."""
        return self.node.clock.now()

    def _build(self, key: NodeKey) -> SignerMachine:
        self.machine = SignerMachine(self._settings.rules, key.id)
        return self.machine

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Answer) and (asked := self._asked.get(effect.ask)) is not None:
            asked.set(effect)


async def serve(settings: Settings) -> None:
    """Run a signer until it is told to stop."""
    told = heed_signals()
    service = Service(settings)
    await service.start()
    log.info("ready: signer %s on port %d", service.node.key.id, service.port)
    try:
        await until_told_to_stop(service.node, told)
    finally:
        await service.stop()
