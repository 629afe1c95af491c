"""Who puts the contracts on a local chain, gives everybody their play money, and opens each round in its first block.

Its key is known to all and guards nothing. Each of its first transactions is one step of the founding, told by its
nonce: a process that is killed in the middle goes on where it was, and the addresses are the same on every computer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import msgspec
from eth_abi import encode
from msgspec import Struct

from shoal.chain.local.chain import LocalChain
from shoal.chain.local.config import Settings
from shoal.chain.local.execution import NOBODY, Call, address_of, created_address, keccak_of, sign
from shoal.chain.local.refusal import failure
from shoal.errors import Failed, Refused

ETHER_WEI = 10**18
#: Whoever reads this can spend what it has: it is the same on every computer, like the accounts of other local chains.
SECRET = keccak_of(b"shoal local chain: keeper")
KEEPER = address_of(SECRET)
KEEPER_ETHER = 10**9
CALL_GAS = 1_000_000
DEPLOY_GAS = 10_000_000
#: Enough to come first in its block.
OPENING_TIP_WEI = 10**12

#: By what the controller knows them.
TITLES = {
    "TicketBroker": "TicketBroker",
    "Rounds": "RoundsManager",
    "Bonding": "BondingManager",
    "ServiceRegistry": "ServiceRegistry",
    "Token": "LivepeerToken",
}
#: In the order in which they are made: each but the first needs some before it.
CONTRACTS = ("Controller", "Rounds", "Token", "Bonding", "TicketBroker", "ServiceRegistry", "Payouts")
ADDRESSES = {name: created_address(KEEPER, nonce) for nonce, name in enumerate(CONTRACTS)}


class Artifact(Struct, frozen=True):
    """A compiled contract."""

    bytecode: str


class Step(Struct, frozen=True):
    """One transaction of the founding."""

    what: str
    to: bytes | None
    data: bytes


@cache
def bytecode(name: str) -> bytes:
    """What makes a contract."""
    text = files("shoal.chain.contracts").joinpath(f"{name}.json").read_bytes()
    return bytes.fromhex(msgspec.json.decode(text, type=Artifact).bytecode.removeprefix("0x"))


def calldata(signature: str, *values: object) -> bytes:
    """A call of `name(type,type)`."""
    types = signature[signature.index("(") + 1 : -1]
    return keccak_of(signature.encode())[:4] + bytes(encode(types.split(",") if types else [], values))


def steps(settings: Settings) -> Iterator[Step]:
    """The founding, in its order."""
    address = ADDRESSES
    made: dict[str, tuple[tuple[str, ...], tuple[object, ...]]] = {
        "Controller": ((), ()),
        "Rounds": (("uint256",), (settings.round_blocks,)),
        "Token": ((), ()),
        "Bonding": (
            ("address", "address", "uint64", "uint256"),
            (address["Token"], address["Rounds"], settings.unbonding_rounds, settings.pool_max),
        ),
        "TicketBroker": (
            ("address", "address", "address", "uint256", "uint256"),
            (
                *(address["Controller"], address["Rounds"], address["Bonding"]),
                *(settings.unlock_rounds, settings.ticket_rounds),
            ),
        ),
        "ServiceRegistry": (("address",), (address["Controller"],)),
        "Payouts": ((), ()),
    }
    for name in CONTRACTS:
        types, values = made[name]
        yield Step(name, None, bytecode(name) + encode(types, values))
    for name, title in TITLES.items():
        naming = calldata(
            "setContractInfo(bytes32,address,bytes20)", keccak_of(title.encode()), address[name], bytes(20)
        )
        yield Step(f"naming {name}", address["Controller"], naming)
    yield Step("the token's minter", address["Token"], calldata("setMinter(address)", KEEPER))


class Keeper:
    """Keeps one chain."""

    def __init__(self, chain: LocalChain) -> None:
        self._chain = chain
        self._open_round: int | None = None
        self._last_block = 0

    def found(self, settings: Settings) -> None:
        """Put the contracts there, as far as they are not, and open the first round."""
        self._chain.give({KEEPER: KEEPER_ETHER * ETHER_WEI})
        done = self._chain.accounts().nonce(KEEPER)
        for nonce, step in enumerate(steps(settings)):
            if nonce >= done:
                self._send(step.what, step.to, step.data)
        self._start_block = self._ask("lastRoundLengthUpdateStartBlock()")
        self.round_blocks = self._ask("roundLength()")
        self._chain.before_block = self.open_round
        if self._ask("currentRoundInitialized()") == 0:
            self._chain.mine()

    def fund(self, accounts: dict[str, str], ether: int, tokens: int) -> None:
        """Give everybody what they shall begin with; nobody is given it twice."""
        given = {name: _address(name, text) for name, text in accounts.items()}
        new = self._chain.give(dict.fromkeys(given.values(), ether * ETHER_WEI))
        for address in new if tokens else ():
            mint = calldata("mint(address,uint256)", address, tokens * ETHER_WEI)
            self._send("minting", ADDRESSES["Token"], mint)

    def open_round(self, number: int) -> bytes | None:
        """What opens the round of the block with this number, if that has to be done: called before each block."""
        if number <= self._last_block:
            self._open_round = None  # the chain has been put back
        self._last_block = number
        current = 1 + (number - self._start_block) // self.round_blocks
        if current == self._open_round:
            return None
        if current == self._ask("lastInitializedRound()"):
            self._open_round = current
            return None
        return self._sign(ADDRESSES["Rounds"], calldata("initializeRound()"), CALL_GAS, OPENING_TIP_WEI)

    def _ask(self, signature: str) -> int:
        outcome = self._chain.call(Call(NOBODY, ADDRESSES["Rounds"], calldata(signature), 0, CALL_GAS))
        if not outcome.success:
            raise failure(outcome)
        return int.from_bytes(outcome.output)

    def _send(self, what: str, to: bytes | None, data: bytes) -> None:
        digest = self._chain.send(self._sign(to, data, DEPLOY_GAS))
        if self._chain.entry(digest) is None:
            self._chain.mine()
        if not self._chain.receipt(digest).success:
            raise Failed(f"{what} failed on the local chain: {failure(self._chain.again(digest)).message}")

    def _sign(self, to: bytes | None, data: bytes, gas: int, tip_wei: int = 0) -> bytes:
        fields = {
            "chain_id": self._chain.chain_id,
            "nonce": self._chain.accounts().nonce(KEEPER),
            "max_priority_fee_per_gas": tip_wei,
            "max_fee_per_gas": self._chain.base_fee_wei + tip_wei,
            "gas": gas,
            "to": to or b"",
            "value": 0,
            "data": data,
            "access_list": (),
        }
        return sign(SECRET, fields)


def note(chain: LocalChain, settings: Settings, url: str, round_blocks: int) -> bytes:
    """What `chain.json` says: where the chain is, and what is on it."""
    contracts = {name: "0x" + address.hex() for name, address in ADDRESSES.items() if settings.contracts}
    value = {
        "rpc_url": url,
        "chain_id": chain.chain_id,
        "block_ms": settings.block_ms,
        "round_blocks": round_blocks,
        "contracts": contracts,
        "accounts": settings.accounts,
    }
    return json.dumps(value, indent=2).encode() + b"\n"


def _address(name: str, text: str) -> bytes:
    try:
        address = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        address = b""
    if len(address) != len(NOBODY):
        raise Refused(f"accounts: {name} is {text!r}, it takes an address: 0x and 40 hex digits")
    return address
