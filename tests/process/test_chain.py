"""`shoal chain` as a process: what it has answered for outlives `kill -9`, and it ends when it is told to."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from chains import ADDRESSES, ETHER, Door, note, ours, running
from shoal.chain.local.chain import LocalChain
from shoal.chain.local.shelf import Shelf

NOBODY = "0x00000000000000000000000000000000000000bb"


def start(home: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "shoal.cli.main", "chain", "--home", str(home), "--block-ms", "20"]
    command += [
        "--http-addr",
        "127.0.0.1:0",
        "--contracts",
        "false",
        "--parent-pid",
        str(os.getpid()),
        *flags,
    ]
    process = subprocess.Popen(command, text=True, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if "ready:" in line:
            return process
    raise AssertionError("it ended before it was ready")


def ended(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    process.stderr.close()
    return process.wait(timeout=30)


@pytest.mark.parametrize("delay_ms", [30, 110, 240])
def test_nothing_that_was_answered_for_is_lost_and_no_block_is_half(tmp_path: Path, delay_ms: int) -> None:
    process = start(tmp_path)
    door = Door("shoal", note(tmp_path)["rpc_url"])
    killer = threading.Timer(delay_ms / 1_000, process.kill)
    acknowledged: list[str] = []
    with door.http:
        door.ask("anvil_setBalance", ADDRESSES[0], hex(1_000 * ETHER))
        killer.start()
        try:
            for nonce in itertools.count():
                # Every third waits for the next block; the others make one.
                door.ask("evm_setAutomine", nonce % 3 != 0)
                acknowledged.append(door.send(0, NOBODY, value=1, nonce=nonce))
        except httpx.TransportError:
            pass
    killer.join()
    assert ended(process) == -signal.SIGKILL

    chain = LocalChain(Shelf(tmp_path / "chain.sqlite3"), lambda: 2_000_000_000_000)
    lost = [
        digest
        for digest in acknowledged
        if chain.entry(bytes.fromhex(digest[2:])) is None
        and chain.pool.get(bytes.fromhex(digest[2:])) is None
    ]
    assert lost == []
    assert acknowledged
    _require_whole(chain)
    chain.mine()
    sent = chain.accounts().nonce(bytes.fromhex(ADDRESSES[0][2:]))
    assert sent >= len(acknowledged)
    assert chain.accounts().balance_wei(bytes.fromhex(NOBODY[2:])) == sent


def _require_whole(chain: LocalChain) -> None:
    """Every block follows the one before, has all its transactions, and a state that can be read."""
    for number in range(1, chain.head.number + 1):
        block, before = chain.block(number), chain.block(number - 1)
        assert block is not None
        assert before is not None
        assert block.parent == before.hash
        assert (
            tuple(entry.receipt.transaction for entry in chain.entries(number, number)) == block.transactions
        )
        chain.accounts(block).balance_wei(bytes.fromhex(NOBODY[2:]))


def test_told_to_stop_it_ends_at_once_and_goes_on_where_it_was(tmp_path: Path) -> None:
    with ours(tmp_path, "--accounts", f'{{"me": "{ADDRESSES[0]}"}}', "--contracts", "true") as door:
        digest = door.send(0, NOBODY, value=5)
        first = note(tmp_path)
        assert door.ask("eth_getCode", first["contracts"]["TicketBroker"], "latest") != "0x"
        head = door.ask("eth_getBlockByNumber", "latest", False)["hash"]
    with ours(tmp_path, "--accounts", f'{{"me": "{ADDRESSES[0]}"}}', "--contracts", "true") as door:
        assert note(tmp_path)["contracts"] == first["contracts"]
        assert door.ask("eth_getBlockByNumber", "latest", False)["hash"] == head
        assert door.receipt(digest)["status"] == "0x1"
        assert door.balance(NOBODY) == 5


def test_sigterm_is_a_good_end(tmp_path: Path) -> None:
    process = start(tmp_path)
    process.terminate()
    assert ended(process) == 0


def test_two_cannot_have_the_same_folder(tmp_path: Path) -> None:
    with ours(tmp_path):
        again = [sys.executable, "-m", "shoal.cli.main", "chain", "--home", str(tmp_path)]
        said = subprocess.run(again, capture_output=True, text=True, check=False, timeout=60)
        assert said.returncode == 1
        assert "already running" in said.stderr


def test_blocks_are_made_without_being_asked(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shoal.cli.main", "chain", "--home", str(tmp_path), "--block-ms", "20"]
    command += ["--http-addr", "127.0.0.1:0", "--round-blocks", "5"]
    with running(command, r"ready: chain \d+ on (\S+),", "stderr") as said:
        door = Door("shoal", said[1])
        first = door.number("eth_blockNumber")
        for _ in range(10_000):
            if door.number("eth_blockNumber") >= first + 12:
                break
        assert door.number("eth_blockNumber") >= first + 12
        opened = {
            "address": note(tmp_path)["contracts"]["Rounds"],
            "fromBlock": hex(first),
            "toBlock": "latest",
        }
        assert len(door.ask("eth_getLogs", opened)) >= 2, "a round is opened every five blocks"
        assert door.http.get(said[1] + "/health").json()["status"] == "ok"
        door.http.close()
