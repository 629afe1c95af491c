"""Blocks and receipts, and the hashes by which everybody else would know them.

A block is sealed once and never changes. Its hashes are Ethereum's own; its base fee follows no rule but its maker's.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth.db.trie import make_trie_root_and_nodes
from eth.vm.forks.prague.blocks import PragueBlockHeader
from msgspec import Struct
from rlp import encode

from shoal.chain.local.execution import EMPTY_ROOT, NO_HASH, NOBODY, Around, Log, Outcome, Transaction

BLOOM_BYTES = 256
#: A list in RLP that is shorter has a head of one byte.
SHORT_BYTES = 56


class Receipt(Struct, frozen=True):
    """What came of a transaction, in its block."""

    transaction: bytes
    position: int
    kind: int
    sender: bytes
    to: bytes | None
    #: Where the contract is that it was to make, also if that failed.
    created: bytes | None
    success: bool
    gas_used: int
    #: Of the block, up to and with this one.
    gas_used_so_far: int
    gas_price_wei: int
    logs: tuple[Log, ...]
    #: Where its first log stands among those of the block.
    log_position: int
    bloom: bytes


class Block(Struct, frozen=True):
    """A block without its transactions, which it names."""

    number: int
    hash: bytes
    parent: bytes
    state_root: bytes
    transaction_root: bytes
    receipt_root: bytes
    bloom: bytes
    timestamp_s: int
    base_fee_wei: int
    gas_limit: int
    gas_used: int
    randomness: bytes
    extra: bytes
    #: As it would travel.
    size_bytes: int
    transactions: tuple[bytes, ...]


class Draft:
    """A block in the making."""

    def __init__(self, around: Around) -> None:
        self.around = around
        self.gas_used = 0
        self.transactions: list[Transaction] = []
        self.receipts: list[Receipt] = []
        self._receipts: list[object] = []
        self._logs = 0
        self._bloom = 0

    def add(self, transaction: Transaction, outcome: Outcome) -> None:
        """The next transaction, and what came of it."""
        self.gas_used += outcome.gas_used
        logs = [
            (log.address, [int.from_bytes(topic) for topic in log.topics], log.data) for log in outcome.logs
        ]
        receipt = transaction.signed.make_receipt(b"\x01" if outcome.success else b"", self.gas_used, logs)
        bloom = int(receipt.bloom)
        self.receipts.append(
            Receipt(
                transaction=transaction.hash,
                position=len(self.transactions),
                kind=transaction.kind,
                sender=transaction.sender,
                to=transaction.to,
                created=transaction.creates,
                success=outcome.success,
                gas_used=outcome.gas_used,
                gas_used_so_far=self.gas_used,
                gas_price_wei=transaction.gas_price_wei(self.around.base_fee_wei),
                logs=outcome.logs,
                log_position=self._logs,
                bloom=bloom.to_bytes(BLOOM_BYTES),
            )
        )
        self.transactions.append(transaction)
        self._receipts.append(receipt)
        self._logs += len(logs)
        self._bloom |= bloom

    def seal(self, parent: bytes, state_root: bytes, extra: bytes) -> Block:
        """The block, once everything is in it."""
        around = self.around
        transaction_root = _root([transaction.signed for transaction in self.transactions])
        receipt_root = _root(self._receipts)
        header = PragueBlockHeader(
            difficulty=0,
            block_number=around.number,
            gas_limit=around.gas_limit,
            timestamp=around.timestamp_s,
            coinbase=NOBODY,
            parent_hash=parent,
            state_root=state_root,
            transaction_root=transaction_root,
            receipt_root=receipt_root,
            bloom=self._bloom,
            gas_used=self.gas_used,
            extra_data=extra,
            mix_hash=around.randomness,
            nonce=bytes(8),
            base_fee_per_gas=around.base_fee_wei,
            parent_beacon_block_root=NO_HASH,
        )
        return Block(
            number=around.number,
            hash=bytes(header.hash),
            parent=parent,
            state_root=state_root,
            transaction_root=transaction_root,
            receipt_root=receipt_root,
            bloom=self._bloom.to_bytes(BLOOM_BYTES),
            timestamp_s=around.timestamp_s,
            base_fee_wei=around.base_fee_wei,
            gas_limit=around.gas_limit,
            gas_used=self.gas_used,
            randomness=around.randomness,
            extra=extra,
            size_bytes=self._size_bytes(header),
            transactions=tuple(transaction.hash for transaction in self.transactions),
        )

    def _size_bytes(self, header: PragueBlockHeader) -> int:
        transactions = [
            transaction.raw if transaction.kind == 0 else encode(transaction.raw)
            for transaction in self.transactions
        ]
        # Beside the transactions there are two empty lists, of uncles and of withdrawals.
        return _in_list_bytes(len(encode(header)) + _in_list_bytes(sum(map(len, transactions))) + 2)


def _in_list_bytes(size_bytes: int) -> int:
    """How long a list in RLP is, by what is in it."""
    head_bytes = 1 if size_bytes < SHORT_BYTES else 1 + (size_bytes.bit_length() + 7) // 8
    return head_bytes + size_bytes


def _root(items: Sequence[object]) -> bytes:
    return bytes(make_trie_root_and_nodes(tuple(items))[0]) if items else EMPTY_ROOT
