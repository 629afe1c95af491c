"""`shoal signer` as a process: what it signed away stays counted, and a gateway pays through it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from running import WAIT_S, until, up
from shoal.chain.account import Account
from shoal.chain.bindings import TicketBroker
from shoal.chain.config import deployment, require
from shoal.chain.reader import Reader
from shoal.chain.rpc import Rpc
from shoal.chain.settings import ChainSettings
from shoal.money.funds import FundsSeen
from shoal.runtime.keys import NodeKey
from shoal.wire.signing import order
from signing import TICKET, WORTH

TOKEN = "f00d" * 8
ETHER = 10**18


class Signer:
    """A running `shoal signer`."""

    def __init__(self, home: Path, port: int, *flags: str) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "shoal.cli.main", "signer", "--home", str(home)),
                *("--http-addr", f"127.0.0.1:{port}", *flags),
            ],
            env=os.environ | {"SHOAL_SIGNER_TOKENS": TOKEN},
            stderr=subprocess.DEVNULL,
        )
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {TOKEN}"},
            timeout=WAIT_S,
            trust_env=False,
        )
        until(self.answers, "the signer answers")

    def answers(self) -> bool:
        """Whether it is there yet."""
        assert self.process.poll() is None, "the signer has ended"
        try:
            return self.client.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str) -> dict[str, Any]:
        """What it says."""
        return dict(self.client.get(path).raise_for_status().json())

    def sign(self, nonce: int) -> httpx.Response:
        """Have one ticket signed."""
        asked = msgspec.to_builtins(order(TICKET, self.get("/address")["address"], (nonce,)))
        return self.client.post("/sign-tickets", json=asked)

    def end(self, number: signal.Signals) -> None:
        """Let it end like this."""
        self.process.send_signal(number)
        self.process.wait(WAIT_S)
        self.client.close()


@contextmanager
def running(home: Path, port: int, *flags: str) -> Iterator[Signer]:
    """A signer that is gone afterwards, however that came."""
    signer = Signer(home, port, *flags)
    try:
        yield signer
    finally:
        signer.end(signal.SIGKILL)


def free_port() -> int:
    """Where a process may listen."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_kill_gives_nothing_back(tmp_path: Path) -> None:
    port = free_port()
    limits = ("--rules-ev-wei-in-all", str(3 * WORTH))
    signed = []
    for nonce in (1, 2, 3):
        with running(tmp_path, port, *limits) as signer:
            signed.append(signer.sign(nonce).json())
    with running(tmp_path, port, *limits) as signer:
        assert signer.get("/spending")["spent_wei"] == str(3 * WORTH)
        reply = signer.sign(4)
        assert (reply.status_code, reply.json()["error"]["code"]) == (402, "spend_limit")
        assert [signer.sign(nonce).json() for nonce in (1, 2, 3)] == signed
        signer.end(signal.SIGTERM)
        assert signer.process.returncode == 0
    assert not (tmp_path / "signer.token").exists(), "its token is in its settings"


async def fund(key: NodeKey, chain_file: Path) -> None:
    """Play money for the signer's account, and with it a deposit and a reserve."""
    contracts = deployment(ChainSettings(file=str(chain_file)))
    rpc = Rpc(contracts.rpc_url)
    try:
        await rpc.ask("anvil_setBalance", key.id, hex(10 * ETHER))
        broker = require(contracts.ticket_broker, "TicketBroker")
        call = TicketBroker.fund_deposit_and_reserve.call(ETHER, ETHER)
        await Account(key, Reader(rpc, contracts)).send(broker, call, 2 * ETHER)
    finally:
        await rpc.close()


async def funds(node: str, chain_file: Path) -> FundsSeen:
    """What somebody has in the broker."""
    contracts = deployment(ChainSettings(file=str(chain_file)))
    rpc = Rpc(contracts.rpc_url)
    try:
        return await Reader(rpc, contracts).funds(node, node)  # type: ignore[arg-type]
    finally:
        await rpc.close()


def test_a_gateway_pays_through_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("SHOAL_GATEWAY_SIGNER_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("SHOAL_GATEWAY_SIGNER_TOKEN", TOKEN)
    home = tmp_path / "signer"
    key = NodeKey.load_or_create(home / "key")
    with up(tmp_path, "--workers", "1") as network:
        chain_file = network.home / "networks/local/chain/chain.json"
        asyncio.run(fund(key, chain_file))
        gateway = next(node["id"] for node in network.note["nodes"] if node["role"] == "gateway")
        before = asyncio.run(funds(gateway, chain_file))

        # While nobody signs, nobody is paid, and who wants to be paid ahead gets no jobs.
        job = network.buyer.submit("echo", {"text": "one"})["id"]
        until(lambda: "the signer has not said" in str(network.buyer.network()), "it is said why")
        flags = ("--chain-file", str(chain_file))
        with running(home, port, *flags) as signer:
            assert network.buyer.ended(job)["state"] == "done"
            spent = int(signer.get("/spending")["spent_wei"])
            assert signer.get("/address")["address"] == key.id != gateway
            assert spent > 0
        # It was killed: what needs to be paid waits until it is there again.
        job = network.buyer.submit("echo", {"text": "two"})["id"]
        until(lambda: "cannot be reached" in str(network.buyer.network()), "it is said why")
        with running(home, port, *flags) as signer:
            assert network.buyer.ended(job)["state"] == "done"
            spent, before_that = int(signer.get("/spending")["spent_wei"]), spent
            assert spent > before_that
        # With nothing more to spend it says so, and its gateway says it to people, once.
        limit = ("--rules-ev-wei-in-all", str(spent))
        with running(home, port, *flags, *limit) as signer:
            assert signer.get("/spending")["spent_wei"] == str(spent)
            network.buyer.submit("echo", {"text": "three"})
            until(lambda: "wei in all is reached" in str(network.buyer.network()), "it is said why")
            assert signer.get("/spending")["spent_wei"] == str(spent)
        assert asyncio.run(funds(gateway, chain_file)).deposit == before.deposit
