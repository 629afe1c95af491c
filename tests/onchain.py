"""Every contract on a chain that judges them, and tickets for them.

Tickets are hashed, signed and drawn here as the rules say, with none of the code that is to keep those rules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from Crypto.Hash import keccak
from msgspec import Struct
from msgspec.structs import replace

from evm import ETHER, Account, Contract, Evm, Reverted, account

ROOT = Path(__file__).parents[1]
#: Where contracts and what they compile to lie.
CONTRACTS = ROOT / "src/shoal/chain/contracts"
SHELVES = (CONTRACTS, ROOT / "tests/contracts")

ALWAYS = 2**256 - 1
NOBODY = "0x" + "00" * 20
ROUND_BLOCKS = 60
UNLOCK_ROUNDS = 2
VALID_ROUNDS = 2
UNBONDING_ROUNDS = 3
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def artifact(name: str) -> dict[str, Any]:
    """What a contract compiles to."""
    path = next(shelf / f"{name}.json" for shelf in SHELVES if (shelf / f"{name}.json").exists())
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def keccak256(data: bytes) -> bytes:
    """The hash that all of this stands on."""
    return keccak.new(digest_bits=256, data=data).digest()


def refusal(contract: Contract, name: str, *args: object, **more: Any) -> str:
    """Why a contract refuses a transaction; "" if it does not, "execution reverted" if it does not say."""
    try:
        contract.send(name, *args, **more)
    except Reverted as error:
        return error.message.removeprefix("execution reverted: ")
    return ""


class Draw(Struct, frozen=True):
    """A ticket, its signature and the number that it is drawn with."""

    signer: Account
    recipient: str
    sender: str
    face_value: int
    win_prob: int
    nonce: int
    rand: int
    rand_hash: bytes
    aux_data: bytes
    #: What is signed, if it is not this ticket.
    signature: bytes = b""

    @property
    def ticket(self) -> tuple[object, ...]:
        """As the contract takes it."""
        amounts = (self.face_value, self.win_prob, self.nonce)
        return (self.recipient, self.sender, *amounts, self.rand_hash, self.aux_data)

    @property
    def hash(self) -> bytes:
        """The name by which the contract knows it."""
        addresses = bytes.fromhex(self.recipient[2:] + self.sender[2:])
        amounts = b"".join(word.to_bytes(32) for word in (self.face_value, self.win_prob, self.nonce))
        return keccak256(addresses + amounts + self.rand_hash + self.aux_data)

    @property
    def signed(self) -> bytes:
        """Its signature."""
        return self.signature or sign(self.signer, self.hash)

    @property
    def wins(self) -> bool:
        """Whether it wins."""
        return int.from_bytes(keccak256(self.signed + self.rand.to_bytes(32))) < self.win_prob

    @property
    def args(self) -> tuple[object, ...]:
        """What `redeemWinningTicket` takes."""
        return self.ticket, self.signed, self.rand

    def but(self, **changes: Any) -> Draw:
        """The same with something else about it, signed anew unless a signature is given."""
        return replace(self, **changes)


def sign(account: Account, hash32: bytes) -> bytes:
    """A hash as a personal message: r, s and v of 27 or 28."""
    digest = keccak256(b"\x19Ethereum Signed Message:\n32" + hash32)
    signature = PrivateKey(account.secret).sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes([27 + signature[64]])


def other_form(signature: bytes) -> bytes:
    """The second signature that says the same, which anybody can make of the first: its s is high."""
    high = ORDER - int.from_bytes(signature[32:64])
    return signature[:32] + high.to_bytes(32) + bytes([55 - signature[64]])


class Onchain:
    """A deployment, with its first round open, and a few who have plenty of ether and tokens."""

    def __init__(self, evm: Evm, *, pool_max: int = 3, round_blocks: int = ROUND_BLOCKS) -> None:
        self.evm = evm
        self.evm.mine(2)
        self.round_blocks = round_blocks
        self.owner, *self.people = self.evm.accounts
        self.controller = self.deploy("Controller")
        self.rounds = self.deploy("Rounds", round_blocks)
        self.token = self.deploy("Token")
        self.bonding = self.deploy(
            "Bonding", self.token.address, self.rounds.address, UNBONDING_ROUNDS, pool_max
        )
        places = (self.controller.address, self.rounds.address, self.bonding.address)
        self.broker = self.deploy("TicketBroker", *places, UNLOCK_ROUNDS, VALID_ROUNDS)
        self.registry = self.deploy("ServiceRegistry", self.controller.address)
        self.payouts = self.deploy("Payouts")
        self.token.send("setMinter", self.owner.address)
        self.rounds.send("initializeRound")

    def deploy(self, name: str, *args: object) -> Contract:
        """A contract by its name."""
        return self.evm.deploy(artifact(name), *args)

    def crowd(self, count: int) -> list[Account]:
        """More people, with ether of their own."""
        people = [account(1_000 + number) for number in range(count)]
        for one in people:
            self.evm.set_balance(one.address, ETHER)
        return people

    def next_round(self, rounds: int = 1, *, initialise: bool = True) -> None:
        """Let rounds go by, and open the last."""
        self.evm.mine(
            self.rounds.call("currentRoundStartBlock") + rounds * self.round_blocks - self.evm.block
        )
        if initialise:
            self.rounds.send("initializeRound")

    @property
    def round(self) -> int:
        """The current round."""
        number: int = self.rounds.call("currentRound")
        return number

    def stake(self, who: Account, amount: int) -> None:
        """Give somebody tokens, which they bond."""
        self.token.send("mint", who.address, amount)
        self.token.send("approve", self.bonding.address, 2**256 - 1, sender=who)
        self.bonding.send("bond", amount, who.address, sender=who)

    def aux_data(self, round_: int | None = None) -> bytes:
        """What a ticket of a round says about when it was made."""
        number = self.round if round_ is None else round_
        block_hash: bytes = self.rounds.call("blockHashForRound", number)
        return number.to_bytes(32) + block_hash

    def draw(self, sender: Account, recipient: str, face_value: int = 10, *, nonce: int = 1) -> Draw:
        """A ticket that wins."""
        rand = 1_000_000 + nonce
        return Draw(
            signer=sender,
            recipient=recipient,
            sender=sender.address,
            face_value=face_value,
            win_prob=ALWAYS,
            nonce=nonce,
            rand=rand,
            rand_hash=keccak256(rand.to_bytes(32)),
            aux_data=self.aux_data(),
        )
