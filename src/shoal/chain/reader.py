"""Reading a chain: each question a function, each answer a value with a type.

It changes nothing on chain and remembers nothing. `at` is a block's number, or
None for the newest; what is read in several steps may come from several blocks
unless the caller says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from shoal.chain.abi import EventKind, Log, Method, read_log
from shoal.chain.bindings import Bonding, Payouts, Rounds, TicketBroker
from shoal.chain.config import Deployment, require
from shoal.chain.rpc import Json, NodeRefused, Rpc
from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.money.funds import FundsSeen
from shoal.money.ticket import Ticket

NOBODY = NodeId("0x" + 40 * "0")
#: How much an answer may be asked for at once; nodes refuse more.
LOG_BLOCKS_MAX = 2_000


class Block(Struct, frozen=True):
    """The head of one block."""

    number: int
    hash: str
    parent: str
    #: None where there is no market of fees.
    base_fee_wei: int | None


class Receipt(Struct, frozen=True):
    """What became of a transaction."""

    transaction: str
    block: int
    block_hash: str
    good: bool
    fee_wei: int
    logs: tuple[Json, ...]


class RoundSeen(Struct, frozen=True):
    """The rounds as they stand: the last initialised one and, by its block's hash, what tickets are dated with."""

    block: int
    current: int
    initialised: bool
    last: int
    last_hash: bytes


class Reader:
    """One chain and its contracts."""

    def __init__(self, rpc: Rpc, contracts: Deployment) -> None:
        self.rpc = rpc
        self.contracts = contracts

    # Blocks and accounts

    async def chain_id(self) -> int:
        """The chain's number. Raises `Refused` if the settings say another."""
        found = whole(await self.rpc.ask("eth_chainId"))
        if self.contracts.chain_id not in (0, found):
            raise Refused(
                f"{self.rpc.name} is chain {found}, and the settings say {self.contracts.chain_id}: "
                "is it the right node?"
            )
        return found

    async def block(self, at: int | None = None) -> Block | None:
        """A block's head; None if there is none of this number."""
        found = await self.rpc.ask("eth_getBlockByNumber", tag(at), False)
        return None if found is None else _block(found)

    async def head(self) -> Block:
        """The newest block's head."""
        found = await self.block()
        if found is None:
            raise NodeRefused(f"{self.rpc.name} has no block at all")
        return found

    async def balance_wei(self, account: NodeId, at: int | None = None) -> int:
        """What an account holds."""
        return whole(await self.rpc.ask("eth_getBalance", account, tag(at)))

    async def nonce(self, account: NodeId, at: int | None = None) -> int:
        """How many transactions of an account the chain has taken."""
        return whole(await self.rpc.ask("eth_getTransactionCount", account, tag(at)))

    async def gas_price_wei(self) -> int:
        """What a unit of gas costs now, by the node's own judgement."""
        return whole(await self.rpc.ask("eth_gasPrice"))

    async def tip_wei(self) -> int:
        """What miners take on top of the base fee; 0 where the node does not say."""
        try:
            return whole(await self.rpc.ask("eth_maxPriorityFeePerGas"))
        except NodeRefused:
            return 0

    async def receipt(self, transaction: str) -> Receipt | None:
        """What became of a transaction; None while the chain has not taken it."""
        found = await self.rpc.ask("eth_getTransactionReceipt", transaction)
        return None if found is None or found.get("blockNumber") is None else _receipt(found)

    # Contracts

    async def call(self, address: NodeId, method: Method, *values: object, at: int | None = None) -> Any:
        """One value, or several in a tuple. Raises `Reverted` with the contract's reason."""
        question = {"to": address, "data": "0x" + method.call(*values).hex()}
        found = method.values(raw(await self.rpc.ask("eth_call", question, tag(at))))
        return found[0] if len(found) == 1 else found

    async def logs(self, address: NodeId, kinds: Mapping[str, EventKind], first: int, last: int) -> list[Log]:
        """A contract's logs of these kinds (by topic) in these blocks, in their order."""
        found = []
        for start in range(first, last + 1, LOG_BLOCKS_MAX):
            end = min(start + LOG_BLOCKS_MAX - 1, last)
            question = {
                "address": address,
                "fromBlock": tag(start),
                "toBlock": tag(end),
                "topics": [list(kinds)],
            }
            found += [read_log(log, kinds) for log in await self.rpc.ask("eth_getLogs", question)]
        logs = [log for log in found if log is not None]
        return sorted(logs, key=lambda log: (log.block, log.index))

    async def rounds(self, at: int | None = None) -> RoundSeen:
        """How the rounds stand. Where the last one has no block hash, it is the round before it."""
        rounds = require(self.contracts.rounds, "Rounds")
        block = int(await self.call(rounds, Rounds.block_number, at=at))
        current = int(await self.call(rounds, Rounds.current_round, at=at))
        last = int(await self.call(rounds, Rounds.last_initialised_round, at=at))
        initialised = bool(await self.call(rounds, Rounds.initialised, at=at))
        hashed = bytes(await self.call(rounds, Rounds.block_hash_for_round, last, at=at))
        if not any(hashed) and last > 0:
            last -= 1
            hashed = bytes(await self.call(rounds, Rounds.block_hash_for_round, last, at=at))
        return RoundSeen(block, current, initialised, last, hashed)

    async def pool_size(self, at: int | None = None) -> int:
        """How many recipients share each sender's reserve."""
        bonding = require(self.contracts.bonding, "Bonding")
        return int(await self.call(bonding, Bonding.pool_size, at=at))

    async def funds(self, sender: NodeId, recipient: NodeId, at: int | None = None) -> FundsSeen:
        """A sender's money in the broker, as one recipient can claim it."""
        broker = require(self.contracts.ticket_broker, "TicketBroker")
        (deposit, withdraw_round), (reserve, claimed) = await self.call(
            broker, TicketBroker.sender_info, sender, at=at
        )
        mine = 0
        if claimed:
            mine = await self.call(broker, TicketBroker.claimed_reserve, sender, recipient, at=at)
        return FundsSeen(sender, deposit, reserve, mine, withdraw_round, claimed)

    async def claimable_wei(self, sender: NodeId, recipient: NodeId, at: int | None = None) -> int:
        """What of a sender's reserve one recipient can claim now."""
        broker = require(self.contracts.ticket_broker, "TicketBroker")
        return int(await self.call(broker, TicketBroker.claimable_reserve, sender, recipient, at=at))

    async def paid_wei(self, operator: NodeId, worker: NodeId, at: int | None = None) -> int:
        """All that an operator has ever paid a worker."""
        payouts = require(self.contracts.payouts, "Payouts")
        return int(await self.call(payouts, Payouts.paid_to, operator, worker, at=at))


def ticket_tuple(ticket: Ticket) -> tuple[object, ...]:
    """A ticket as the contract takes it."""
    return (
        ticket.recipient,
        ticket.sender,
        ticket.face_wei,
        int.from_bytes(ticket.win_prob),
        ticket.nonce,
        ticket.recipient_rand_hash,
        ticket.aux_data,
    )


def tag(at: int | None) -> str:
    """A block as nodes name it."""
    return "latest" if at is None else hex(at)


def whole(answer: Json) -> int:
    """A number from a node's hex."""
    try:
        return int(answer, 16)
    except (TypeError, ValueError) as error:
        raise NodeRefused(f"the Ethereum node answered {answer!r}, which is no number") from error


def raw(answer: Json) -> bytes:
    """Bytes from a node's hex."""
    try:
        return bytes.fromhex(answer.removeprefix("0x"))
    except (AttributeError, TypeError, ValueError) as error:
        raise NodeRefused(f"the Ethereum node answered {answer!r}, which are no bytes") from error


def _block(found: Mapping[str, Json]) -> Block:
    try:
        base_fee = found.get("baseFeePerGas")
        return Block(
            int(found["number"], 16),
            found["hash"],
            found["parentHash"],
            None if base_fee is None else int(base_fee, 16),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NodeRefused(f"the Ethereum node answered with what is no block: {error}") from error


def _receipt(found: Mapping[str, Json]) -> Receipt:
    try:
        price = int(found.get("effectiveGasPrice") or "0x0", 16)
        return Receipt(
            found["transactionHash"],
            int(found["blockNumber"], 16),
            found["blockHash"],
            int(found.get("status", "0x1"), 16) == 1,
            int(found["gasUsed"], 16) * price,
            tuple(found.get("logs", ())),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NodeRefused(f"the Ethereum node answered with what is no receipt: {error}") from error
