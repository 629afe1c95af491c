"""The chains that judge the contracts: ours, in the test's own process, and anvil where it is installed.

Both say the same words (`evm.py`), and mine a block for each transaction and none besides; whatever holds of a contract
must hold on both. A test file that takes the fixture `evm` is run on each.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from chains import RpcError, anvil_or_skip, running
from evm import CHAIN_ID, GAS_MAX, START_MS, Account, Evm, Reverted, Sent
from shoal.chain.local.chain import LocalChain
from shoal.chain.local.execution import Accounts, Call, Log
from shoal.chain.local.refusal import failure, reason_of
from shoal.chain.local.shelf import Shelf
from shoal.errors import Refused
from shoal.units import SECOND_MS

JUDGES = ("shoal", "anvil")
#: From Prague on each block writes into a ring of hashes, which anvil hashes anew each time: a millisecond for nothing.
#: A block that is more than half full would raise the price of gas; this one has room for three times what any test
#: sends at once. Nobody asks what was before the last block.
FLAGS = f"""
    --hardfork cancun --chain-id {CHAIN_ID} --timestamp {START_MS // SECOND_MS} --no-mining
    --base-fee 0 --disable-min-priority-fee --gas-limit 100000000 --port 0 --accounts 1 --prune-history
""".split()
PATIENCE_S = 60
REVERTED_CODE = 3


class Embedded(Evm):
    """Our own. `base_fee_wei` is what gas costs."""

    def __init__(self, *, base_fee_wei: int = 0, ether: int = 1_000_000) -> None:
        self.now_ms = START_MS
        self.chain = LocalChain(Shelf(), lambda: self.now_ms, base_fee_wei=base_fee_wei, chain_id=CHAIN_ID)
        self._seen: tuple[bytes, Accounts] = (self.chain.head.hash, self.chain.accounts())
        super().__init__(ether=ether)
        self.base_fee_wei = base_fee_wei

    @property
    def block(self) -> int:
        return self.chain.head.number

    @property
    def clock_s(self) -> int:
        return self.chain.head.timestamp_s

    def block_hash(self, number: int) -> bytes:
        block = self.chain.block(number)
        assert block is not None
        return block.hash

    def balance(self, address: str) -> int:
        return self._now().balance_wei(_bytes(address))

    def set_balance(self, address: str, wei: int) -> None:
        self.chain.set_balance_wei(_bytes(address), wei)

    def nonce(self, address: str) -> int:
        return self.chain.nonce(_bytes(address))

    def mine(self, blocks: int = 1) -> None:
        self.chain.mine(blocks)

    def pass_time(self, seconds: int) -> None:
        self.chain.increase_time(seconds)

    def snapshot(self) -> int:
        return self.chain.snapshot()

    def revert(self, snapshot: int) -> None:
        assert self.chain.revert(snapshot), f"there is no snapshot {snapshot}"

    def take(self, raw: bytes) -> Sent:
        digest = self.chain.send(raw)
        entry = self.chain.entry(digest)
        assert entry is not None, "it waits: automine is off, or it pays too little"
        receipt = entry.receipt
        if not receipt.success:
            raise failure(self.chain.again(digest))
        return Sent(
            digest,
            entry.number,
            receipt.gas_used,
            receipt.gas_used * receipt.gas_price_wei,
            "" if receipt.created is None else "0x" + receipt.created.hex(),
            self.events(receipt.logs, entry.number),
        )

    def call(self, to: str, data: bytes, *, sender: Account | None = None, value: int = 0) -> bytes:
        outcome = self.chain.call(self._asked(to, data, sender, value))
        if not outcome.success:
            raise failure(outcome)
        return outcome.output

    def view(self, to: str, data: bytes, *, sender: Account | None = None, value: int = 0) -> bytes:
        outcome = self._now().call(self._asked(to, data, sender, value))
        if not outcome.success:
            raise failure(outcome)
        return outcome.output

    def logs(self, address: str, since: int) -> list[tuple[int, Log]]:
        found = self.chain.logs(since, self.block, [_bytes(address)])
        return [(one.block.number, one.log) for one in found]

    def _asked(self, to: str, data: bytes, sender: Account | None, value: int) -> Call:
        return Call(_bytes((sender or self.accounts[0]).address), _bytes(to), data, value, GAS_MAX)

    def _now(self) -> Accounts:
        """All accounts, opened once for all questions between two blocks: what one changed would stay for the next."""
        if self._seen[0] != self.chain.head.hash:
            self._seen = (self.chain.head.hash, self.chain.accounts())
        return self._seen[1]


class Line:
    """Anvil at the other end of a socket in the file system: a question costs a tenth of what it costs over HTTP."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(path)
        self._answers = self._socket.makefile("rb")

    def ask(self, method: str, *params: object) -> Any:
        """The result. Raises `RpcError`."""
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self._socket.sendall(json.dumps(question).encode())
        answer = json.loads(self._answers.readline())
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """Hang up."""
        self._answers.close()
        self._socket.close()


class Anvil(Evm):
    """Anvil. It mines when it is told to, and has mined when it answers; of its own accord it answers first."""

    def __init__(self, line: Line) -> None:
        self._ask = line.ask
        self._next_s = 0
        self._ask("anvil_setBlockTimestampInterval", 1)
        super().__init__()

    @property
    def block(self) -> int:
        return int(self._ask("eth_blockNumber"), 16)

    @property
    def clock_s(self) -> int:
        return int(self._ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def block_hash(self, number: int) -> bytes:
        return _bytes(self._ask("eth_getBlockByNumber", hex(number), False)["hash"])

    def balance(self, address: str) -> int:
        return int(self._ask("eth_getBalance", address, "latest"), 16)

    def set_balance(self, address: str, wei: int) -> None:
        self._ask("anvil_setBalance", address, hex(wei))

    def nonce(self, address: str) -> int:
        return int(self._ask("eth_getTransactionCount", address, "latest"), 16)

    def mine(self, blocks: int = 1) -> None:
        self._next_s = 0
        self._ask("anvil_mine", hex(blocks))

    def pass_time(self, seconds: int) -> None:
        self._next_s = (self._next_s or self.clock_s) + seconds
        self._ask("evm_setNextBlockTimestamp", self._next_s)

    def snapshot(self) -> int:
        return int(self._ask("evm_snapshot"), 16)

    def revert(self, snapshot: int) -> None:
        self._next_s = 0
        assert self._ask("evm_revert", hex(snapshot)), f"there is no snapshot {snapshot}"

    def take(self, raw: bytes) -> Sent:
        try:
            digest = self._ask("eth_sendRawTransaction", "0x" + raw.hex())
        except RpcError as error:
            raise Refused(error.message) from None
        self.mine()
        receipt = self._ask("eth_getTransactionReceipt", digest)
        assert receipt is not None, "it waits: it pays too little, or its nonce is too high"
        if receipt["status"] == "0x0":
            raise self._failure(digest)
        gas_used, block = int(receipt["gasUsed"], 16), int(receipt["blockNumber"], 16)
        return Sent(
            _bytes(digest),
            block,
            gas_used,
            gas_used * int(receipt["effectiveGasPrice"], 16),
            receipt["contractAddress"] or "",
            self.events([_log(one) for one in receipt["logs"]], block),
        )

    def call(self, to: str, data: bytes, *, sender: Account | None = None, value: int = 0) -> bytes:
        who = (sender or self.accounts[0]).address
        asked = {"from": who, "to": to, "data": "0x" + data.hex(), "value": hex(value), "gas": hex(GAS_MAX)}
        try:
            return _bytes(self._ask("eth_call", asked, "latest"))
        except RpcError as error:
            if error.code != REVERTED_CODE:
                raise Refused(error.message) from None
            raise _reverted(_bytes(error.data or "0x")) from None

    def logs(self, address: str, since: int) -> list[tuple[int, Log]]:
        asked = {"address": address, "fromBlock": hex(since), "toBlock": "latest"}
        return [(int(one["blockNumber"], 16), _log(one)) for one in self._ask("eth_getLogs", asked)]

    def _failure(self, digest: str) -> Refused:
        trace = self._ask("trace_transaction", digest)[0]
        if trace["error"] != "Reverted":
            return Refused(trace["error"])
        said = trace["result"]
        return _reverted(_bytes(said["output"] if "output" in said else said["code"]))


@contextmanager
def judge(name: str) -> Iterator[Evm]:
    """A chain by its name, empty. Skips the test if it is not installed."""
    if name == "shoal":
        yield Embedded()
        return
    path = anvil_or_skip()
    with TemporaryDirectory() as folder:
        command = [path, *FLAGS, "--ipc", f"{folder}/ipc"]
        with running(command, "Listening on", "stdout"), closing(Line(f"{folder}/ipc")) as line:
            yield Anvil(line)


def judged(request: pytest.FixtureRequest) -> Iterator[Evm]:
    """For a fixture: one chain for all tests of a file, which put back what they do."""
    with judge(request.param) as evm:
        yield evm


def _bytes(hexed: str) -> bytes:
    return bytes.fromhex(hexed.removeprefix("0x"))


def _log(said: dict[str, Any]) -> Log:
    return Log(
        _bytes(said["address"]), tuple(_bytes(topic) for topic in said["topics"]), _bytes(said["data"])
    )


def _reverted(output: bytes) -> Reverted:
    reason = reason_of(output)
    return Reverted(f"execution reverted: {reason}" if reason else "execution reverted", output)
