"""Two chains for the same tests: ours, and anvil where it is installed.

`anvil` is looked for in $SHOAL_ANVIL, on the path, and where `make .venvs/anvil/made` puts it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from eth_keys import keys

from shoal.chain.local.execution import keccak_of, sign

ROOT = Path(__file__).parents[1]
BASE_FEE_WEI = 1_000_000_000
ETHER = 10**18
ASKED_MAX = 2_000
#: The same in every run.
SECRETS = [keccak_of(b"chains %d" % number) for number in range(4)]
ADDRESSES = ["0x" + keys.PrivateKey(secret).public_key.to_canonical_address().hex() for secret in SECRETS]


class RpcError(Exception):
    """What a door answered instead of a result."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.data: Any = error.get("data")


class Door:
    """A chain, asked over HTTP."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.http = httpx.Client(timeout=30, trust_env=False)

    def post(self, value: object) -> Any:
        """Whatever it answers to this."""
        return self.http.post(self.url, json=value).json()

    def ask(self, method: str, *params: object) -> Any:
        """The result. Raises `RpcError`."""
        answer = self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def number(self, method: str, *params: object) -> int:
        """A result that is a number."""
        return int(self.ask(method, *params), 16)

    def send(self, who: int, to: str | None, **changes: Any) -> str:
        """Sign and send; the hash."""
        return str(self.ask("eth_sendRawTransaction", "0x" + self.sign(who, to, **changes).hex()))

    def mined(self, who: int, to: str | None, **changes: Any) -> dict[str, Any]:
        """Sign, send, and wait for the block that holds it; the receipt."""
        return self.receipt(self.send(who, to, **changes))

    def sign(self, who: int, to: str | None, **changes: Any) -> bytes:
        """A transaction of one of `ADDRESSES`; its nonce is the next, unless it is said."""
        fields = {
            "chain_id": self.number("eth_chainId"),
            "max_priority_fee_per_gas": 0,
            "max_fee_per_gas": 10 * BASE_FEE_WEI,
            "gas": 3_000_000,
            "to": b"" if to is None else bytes.fromhex(to[2:]),
            "value": 0,
            "data": b"",
            "access_list": (),
        } | changes
        if "nonce" not in fields:
            fields["nonce"] = self.number("eth_getTransactionCount", ADDRESSES[who], "pending")
        return sign(SECRETS[who], fields)

    def receipt(self, digest: str) -> dict[str, Any]:
        """What came of it. Anvil answers before it mines, so it is asked until it has."""
        for _ in range(ASKED_MAX):
            receipt: dict[str, Any] | None = self.ask("eth_getTransactionReceipt", digest)
            if receipt is not None:
                return receipt
            assert self.name == "anvil", f"{digest} is in no block"
        raise AssertionError(f"{digest} is in no block")

    def balance(self, address: str) -> int:
        """In wei."""
        return self.number("eth_getBalance", address, "latest")


def anvil_path() -> str | None:
    """Where anvil is, if it is anywhere."""
    named = os.environ.get("SHOAL_ANVIL")
    made = sorted(ROOT.glob(".venvs/anvil/node_modules/@foundry-rs/anvil-*/bin/anvil"))
    return named or shutil.which("anvil") or (str(made[0]) if made else None)


@contextmanager
def running(command: list[str], ready: str, stream: str) -> Iterator[re.Match[str]]:
    """A process, once it has said what is waited for; it is told to stop at the end."""
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            said = process.stdout if stream == "stdout" else process.stderr
            assert said is not None
            lines = []
            for line in said:
                lines.append(line)
                if found := re.search(ready, line):
                    break
            else:
                raise AssertionError(f"{command[0]} ended before it was ready: {''.join(lines[-5:])}")
            # Nobody reads on, and a full pipe would hold it up.
            threading.Thread(target=said.read, daemon=True).start()
            yield found
        finally:
            process.terminate()


@contextmanager
def ours(home: Path, *flags: str) -> Iterator[Door]:
    """Our own chain, empty, with no block that nobody asked for."""
    command = [sys.executable, "-m", "shoal.cli.main", "chain", "--home", str(home)]
    command += ["--http-addr", "127.0.0.1:0", "--block-ms", "0", "--contracts", "false"]
    command += ["--base-fee-wei", str(BASE_FEE_WEI), *flags]
    with running(command, r"ready: chain \d+ on (\S+),", "stderr") as said:
        door = Door("shoal", said[1])
        with door.http:
            yield door


@contextmanager
def anvil(path: str) -> Iterator[Door]:
    """Anvil, by the same rules."""
    command = [path, "--port", "0", "--chain-id", "31337", "--hardfork", "prague", "--accounts", "1"]
    command += ["--base-fee", str(BASE_FEE_WEI), "--gas-limit", "30000000"]
    with running(command, r"Listening on (\S+)", "stdout") as said:
        door = Door("anvil", f"http://{said[1]}")
        with door.http:
            yield door


def note(home: Path) -> dict[str, Any]:
    """What a chain of ours says of itself."""
    value: dict[str, Any] = json.loads((home / "chain.json").read_text())
    return value
