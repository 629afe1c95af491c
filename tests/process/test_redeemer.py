"""A redeemer's process is killed again and again while tickets come in: each is redeemed once, to the wei."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chains import ours
from shoal.chain.account import Account
from shoal.chain.bindings import TicketBroker
from shoal.chain.config import deployment
from shoal.chain.reader import Reader
from shoal.chain.rpc import Rpc
from shoal.chain.settings import ChainSettings
from shoal.machine import Event, Heard
from shoal.money.ticket import SignedTicket, Ticket, WinningTicket, aux_data, rand_hash, uint256
from shoal.redeemer.archive import read_books
from shoal.runtime.keys import NodeKey, keep_secret
from shoal.runtime.transport import Peers
from shoal.wire import words

pytestmark = pytest.mark.anyio

ETHER = 10**18
FACE_WEI = ETHER // 100
TICKETS = 24
KILLS = 12
SENDER, RECIPIENT, REDEEMER = (NodeKey(bytes([number]) * 32) for number in (1, 2, 3))


class Office:
    """An orchestrator that says each winner again until its redemption has ended."""

    def __init__(self, winners: list[words.Winner]) -> None:
        self.open = {winner.winning.ticket_hash: winner for winner in winners}
        self.ended: dict[bytes, words.Redemption] = {}
        self.heard = 0
        self.news = asyncio.Event()
        self.peers = Peers(RECIPIENT, "orchestrator", "boot", self._hear, rng=Random(1))

    def _hear(self, event: Event) -> None:
        if isinstance(event, Heard):
            assert isinstance(event.word, words.Redemption)
            self.heard += 1
            if event.word.state in ("confirmed", "refused"):
                self.open.pop(event.word.ticket, None)
                self.ended[event.word.ticket] = event.word
        else:
            for winner in self.open.values():
                self.peers.send(REDEEMER.id, winner)
        self.news.set()


async def winner(reader: Reader, nonce: int) -> words.Winner:
    rounds = await reader.rounds()
    rand = uint256(nonce)
    dated = aux_data(rounds.last, rounds.last_hash)
    whole = uint256(2**256 - 1)
    ticket = Ticket(RECIPIENT.id, SENDER.id, uint256(FACE_WEI), whole, nonce, rand_hash(rand), dated)
    signed = SignedTicket(ticket, SENDER.sign_hash(ticket.signed_hash))
    return words.Winner(WinningTicket(signed, rand, rounds.block), "llm")


async def start(home: Path, chain: Path, port: int) -> Process:
    rules = {"tick_ms": 50, "confirmations": 2, "rebroadcast_ms": 200, "again_ms": 100, "in_flight_max": 3}
    flags = [f"--rules-{name.replace('_', '-')}={value}" for name, value in rules.items()]
    command = ["-m", "shoal.cli.main", "redeemer", "--home", str(home), "--operator-addr", ""]
    command += ["--chain-file", str(chain), "--orchestrators", f"127.0.0.1:{port}#{RECIPIENT.id}", *flags]
    return await asyncio.create_subprocess_exec(sys.executable, *command, stderr=DEVNULL)


async def test_killed_again_and_again(tmp_path: Path) -> None:
    keep_secret(tmp_path / "redeemer/key", bytes([3]) * 32)
    accounts = json.dumps({"sender": SENDER.id, "redeemer": REDEEMER.id})
    flags = ("--contracts", "true", "--accounts", accounts, "--block-ms", "100", "--round-blocks", "100000")
    with ours(tmp_path / "chain", *flags):
        file = tmp_path / "chain/chain.json"
        contracts = deployment(ChainSettings(file=str(file)))
        rpc = Rpc(contracts.rpc_url)
        reader = Reader(rpc, contracts)
        data = TicketBroker.fund_deposit_and_reserve.call(ETHER, ETHER)
        await Account(SENDER, reader).send(contracts.ticket_broker, data, 2 * ETHER)
        office = Office([await winner(reader, number) for number in range(1, TICKETS + 1)])
        port = await office.peers.listen("127.0.0.1", 0)
        process = await start(tmp_path / "redeemer", file, port)
        rng, killed = Random(5), 0
        try:
            async with asyncio.timeout(100):
                due = rng.randint(1, 8)
                while office.open:
                    office.news.clear()
                    await office.news.wait()
                    if office.heard >= due and killed < KILLS and office.open:
                        process.send_signal(signal.SIGKILL)
                        await process.wait()
                        killed += 1
                        due = office.heard + rng.randint(1, 8)
                        process = await start(tmp_path / "redeemer", file, port)
            process.terminate()
            assert await process.wait() == 0
            await judge(tmp_path / "redeemer", reader, office)
        finally:
            if process.returncode is None:
                os.kill(process.pid, signal.SIGKILL)
                await process.wait()
            await office.peers.close()
            await rpc.close()
    assert killed >= KILLS // 2


async def judge(home: Path, reader: Reader, office: Office) -> None:
    """The chain, the journal and the orchestrator tell one story."""
    assert {word.state for word in office.ended.values()} == {"confirmed"}
    assert len(office.ended) == TICKETS
    assert await reader.balance_wei(RECIPIENT.id) == TICKETS * FACE_WEI
    assert await reader.nonce(REDEEMER.id) == TICKETS, "no transaction that was not needed"
    books = read_books(home / "journal.sqlite3")
    books.check()
    total: Any = books.totals["llm"]
    assert (total.taken, total.confirmed, total.refused) == (TICKETS, TICKETS, 0)
    assert int.from_bytes(total.wei) == TICKETS * FACE_WEI
    assert 1_000 * ETHER - await reader.balance_wei(REDEEMER.id) == int.from_bytes(total.fee_wei)
