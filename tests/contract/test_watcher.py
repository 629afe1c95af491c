"""The watcher on our own chain: what it tells, what it does not believe yet, and what it takes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from shoal.chain.account import Account
from shoal.chain.bindings import TicketBroker
from shoal.chain.config import deployment
from shoal.chain.local.config import Settings
from shoal.chain.local.service import Service
from shoal.chain.reader import Reader
from shoal.chain.rpc import Rpc
from shoal.chain.settings import ChainSettings
from shoal.chain.watcher import Limits, Watcher
from shoal.errors import Unreachable
from shoal.machine import Event
from shoal.money.funds import ChainSeen, FundsSeen
from shoal.runtime.keys import NodeKey

pytestmark = pytest.mark.anyio
SENDER, RECIPIENT = NodeKey(bytes([1]) * 32), NodeKey(bytes([2]) * 32)
DEPTH = 3
ETHER = 10**18


class Place:
    """A chain that makes a block when it is told to, and one who watches it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.settings = Settings(
            home=str(folder),
            http_addr="127.0.0.1:0",
            block_ms=0,
            round_blocks=50,
            accounts={"sender": SENDER.id},
        )
        self.told: list[Event] = []

    async def start(self) -> None:
        self.service = Service(self.settings)
        await self.service.start()
        self.chain = self.service.chain
        contracts = deployment(ChainSettings(file=f"{self.settings.home}/chain.json"))
        self.rpc = Rpc(contracts.rpc_url)
        self.reader = Reader(self.rpc, contracts)
        limits = Limits(confirmations=DEPTH, poll_ms=10, silent_max_ms=20)
        self.watcher = Watcher(self.reader, RECIPIENT.id, self.told.append, limits=limits)

    async def stop(self) -> None:
        await self.rpc.close()
        await self.service.stop()

    async def fund(self, deposit: int, reserve: int) -> None:
        data = TicketBroker.fund_deposit_and_reserve.call(deposit, reserve)
        await Account(SENDER, self.reader).send(self.reader.contracts.ticket_broker, data, deposit + reserve)

    async def look(self, blocks: int = 0) -> None:
        self.chain.mine(blocks)
        await self.watcher.look()

    def funds(self) -> list[tuple[int, int]]:
        return [(seen.deposit, seen.reserve) for seen in self.told if isinstance(seen, FundsSeen)]

    def chains(self) -> list[ChainSeen]:
        return [seen for seen in self.told if isinstance(seen, ChainSeen)]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path / "chain")
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def test_the_chain_is_told_and_told_again_when_it_changes(place: Place) -> None:
    await place.look()
    await place.look()
    assert len(place.chains()) == 1
    first = place.chains()[0]
    rounds = await place.reader.rounds()
    assert (first.block, first.round, first.round_hash) == (
        place.chain.head.number,
        rounds.current,
        rounds.last_hash,
    )
    assert (first.round_initialised, first.pool_size, first.gas_price_wei) == (
        True,
        0,
        place.chain.base_fee_wei,
    )
    await place.look(50)
    assert place.chains()[-1].round == first.round + 1


async def test_a_deposit_is_believed_once_it_lies_deep_enough(place: Place) -> None:
    place.watcher.watch(SENDER.id)
    await place.look(DEPTH)
    assert place.funds() == [(0, 0)]
    await place.fund(ETHER, 2 * ETHER)
    await place.look()
    for _ in range(DEPTH - 1):
        await place.look(1)
    assert place.funds() == [(0, 0)]
    await place.look(1)
    assert place.funds() == [(0, 0), (ETHER, 2 * ETHER)]
    await place.look(20)
    assert len(place.funds()) == 2


async def test_what_a_reorganisation_takes_back_was_never_believed(place: Place) -> None:
    place.watcher.watch(SENDER.id)
    await place.look(DEPTH)
    await place.fund(ETHER, 0)
    await place.look(DEPTH - 1)
    place.chain.reorganise(DEPTH)
    for _ in range(10):
        await place.look(1)
    assert place.funds() == [(0, 0)]


async def test_unlocking_is_believed_at_once(place: Place) -> None:
    await place.fund(ETHER, 0)
    place.chain.mine(DEPTH)
    place.watcher.watch(SENDER.id)
    await place.look()
    await Account(SENDER, place.reader).send(place.reader.contracts.ticket_broker, TicketBroker.unlock.call())
    await place.look()
    seen = [each.withdraw_round for each in place.told if isinstance(each, FundsSeen)]
    assert seen[0] == 0
    assert seen[-1] > 0


async def test_whoever_is_watched_is_looked_at_and_whoever_is_not_is_not(place: Place) -> None:
    await place.look()
    assert place.funds() == []
    place.watcher.watch(SENDER.id)
    await place.look()
    assert place.funds() == [(0, 0)]
    place.watcher.watch(SENDER.id)
    assert place.funds() == [(0, 0), (0, 0)], "whoever asks again has forgotten it"
    place.watcher.unwatch(SENDER.id)
    await place.fund(ETHER, 0)
    await place.look(2 * DEPTH)
    assert place.funds() == [(0, 0), (0, 0)]


async def test_a_node_that_is_down_is_said_once_and_outlived(place: Place, caplog: Any) -> None:
    caplog.set_level(logging.WARNING, "shoal.chain")
    await place.look()
    address = place.reader.contracts.rpc_url.removeprefix("http://")
    await place.service.stop()
    with pytest.raises(Unreachable):
        await place.watcher.look()
    task = asyncio.create_task(place.watcher.run())
    seen = asyncio.Event()
    place.watcher._tell = lambda event: seen.set()
    asked = place.rpc._asked
    async with asyncio.timeout(20):
        while place.rpc._asked < asked + 5:  # noqa: ASYNC110 - what is waited for is that it asks on
            await asyncio.sleep(0.01)
    place.service = Service(replace(place.settings, http_addr=address))
    await place.service.start()
    place.service.chain.mine(1)
    await asyncio.wait_for(seen.wait(), 20)
    async with asyncio.timeout(20):
        while len(caplog.records) < 2:  # noqa: ASYNC110 - it says so a moment after it told
            await asyncio.sleep(0.01)
    task.cancel()
    said = [record.message for record in caplog.records if record.name == "shoal.chain"]
    assert len(said) == 2
    assert said[0].startswith("the chain cannot be read")
    assert said[1] == "the chain can be read again"
