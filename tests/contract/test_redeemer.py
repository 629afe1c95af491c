"""The real redeemer over real frames, on our own chain and on anvil: what the model chain does to it, they do too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from chains import anvil
from journals import until
from redeemerworld import DEADLINE_S, DEPTH, ETHER, FACE_WEI, RECIPIENT, REDEEMER, RULES, SENDER, World
from shoal.chain.bindings import TicketBroker
from shoal.cli.payouts import lines
from shoal.money.ticket import uint256
from shoal.redeemer.archive import read_books
from shoal.redeemer.events import Broadcast, Weigh
from shoal.redeemer.intent import Redeem, redeem_id
from shoal.redeemer.statement import statement
from shoal.runtime.door import Door, Reply, Request
from shoal.runtime.http import Server, bind
from shoal.runtime.keys import NodeKey
from shoal.wire import words
from shoal.wire.words import Payee


@pytest.fixture(params=["shoal", "anvil"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    with anvil() if request.param == "anvil" else nullcontext() as door:
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
    machine = world.service.machine
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


async def test_what_its_own_transaction_has_used_is_no_reason_against_it(world: World) -> None:
    winner = await world.winner(1)
    world.say(winner)
    await world.office.until_state("confirmed")
    redeem = Redeem(winner.winning, winner.pipeline)
    weigh = partial(Weigh, redeem_id(winner.winning.ticket_hash), redeem)
    own, strange = [await world.service._lookout.weigh(weigh(nonce)) for nonce in (0, None)]
    assert (own.rejected, strange.rejected) == (False, True)
    assert own.fault == strange.fault == "ticket is used"


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
    machine = world.service.machine
    await until(lambda: bool(machine.silence))
    await world.open_chain(address)
    await world.office.until_state("confirmed")
    assert await world.reader.balance_wei(RECIPIENT.id) == FACE_WEI


async def test_a_spike_of_gas_is_waited_for_and_no_ticket_is_redeemed_at_a_loss(world: World) -> None:
    world.lever.price_wei = 400 * 10**9  # 100,000 gas at that price are worth four tickets
    await world.lever.mine()
    world.say(await world.winner(1))
    machine = world.service.machine
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
    redeemer = world.service
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
    machine = world.service.machine
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
    machine = world.service.machine
    await world.service.node.durable()
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
    machine = world.service.machine
    await until(lambda: bool(machine.silence))
    assert "is chain 31337, and the settings say 1" in machine.silence
    assert world.office.states() == ["taken"]
