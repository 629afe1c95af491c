"""A redeemer over real frames: the orchestrator that it works for, and a chain that a test can move.

The chain is ours, in the test's own process, or an anvil that is given the same contracts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from eth_abi import encode

from shoal.chain.account import Account
from shoal.chain.bindings import Rounds, TicketBroker
from shoal.chain.config import Deployment, deployment
from shoal.chain.local.config import Settings as ChainHome
from shoal.chain.local.keeper import bytecode
from shoal.chain.local.service import Service as ChainService
from shoal.chain.reader import Reader
from shoal.chain.rpc import NodeRefused, Rpc
from shoal.chain.settings import ChainSettings
from shoal.chain.transaction import Transaction
from shoal.errors import Unreachable
from shoal.ids import NodeId
from shoal.machine import Connected, Event, Heard
from shoal.money.ticket import SignedTicket, Ticket, WinningTicket, aux_data, rand_hash, uint256
from shoal.redeemer.config import Settings
from shoal.redeemer.rules import Rules
from shoal.redeemer.service import Service
from shoal.runtime.keys import NodeKey, keep_secret
from shoal.runtime.transport import Peers
from shoal.wire import words

ETHER = 10**18
FACE_WEI = ETHER // 100
DEPTH = 6
BLOCK_MS = 30
RULES = Rules(
    tick_ms=20, silent_max_ms=50, rebroadcast_ms=100, stuck_ms=300, again_ms=50, confirmations=DEPTH
)
DEADLINE_S = 60
ROUND_BLOCKS = 10_000
#: Tests name their keys, so that they meet the same chain every time.
SENDER, RECIPIENT, REDEEMER, FOUNDER = (NodeKey(bytes([number]) * 32) for number in (1, 2, 3, 4))


class Office:
    """An orchestrator as the redeemer knows it: it says words, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.met = asyncio.Event()
        self._news = asyncio.Event()
        self.peers = Peers(RECIPIENT, "orchestrator", "boot", self._hear, rng=Random(1))

    def _hear(self, event: Event) -> None:
        if isinstance(event, Connected):
            self.met.set()
        elif isinstance(event, Heard):
            self.heard.append(event.word)
            self._news.set()

    def states(self) -> list[str]:
        return [word.state for word in self.heard]

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not true():
                self._news.clear()
                await self._news.wait()

    async def until_state(self, state: str, count: int = 1) -> None:
        await self.until(lambda: self.states().count(state) >= count)


class Lever:
    """How a test moves a chain: the same words for ours and for anvil, over the door that all use."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.price_wei = 10**9
        self.mining = True

    async def run(self) -> None:
        """A block every now and then, at the price that a test wants."""
        while True:
            if self.mining:
                with suppress(Unreachable, NodeRefused):
                    await self.mine()
            await asyncio.sleep(BLOCK_MS / 1_000)

    async def mine(self) -> None:
        await self.rpc.ask("anvil_setNextBlockBaseFeePerGas", hex(self.price_wei))
        await self.rpc.ask("evm_mine")

    async def pause(self) -> None:
        """No block from now on that nobody asks for, not even with a transaction."""
        self.mining = False
        await self.rpc.ask("evm_setAutomine", False)

    async def reorganise(self, depth: int) -> None:
        await self.rpc.ask("anvil_reorg", depth, [])

    async def drop(self, transaction: str) -> bool:
        return await self.rpc.ask("anvil_dropTransaction", transaction) is not None


class World:
    """A chain, an orchestrator and a redeemer, each of which a test may stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.office = Office()
        self.webhooks: tuple[str, ...] = ()
        self.operator_addr = ""
        self.redeemer: Service | None = None
        self.chain_service: ChainService | None = None

    @property
    def service(self) -> Service:
        """The redeemer, which runs."""
        assert self.redeemer is not None
        return self.redeemer

    async def start(self, anvil_url: str = "") -> None:
        self.port = await self.office.peers.listen("127.0.0.1", 0)
        file = self.folder / "chain/chain.json"
        file.parent.mkdir(exist_ok=True)
        if anvil_url:
            file.write_bytes(await found(anvil_url))
        else:
            await self.open_chain("127.0.0.1:0")
        self.contracts: Deployment = deployment(ChainSettings(file=str(file)))
        self.rpc = Rpc(self.contracts.rpc_url)
        self.reader = Reader(self.rpc, self.contracts)
        self.lever = Lever(self.rpc)
        self._mining = asyncio.create_task(self.lever.run())
        data = TicketBroker.fund_deposit_and_reserve.call(ETHER, ETHER)
        await Account(SENDER, self.reader).send(self.contracts.ticket_broker, data, 2 * ETHER)
        await self.open_redeemer()

    async def open_chain(self, address: str) -> None:
        settings = ChainHome(
            home=str(self.folder / "chain"),
            http_addr=address,
            block_ms=0,
            round_blocks=ROUND_BLOCKS,
            accounts={"sender": SENDER.id, "redeemer": REDEEMER.id},
        )
        self.chain_service = ChainService(settings)
        await self.chain_service.start()

    async def open_redeemer(self, rules: Rules = RULES) -> None:
        home = self.folder / "redeemer"
        if not (home / "key").exists():
            keep_secret(home / "key", bytes([3]) * 32)
        settings = Settings(
            home=str(home),
            orchestrators=(f"127.0.0.1:{self.port}#{RECIPIENT.id}",),
            operator_addr=self.operator_addr,
            operator_name="Ada",
            webhooks=self.webhooks,
            chain=ChainSettings(file=str(self.folder / "chain/chain.json")),
            rules=rules,
        )
        self.office.met.clear()
        self.redeemer = Service(settings)
        await self.redeemer.start()
        async with asyncio.timeout(DEADLINE_S):
            await self.office.met.wait()

    async def close_redeemer(self) -> None:
        if self.redeemer is not None:
            await self.redeemer.stop()
            self.redeemer = None

    async def stop(self) -> None:
        await self.close_redeemer()
        self._mining.cancel()
        await asyncio.gather(self._mining, return_exceptions=True)
        await self.office.peers.close()
        await self.rpc.close()
        if self.chain_service is not None:
            await self.chain_service.stop()

    def say(self, word: words.Word) -> None:
        assert self.office.peers.send(REDEEMER.id, word)

    async def winner(self, nonce: int, *, wait_blocks: int = 0) -> words.Winner:
        """A ticket that always wins, but for one hash in 2**256."""
        rounds = await self.reader.rounds()
        rand = uint256(nonce + 77)
        ticket = Ticket(
            RECIPIENT.id,
            SENDER.id,
            uint256(FACE_WEI),
            uint256(2**256 - 1),
            nonce,
            rand_hash(rand),
            aux_data(rounds.last, rounds.last_hash),
        )
        signature = SENDER.sign_hash(ticket.signed_hash)
        winning = WinningTicket(SignedTicket(ticket, signature), rand, rounds.block + wait_blocks)
        return words.Winner(winning, "text-to-image")

    async def until_mined(self) -> None:
        """Until a transaction of the redeemer is in a block."""
        async with asyncio.timeout(DEADLINE_S):
            while not await self.reader.nonce(REDEEMER.id):
                await self.lever.mine()


async def found(url: str) -> bytes:
    """Put the contracts on an empty anvil, and say where they are, as `shoal chain` does."""
    rpc = Rpc(url)
    reader = Reader(rpc, Deployment(url, 0, *[NodeId("")] * 5))
    made: dict[str, str] = {}

    async def deploy(name: str, types: tuple[str, ...] = (), *values: object) -> None:
        nonce = await reader.nonce(FOUNDER.id)
        signed = Transaction(
            chain_id=await reader.chain_id(),
            nonce=nonce,
            to=None,
            data=bytecode(name) + encode(types, values),
            gas=10_000_000,
            max_fee_wei=10**11,
            tip_wei=0,
        ).sign(FOUNDER.sign_hash)
        await rpc.ask("eth_sendRawTransaction", "0x" + signed.raw.hex())
        while (receipt := await rpc.ask("eth_getTransactionReceipt", signed.hash)) is None:
            await rpc.ask("evm_mine")
        made[name] = receipt["contractAddress"]

    try:
        for key in (FOUNDER, SENDER, REDEEMER):
            await rpc.ask("anvil_setBalance", key.id, hex(1_000 * ETHER))
        await deploy("Controller")
        await deploy("Rounds", ("uint256",), ROUND_BLOCKS)
        await deploy("Token")
        pair = (made["Token"], made["Rounds"])
        await deploy("Bonding", ("address", "address", "uint64", "uint256"), *pair, 7, 100)
        trio = (made["Controller"], made["Rounds"], made["Bonding"])
        await deploy("TicketBroker", ("address", "address", "address", "uint256", "uint256"), *trio, 7, 2)
        await deploy("ServiceRegistry", ("address",), made["Controller"])
        await deploy("Payouts")
        opening = Account(FOUNDER, reader)
        await opening.send(NodeId(made["Rounds"].lower()), Rounds.initialise_round.call())
    finally:
        await rpc.close()
    return msgspec.json.encode({"rpc_url": url, "contracts": made})
