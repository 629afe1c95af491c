"""The real redeemer over real frames, on our own chain and on anvil: what the model chain does to it, they do too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from eth_abi import encode

from chains import anvil, anvil_path
from journals import until
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
from shoal.cli.payouts import lines
from shoal.errors import Unreachable
from shoal.ids import NodeId
from shoal.machine import Connected, Event, Heard
from shoal.money.ticket import SignedTicket, Ticket, WinningTicket, aux_data, rand_hash, uint256
from shoal.redeemer.archive import read_books
from shoal.redeemer.config import Settings
from shoal.redeemer.events import Broadcast
from shoal.redeemer.rules import Rules
from shoal.redeemer.service import Service
from shoal.redeemer.statement import statement
from shoal.runtime.door import Door, Reply, Request
from shoal.runtime.http import Server, bind
from shoal.runtime.keys import NodeKey, keep_secret
from shoal.runtime.transport import Peers
from shoal.wire import words
from shoal.wire.words import Payee

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


@pytest.fixture(params=["shoal", "anvil"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    path = anvil_path()
    if request.param == "anvil" and path is None:
        pytest.skip("anvil is not installed: `make .venvs/anvil/made` installs it with npm")
    made = World(tmp_path)
    with anvil(path) if request.param == "anvil" and path else nullcontext() as door:
        await made.start(door.url if door else "")
        try:
            yield made
        finally:
            await made.stop()


pytestmark = pytest.mark.anyio


async def test_tickets_become_money_and_nothing_is_lost_on_the_way(world: World) -> None:
    before = await world.reader.balance_wei(REDEEMER.id)
    tickets = [await world.winner(nonce) for nonce in range(12)]
    for ticket in tickets:
        world.say(ticket)
    await world.office.until_state("confirmed", len(tickets))
    assert await world.reader.balance_wei(RECIPIENT.id) == len(tickets) * FACE_WEI
    funds = await world.reader.funds(SENDER.id, RECIPIENT.id)
    assert (funds.deposit, funds.reserve) == (ETHER - len(tickets) * FACE_WEI, ETHER)
    done = [word for word in world.office.heard if word.state == "confirmed"]
    assert {int.from_bytes(word.wei) for word in done} == {FACE_WEI}
    machine = world.redeemer.machine  # type: ignore[union-attr]
    machine.check()
    fees = int.from_bytes(machine.totals["text-to-image"].fee_wei)
    assert before - await world.reader.balance_wei(REDEEMER.id) == fees > 0


async def test_a_number_stays_secret_until_its_block(world: World) -> None:
    ticket = await world.winner(1, wait_blocks=20)
    world.say(ticket)
    await world.office.until_state("confirmed")
    logs = await world.reader.logs(
        world.contracts.ticket_broker,
        {TicketBroker.REDEEMED.topic: TicketBroker.REDEEMED},
        0,
        (await world.reader.head()).number,
    )
    assert [log.block > ticket.winning.expiration_block for log in logs] == [True]
    assert logs[0].values["recipientRand"] == int.from_bytes(ticket.winning.recipient_rand)


async def test_a_reorganisation_of_six_blocks_takes_nothing_away(world: World) -> None:
    world.say(await world.winner(1))
    for count in range(1, 4):
        await world.until_mined()
        await world.lever.reorganise(DEPTH)
        assert world.office.states().count("confirmed") == 0, count
    await world.office.until_state("confirmed")
    assert await world.reader.balance_wei(RECIPIENT.id) == FACE_WEI
    assert await world.reader.nonce(REDEEMER.id) == 1


async def test_a_stuck_transaction_is_replaced(world: World) -> None:
    await world.lever.pause()
    world.say(await world.winner(1))
    await world.office.until_state("sent")
    world.lever.price_wei *= 20
    await world.lever.mine()
    await world.office.until_state("sent", 3)
    world.lever.mining = True
    await world.office.until_state("confirmed")
    sent = [word.transaction for word in world.office.heard if word.state == "sent"]
    assert len(set(sent)) >= 2
    assert await world.reader.nonce(REDEEMER.id) == 1
    assert await world.reader.balance_wei(RECIPIENT.id) == FACE_WEI


async def test_a_dropped_transaction_is_sent_again(world: World) -> None:
    await world.lever.pause()
    world.say(await world.winner(1))
    await world.office.until_state("sent")
    async with asyncio.timeout(DEADLINE_S):
        while not await world.lever.drop(world.office.heard[-1].transaction):
            pass
    world.lever.mining = True
    await world.office.until_state("confirmed")
    assert await world.reader.balance_wei(RECIPIENT.id) == FACE_WEI


async def test_a_node_that_is_down_is_waited_for(world: World) -> None:
    if world.chain_service is None:
        pytest.skip("an anvil that was stopped has forgotten everything")
    address = world.contracts.rpc_url.removeprefix("http://")
    ticket = await world.winner(1)
    await world.chain_service.stop()
    world.say(ticket)
    await world.office.until_state("taken")
    machine = world.redeemer.machine  # type: ignore[union-attr]
    await until(lambda: bool(machine.silence))
    await world.open_chain(address)
    await world.office.until_state("confirmed")
    assert await world.reader.balance_wei(RECIPIENT.id) == FACE_WEI


async def test_a_spike_of_gas_is_waited_for_and_no_ticket_is_redeemed_at_a_loss(world: World) -> None:
    world.lever.price_wei = 400 * 10**9  # 100,000 gas at that price are worth four tickets
    await world.lever.mine()
    world.say(await world.winner(1))
    machine = world.redeemer.machine  # type: ignore[union-attr]
    await until(lambda: any("its gas would cost more" in machine.why(i) for i in machine.intents.values()))
    assert world.office.states() == ["taken"]
    world.lever.price_wei = 10**9
    await world.office.until_state("confirmed")


async def test_whoever_was_redeemed_already_is_refused_with_the_contracts_reason(world: World) -> None:
    ticket = await world.winner(1)
    world.say(ticket)
    await world.office.until_state("confirmed")
    await world.close_redeemer()
    for file in (world.folder / "redeemer").glob("journal*"):
        file.unlink()  # an operator who lost its journal, and kept its key
    await world.open_redeemer()
    world.say(ticket)
    await world.office.until_state("refused")
    assert world.office.heard[-1].why == "ticket is used"
    assert await world.reader.balance_wei(RECIPIENT.id) == FACE_WEI


async def test_a_false_signature_is_refused(world: World) -> None:
    true = await world.winner(1)
    ticket = msgspec.structs.replace(true.winning.signed.ticket, sender=REDEEMER.id)
    signed = msgspec.structs.replace(true.winning.signed, ticket=ticket)
    world.say(words.Winner(msgspec.structs.replace(true.winning, signed=signed), "llm"))
    await world.office.until_state("refused")
    assert world.office.heard[-1].why == "invalid signature over ticket hash"


async def test_workers_are_paid_once_each_batch(world: World) -> None:
    workers = [NodeKey(bytes([number]) * 32).id for number in (11, 12, 13)]
    batch = words.Payout(uint256(5), tuple(Payee(w, uint256(n + 1)) for n, w in enumerate(workers)))
    world.say(batch)
    world.say(batch)
    await world.office.until_state("confirmed")
    world.say(batch)
    await world.office.until_state("confirmed", 2)
    paid = [await world.reader.paid_wei(REDEEMER.id, worker) for worker in workers]
    assert paid == [1, 2, 3]
    assert [await world.reader.balance_wei(worker) for worker in workers] == paid


@pytest.mark.parametrize("after", [False, True], ids=["before it is sent", "after it is sent"])
async def test_whoever_dies_with_a_transaction_in_hand_sends_the_same_one(
    world: World, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    redeemer = world.redeemer
    assert redeemer is not None
    died = asyncio.Event()
    perform = redeemer._lookout.broadcast

    async def die(effect: Broadcast) -> Any:
        if after:
            await perform(effect)
        died.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(redeemer._lookout, "broadcast", die)
    world.say(await world.winner(1))
    await asyncio.wait_for(died.wait(), DEADLINE_S)
    await world.close_redeemer()
    await world.open_redeemer()
    machine = world.redeemer.machine
    await until(lambda: not machine.intents)
    assert await world.reader.balance_wei(RECIPIENT.id) == FACE_WEI
    assert await world.reader.nonce(REDEEMER.id) == 1


async def test_a_redemption_is_posted_to_webhooks_of_both_kinds(world: World) -> None:
    posted: list[tuple[str, Any]] = []
    answers = {"/api/webhooks/1/secret": [503, 204], "/plain": [200]}
    told = asyncio.Event()

    async def take(request: Request) -> Reply:
        posted.append((request.path, msgspec.json.decode(await request.body(1 << 20))))
        if len(posted) == 3:
            told.set()
        return Reply(b"", answers[request.path].pop(0))

    server = Server(
        Door({"POST /api/webhooks/1/secret": take, "POST /plain": take}), listener := bind("127.0.0.1", 0)
    )
    await server.open()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        world.webhooks = (f"{url}/api/webhooks/1/secret", f"{url}/plain")
        await world.close_redeemer()
        await world.open_redeemer(msgspec.structs.replace(RULES, notice_again_ms=20))
        ticket = await world.winner(1)
        world.say(ticket)
        await asyncio.wait_for(told.wait(), DEADLINE_S)
        await world.office.until_state("confirmed")
    finally:
        await server.close()
    transaction = world.office.heard[-1].transaction
    discord = [body for path, body in posted if path != "/plain"]
    assert len(discord) == 2
    assert discord[0] == discord[1]
    fields = {field["name"]: field["value"] for field in discord[0]["embeds"][0]["fields"]}
    assert fields == {
        "Operator": "Ada",
        "Amount": "0.01 ETH",
        "Pipeline": "text-to-image",
        "Transaction": f"`{transaction}`",
    }
    plain = next(body for path, body in posted if path == "/plain")
    assert (plain["operator"], plain["amount_wei"], plain["pipeline"], plain["transaction"]) == (
        "Ada",
        str(FACE_WEI),
        "text-to-image",
        transaction,
    )


async def test_the_operator_reads_the_same_at_the_door_and_in_the_journal(world: World) -> None:
    with closing(bind("127.0.0.1", 0)) as free:
        world.operator_addr = f"127.0.0.1:{free.getsockname()[1]}"
    await world.close_redeemer()
    await world.open_redeemer()
    world.say(await world.winner(1))
    world.say(words.Winner((await world.winner(2, wait_blocks=100_000)).winning, "llm"))
    await world.office.until_state("confirmed")
    async with httpx.AsyncClient(trust_env=False) as client:
        health = await client.get(f"http://{world.operator_addr}/health")
        shown = (await client.get(f"http://{world.operator_addr}/payouts")).json()
    assert health.json() == {"ready": True, "node": REDEEMER.id}
    assert [(one["state"], one["pipeline"]) for one in shown["open"]] == [("waiting", "llm")]
    assert "stays secret" in shown["open"][0]["why"]
    assert [(one["state"], one["wei"]) for one in shown["ended"]] == [("confirmed", str(FACE_WEI))]
    assert shown["totals"]["text-to-image"]["wei"] == str(FACE_WEI)
    machine = world.redeemer.machine  # type: ignore[union-attr]
    await world.redeemer.node.durable()  # type: ignore[union-attr]
    read = read_books(world.folder / "redeemer/journal.sqlite3")
    assert read.dump() == machine.dump()
    text = "\n".join(lines(statement(read, REDEEMER.id)))
    assert world.office.heard[-1].transaction in text
    await world.close_redeemer()
    assert read_books(world.folder / "redeemer/journal.sqlite3").dump() == machine.dump(), "from its snapshot"


async def test_a_node_of_another_chain_is_not_believed(world: World) -> None:
    await world.close_redeemer()
    file = world.folder / "chain/chain.json"
    file.write_bytes(msgspec.json.encode(msgspec.json.decode(file.read_bytes()) | {"chain_id": 1}))
    await world.open_redeemer()
    world.say(await world.winner(1))
    machine = world.redeemer.machine  # type: ignore[union-attr]
    await until(lambda: bool(machine.silence))
    assert "is chain 31337, and the settings say 1" in machine.silence
    assert world.office.states() == ["taken"]
