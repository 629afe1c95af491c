"""A chain by the few words that tests of contracts need: deploy, call, send, put everything back.

    token = evm.deploy(artifact, "Token", 18, sender=evm.accounts[0])
    token.send("transfer", evm.accounts[1].address, 5)         # raises `Reverted` with the contract's reason
    assert token.call("balanceOf", evm.accounts[1].address) == 5

The transactions are signed and mined, one block each; which chain it is, `judges.py` says. An artifact is
`{"abi": [...], "bytecode": "0x..."}`. Addresses are "0x" and 40 small hex digits; bytes are `bytes`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from eth_abi import decode, encode
from eth_keys import keys
from msgspec import Struct

from shoal.chain.local.execution import Log, keccak_of, sign
from shoal.chain.local.refusal import Reverted

__all__ = ["Account", "Contract", "Emitted", "Evm", "Reverted", "Sent"]

ETHER = 10**18
ACCOUNTS = 10
CHAIN_ID = 31_337
GAS_MAX = 10_000_000
START_MS = 1_700_000_000_000


class Account(Struct, frozen=True):
    """Somebody with a key."""

    secret: bytes
    address: str


class Emitted(Struct, frozen=True):
    """An event, with its arguments by name."""

    name: str
    args: dict[str, Any]
    address: str
    block: int


class Sent(Struct, frozen=True):
    """A transaction that succeeded."""

    hash: bytes
    block: int
    gas_used: int
    #: What it cost its sender beside the value that it brought.
    fee_wei: int
    #: The address of the contract that it made, "" if it made none.
    created: str
    events: tuple[Emitted, ...]


def account(number: int) -> Account:
    """An account that is the same in every run."""
    secret = keccak_of(b"account %d" % number)
    return Account(secret, "0x" + keys.PrivateKey(secret).public_key.to_canonical_address().hex())


class Evm(ABC):
    """The chain, and accounts that have plenty. Gas costs nothing unless it is said, so that balances add up."""

    def __init__(self, *, ether: int = 1_000_000) -> None:
        self.base_fee_wei = 0
        self.accounts = tuple(account(number) for number in range(ACCOUNTS))
        for one in self.accounts:
            self.set_balance(one.address, ether * ETHER)
        self._contracts: dict[str, Contract] = {}

    # What each chain does in its own way.

    @property
    @abstractmethod
    def block(self) -> int:
        """The number of the last block."""

    @property
    @abstractmethod
    def clock_s(self) -> int:
        """The time of the last block."""

    @abstractmethod
    def block_hash(self, number: int) -> bytes:
        """The hash of a block that there is."""

    @abstractmethod
    def balance(self, address: str) -> int:
        """In wei."""

    @abstractmethod
    def set_balance(self, address: str, wei: int) -> None:
        """Out of thin air."""

    @abstractmethod
    def nonce(self, address: str) -> int:
        """Of an account's next transaction."""

    @abstractmethod
    def mine(self, blocks: int = 1) -> None:
        """Empty blocks, or with what waits."""

    @abstractmethod
    def pass_time(self, seconds: int) -> None:
        """Let the next block be so much later."""

    @abstractmethod
    def snapshot(self) -> int:
        """For `revert`."""

    @abstractmethod
    def revert(self, snapshot: int) -> None:
        """Put everything back; a snapshot serves once."""

    @abstractmethod
    def take(self, raw: bytes) -> Sent:
        """Mine a signed transaction. Raises `Reverted` with the reason, or `Refused` if it could not be sent."""

    @abstractmethod
    def call(self, to: str, data: bytes, *, sender: Account | None = None, value: int = 0) -> bytes:
        """What a call gives, without a transaction. Raises `Reverted` with the reason."""

    @abstractmethod
    def logs(self, address: str, since: int) -> list[tuple[int, Log]]:
        """What a contract has said from a block on, each with the block."""

    def view(self, to: str, data: bytes, *, sender: Account | None = None, value: int = 0) -> bytes:
        """The same as `call`, of a function that changes nothing."""
        return self.call(to, data, sender=sender, value=value)

    # What follows from that.

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What happens inside has not happened afterwards."""
        snapshot = self.snapshot()
        try:
            yield
        finally:
            self.revert(snapshot)

    def deploy(
        self, artifact: Mapping[str, Any], *args: object, sender: Account | None = None, value: int = 0
    ) -> Contract:
        """A new contract."""
        code = bytes.fromhex(str(artifact["bytecode"]).removeprefix("0x"))
        inputs = next((row["inputs"] for row in artifact["abi"] if row["type"] == "constructor"), ())
        sent = self.send(None, code + encode(_types(inputs), args), sender=sender, value=value)
        assert sent.created
        return self.at(sent.created, artifact["abi"])

    def at(self, address: str, abi: Sequence[Mapping[str, Any]]) -> Contract:
        """A contract that is there already."""
        contract = self._contracts[address] = Contract(self, address, abi)
        return contract

    def send(
        self,
        to: str | None,
        data: bytes = b"",
        *,
        sender: Account | None = None,
        value: int = 0,
        gas: int = GAS_MAX,
        tip: int = 0,
    ) -> Sent:
        """Sign, send and mine. Raises what `take` raises."""
        return self.take(self.sign(to, data, sender=sender, value=value, gas=gas, tip=tip))

    def sign(
        self,
        to: str | None,
        data: bytes = b"",
        *,
        sender: Account | None = None,
        value: int = 0,
        gas: int = GAS_MAX,
        tip: int = 0,
        nonce: int | None = None,
        fee: int | None = None,
    ) -> bytes:
        """A transaction as it travels."""
        who = sender or self.accounts[0]
        fields = {
            "chain_id": CHAIN_ID,
            "nonce": self.nonce(who.address) if nonce is None else nonce,
            "max_priority_fee_per_gas": tip,
            "max_fee_per_gas": self.base_fee_wei + tip if fee is None else fee,
            "gas": gas,
            "to": b"" if to is None else bytes.fromhex(to[2:]),
            "value": value,
            "data": data,
            "access_list": (),
        }
        return sign(who.secret, fields)

    def events(self, logs: Sequence[Log], block: int) -> tuple[Emitted, ...]:
        """Of all that contracts have said, what those that were deployed here have."""
        known = [(self._contracts.get("0x" + log.address.hex()), log) for log in logs]
        events = [contract.read(log, block) for contract, log in known if contract is not None]
        return tuple(event for event in events if event is not None)


class Contract:
    """A contract on the chain, by its ABI."""

    def __init__(self, evm: Evm, address: str, abi: Sequence[Mapping[str, Any]]) -> None:
        self.evm = evm
        self.address = address
        self._functions: dict[str, list[Mapping[str, Any]]] = {}
        self._events: dict[bytes, Mapping[str, Any]] = {}
        for row in abi:
            if row["type"] == "function":
                self._functions.setdefault(row["name"], []).append(row)
            elif row["type"] == "event":
                self._events[keccak_of(_signature(row))] = row

    def call(self, name: str, *args: object, sender: Account | None = None, value: int = 0) -> Any:
        """What a function gives: nothing, one value, or a tuple. Addresses are small hex."""
        row = self._function(name, args)
        ask = self.evm.view if row["stateMutability"] in ("view", "pure") else self.evm.call
        output = ask(self.address, self._data(row, args), sender=sender, value=value)
        values = decode(_types(row["outputs"]), output)
        return values[0] if len(values) == 1 else (values or None)

    def send(
        self,
        name: str,
        *args: object,
        sender: Account | None = None,
        value: int = 0,
        gas: int = GAS_MAX,
        tip: int = 0,
    ) -> Sent:
        """Call a function in a transaction of its own."""
        data = self.data(name, *args)
        return self.evm.send(self.address, data, sender=sender, value=value, gas=gas, tip=tip)

    def data(self, name: str, *args: object) -> bytes:
        """A call of a function, as bytes."""
        return self._data(self._function(name, args), args)

    def events(self, name: str = "", *, since: int = 0) -> list[Emitted]:
        """What it has said, from a block on."""
        events = [self.read(log, block) for block, log in self.evm.logs(self.address, since)]
        return [event for event in events if event is not None and name in ("", event.name)]

    def read(self, log: Log, block: int) -> Emitted | None:
        """A log as an event; None if it is none of this ABI's."""
        row = self._events.get(log.topics[0]) if log.topics else None
        if row is None:
            return None
        inputs = row["inputs"]
        plain = iter(decode(_types([one for one in inputs if not one["indexed"]]), log.data))
        topics = iter(log.topics[1:])
        args = {}
        for one in inputs:
            if not one["indexed"]:
                args[one["name"]] = next(plain)
            elif one["type"] in ("string", "bytes") or one["type"].endswith("]"):
                args[one["name"]] = next(topics)
            else:
                args[one["name"]] = decode([one["type"]], next(topics))[0]
        return Emitted(row["name"], args, self.address, block)

    def _function(self, name: str, args: Sequence[object]) -> Mapping[str, Any]:
        rows = [row for row in self._functions.get(name, ()) if len(row["inputs"]) == len(args)]
        assert rows, f"there is no {name} of {len(args)} arguments, but {', '.join(self._functions)}"
        return rows[0]

    def _data(self, row: Mapping[str, Any], args: Sequence[object]) -> bytes:
        return keccak_of(_signature(row))[:4] + encode(_types(row["inputs"]), args)


def _signature(row: Mapping[str, Any]) -> bytes:
    return f"{row['name']}({','.join(_types(row['inputs']))})".encode()


def _types(inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    return [_type(one) for one in inputs]


def _type(one: Mapping[str, Any]) -> str:
    """A tuple as the words of its parts: `tuple[]` of an address and a number is `(address,uint256)[]`."""
    kind = str(one["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_types(one['components']))}){kind.removeprefix('tuple')}"
