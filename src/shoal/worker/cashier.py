"""What a worker's process does about money beside its machine: it looks on chain, and hears its owner.

The owner forgives an orchestrator by leaving a note in the worker's home: so
nothing has to listen. Only a worker that has a chain loads what that takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, cast

from shoal.chain.settings import ChainSettings
from shoal.chain.windows import loaded
from shoal.errors import ShoalError
from shoal.ids import NodeId
from shoal.machine import Event
from shoal.worker.payments import FindPayment, ForgivenessAsked, PaymentFound

log = logging.getLogger("shoal.worker")

NOTES = "forgiven"
LOOK_S = 2.0


class Bank(Protocol):
    """What `shoal.worker.bank` has."""

    async def find(self, wanted: FindPayment) -> PaymentFound | None:
        """What a transaction paid us."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class Cashier:
    """Looks for payments and for notes. Make it where the loop runs."""

    def __init__(
        self, home: Path, chain: ChainSettings, payout: NodeId, tell: Callable[[Event], None]
    ) -> None:
        """Raises `Refused` if the chain's settings make no sense."""
        self._notes = home / NOTES
        self._tell = tell
        self._bank: Bank | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._looked_for: set[str] = set()
        if not chain.off:
            self._bank = cast(Bank, loaded("shoal.worker.bank").Bank(chain, payout))

    def start(self) -> None:
        """Look for notes from now on."""
        self._begin(self._read_notes())

    def find(self, wanted: FindPayment) -> None:
        """Look for a payment on chain, unless that is under way."""
        if self._bank is not None and wanted.transaction not in self._looked_for:
            self._looked_for.add(wanted.transaction)
            self._begin(self._find(self._bank, wanted))

    async def stop(self) -> None:
        """Look no more."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._bank is not None:
            await self._bank.close()

    def _begin(self, doing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find(self, bank: Bank, wanted: FindPayment) -> None:
        try:
            found = await bank.find(wanted)
        except ShoalError as error:
            log.warning("payment %s cannot be looked for: %s", wanted.transaction, error.message)
        else:
            if found is not None:
                self._tell(found)
        finally:
            self._looked_for.discard(wanted.transaction)

    async def _read_notes(self) -> None:
        while True:
            for node in taken_notes(self._notes):
                self._tell(ForgivenessAsked(node))
            await asyncio.sleep(LOOK_S)


def leave_note(home: Path, node: NodeId) -> None:
    """Ask the worker of this home to take an orchestrator back: now, or when it is started."""
    notes = home / NOTES
    notes.mkdir(mode=0o700, exist_ok=True)
    (notes / node).touch(mode=0o600)


def taken_notes(notes: Path) -> list[NodeId]:
    """Who is to be taken back; the notes are gone then."""
    if not notes.is_dir():
        return []
    found = sorted(path for path in notes.iterdir() if path.is_file())
    for path in found:
        path.unlink(missing_ok=True)
    return [NodeId(path.name) for path in found]
