"""Watching a chain: says what rounds, gas and the watched senders' funds are, and says it again when they change.

By polling alone, for some chains have no filters. Funds are never said to be
more than they were `confirmations` blocks ago, so a reorganisation up to that
depth takes back nothing that was believed. A node that does not answer is asked
on, more and more rarely; that is said once, and once that it answers again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from shoal.chain.bindings import FUNDS_EVENTS
from shoal.chain.config import require
from shoal.chain.reader import Block, Reader, RoundSeen
from shoal.errors import Failed, Refused, Unreachable
from shoal.ids import NodeId
from shoal.machine import Event
from shoal.money.funds import ChainSeen, FundsSeen

log = logging.getLogger("shoal.chain")


class Limits(Struct, frozen=True, kw_only=True):
    """What a watcher goes by."""

    poll_ms: int = 3_000
    #: How rarely a node that does not answer is asked.
    silent_max_ms: int = 60_000
    confirmations: int = 6
    #: Blocks whose hashes are remembered, to see whether the chain went back.
    hashes_max: int = 64
    #: Senders that are watched; the one that was asked for longest ago gives way.
    senders_max: int = 10_000
    #: Every sender is looked at again after so many blocks, whatever the logs say.
    sweep_blocks: int = 1_000


class Watcher:
    """One chain, for one recipient. Give it an event loop and a callback."""

    def __init__(
        self,
        reader: Reader,
        recipient: NodeId,
        tell: Callable[[Event], None],
        *,
        limits: Limits | None = None,
    ) -> None:
        """`tell` is called with `ChainSeen` and `FundsSeen`, in the loop."""
        self._reader = reader
        self._recipient = recipient
        self._tell = tell
        self._limits = limits or Limits()
        self._senders: OrderedDict[NodeId, FundsSeen | None] = OrderedDict()
        self._stale: set[NodeId] = set()
        self._hashes: dict[int, str] = {}
        self._chain: ChainSeen | None = None
        #: The last block whose logs were read; -1 before the first.
        self._read_block = -1
        self._swept_block = 0
        self._asked = asyncio.Event()
        self._silent = False
        #: The hash at the block below which nothing is expected to change.
        self.head: Block | None = None

    def watch(self, sender: NodeId) -> None:
        """Look at this sender's funds from now on, at once and whenever they change; what is known is said again."""
        if sender in self._senders:
            self._senders.move_to_end(sender)
            if (seen := self._senders[sender]) is not None:
                self._tell(seen)
            return
        self._senders[sender] = None
        self._stale.add(sender)
        if len(self._senders) > self._limits.senders_max:
            gone, _ = self._senders.popitem(last=False)
            self._stale.discard(gone)
        self._asked.set()

    def unwatch(self, sender: NodeId) -> None:
        """Look at this sender no more."""
        self._senders.pop(sender, None)
        self._stale.discard(sender)

    async def run(self) -> None:
        """Watch until cancelled."""
        pause_ms = self._limits.poll_ms
        while True:
            try:
                await self.look()
            except (Unreachable, Failed, Refused) as error:
                if not self._silent:
                    self._silent = True
                    log.warning("the chain cannot be read: %s; trying on", error.message)
                pause_ms = min(2 * pause_ms, self._limits.silent_max_ms)
            else:
                if self._silent:
                    self._silent = False
                    log.warning("the chain can be read again")
                pause_ms = self._limits.poll_ms
            self._asked.clear()
            if self._stale and not self._silent:
                continue
            try:
                async with asyncio.timeout(pause_ms / 1_000):
                    await self._asked.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look once, and tell what is new. Raises `Unreachable` or another of our errors."""
        head = await self._reader.head()
        moved = self.head is None or head.hash != self.head.hash
        if moved:
            await self._heed_branch(head)
            await self._look_at_chain()
            await self._read_logs(head)
            self.head = head
        await self._look_at_funds(head)

    async def _heed_branch(self, head: Block) -> None:
        """Remember the hashes of the newest blocks; if the chain went back, everything is looked at anew."""
        for number in sorted((n for n in self._hashes if n <= head.number), reverse=True):
            block = head if number == head.number else await self._reader.block(number)
            if block is not None and block.hash == self._hashes[number]:
                break
            del self._hashes[number]
            self._stale.update(self._senders)
            self._read_block = min(self._read_block, number - 1)
        for number in [n for n in self._hashes if n > head.number]:
            del self._hashes[number]
            self._stale.update(self._senders)
            self._read_block = min(self._read_block, head.number)
        self._hashes[head.number] = head.hash
        while len(self._hashes) > self._limits.hashes_max:
            del self._hashes[min(self._hashes)]

    async def _look_at_chain(self) -> None:
        rounds, pool_size, gas_price_wei = await asyncio.gather(
            self._reader.rounds(), self._reader.pool_size(), self._reader.gas_price_wei()
        )
        seen = _chain_seen(rounds, pool_size, gas_price_wei)
        if self._chain is None or (seen.round, seen.round_initialised) != (
            self._chain.round,
            self._chain.round_initialised,
        ):
            self._stale.update(self._senders)  # a new round frees what was claimed of the reserves
        if seen != self._chain:
            self._chain = seen
            self._tell(seen)

    async def _read_logs(self, head: Block) -> None:
        """Whose funds have moved: in blocks new to us, and once more when those are deep enough."""
        broker = require(self._reader.contracts.ticket_broker, "TicketBroker")
        if self._read_block < 0 or head.number - self._swept_block >= self._limits.sweep_blocks:
            self._stale.update(self._senders)
            self._swept_block = self._read_block = head.number
            return
        first = max(0, self._read_block + 1 - self._limits.confirmations)
        for each in await self._reader.logs(broker, FUNDS_EVENTS, first, head.number):
            sender = NodeId(each.values.get("sender") or each.values["reserveHolder"])
            if sender in self._senders:
                self._stale.add(sender)
        self._read_block = head.number

    async def _look_at_funds(self, head: Block) -> None:
        """Read again those that have moved. Only what was read is taken off the list."""
        for sender in list(self._stale):
            seen = await self._funds(sender, head)
            self._stale.discard(sender)
            if sender in self._senders and seen != self._senders[sender]:
                self._senders[sender] = seen
                self._tell(seen)

    async def _funds(self, sender: NodeId, head: Block) -> FundsSeen:
        """The lesser of what is there now and what was there when it could still be taken back."""
        deep = max(0, head.number - self._limits.confirmations)
        now = await self._reader.funds(sender, self._recipient)
        if deep == head.number:
            return now
        then = await self._reader.funds(sender, self._recipient, at=deep)
        return _least(now, then)


def _least(now: FundsSeen, then: FundsSeen) -> FundsSeen:
    rounds = [seen.withdraw_round for seen in (now, then) if seen.withdraw_round]
    return FundsSeen(
        now.sender,
        min(now.deposit, then.deposit),
        min(now.reserve, then.reserve),
        max(now.claimed_by_me, then.claimed_by_me),
        min(rounds, default=0),
        min(now.claimed_by_all, then.claimed_by_all),
    )


def _chain_seen(rounds: RoundSeen, pool_size: int, gas_price_wei: int) -> ChainSeen:
    return ChainSeen(
        rounds.block, rounds.last, rounds.last_hash, rounds.initialised, gas_price_wei, pool_size
    )
