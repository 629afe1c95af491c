"""Transactions that are in no block yet, and which of them come next.

A sender's own stay in the order of their nonces; between senders the better price goes first. Who sends the same
nonce again must pay a tenth more.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from shoal.chain.local.execution import Transaction
from shoal.errors import Busy, Refused

TRANSACTIONS_MAX = 4_096
OF_ONE_SENDER_MAX = 256
#: What a second transaction of the same nonce pays at least, of the first one's price.
REPLACEMENT_PER_CENT = 110


class Pool:
    """What waits."""

    def __init__(self) -> None:
        self._by_hash: dict[bytes, tuple[int, Transaction]] = {}
        self._by_sender: dict[bytes, dict[int, Transaction]] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._by_hash)

    def __iter__(self) -> Iterator[Transaction]:
        return (transaction for _, transaction in self._by_hash.values())

    def get(self, digest: bytes) -> Transaction | None:
        """One that waits, by its hash."""
        found = self._by_hash.get(digest)
        return None if found is None else found[1]

    def add(self, transaction: Transaction) -> Transaction | None:
        """Take it in; which one it replaces. Raises `Refused` or `Busy`, with nothing changed."""
        if transaction.hash in self._by_hash:
            raise Refused("already known")
        queue = self._by_sender.get(transaction.sender, {})
        old = queue.get(transaction.nonce)
        if old is not None:
            for price, least in (
                (transaction.max_fee_wei, old.max_fee_wei),
                (transaction.tip_wei, old.tip_wei),
            ):
                if price * 100 < least * REPLACEMENT_PER_CENT:
                    raise Refused(
                        "replacement transaction underpriced: it must pay a tenth more, in both prices"
                    )
            self.drop(old)
        elif len(self._by_hash) >= TRANSACTIONS_MAX or len(queue) >= OF_ONE_SENDER_MAX:
            raise Busy("txpool is full: mine a block first")
        self._arrivals += 1
        self._by_hash[transaction.hash] = (self._arrivals, transaction)
        self._by_sender.setdefault(transaction.sender, {})[transaction.nonce] = transaction
        return old

    def drop(self, transaction: Transaction) -> None:
        """It waits no more."""
        del self._by_hash[transaction.hash]
        queue = self._by_sender[transaction.sender]
        del queue[transaction.nonce]
        if not queue:
            del self._by_sender[transaction.sender]

    def next_nonce(self, sender: bytes, nonce: int) -> int:
        """The first nonce from this one on that no waiting transaction has."""
        queue = self._by_sender.get(sender, {})
        while nonce in queue:
            nonce += 1
        return nonce

    def stale(self, nonce: Callable[[bytes], int]) -> list[Transaction]:
        """Those whose nonce has been used by another."""
        return [
            transaction
            for sender, queue in self._by_sender.items()
            for transaction in queue.values()
            if transaction.nonce < nonce(sender)
        ]

    def take(
        self, nonce: Callable[[bytes], int], base_fee_wei: int, run: Callable[[Transaction], bool]
    ) -> None:
        """Run what can be run, the best first; a sender whose transaction was not run has to wait."""
        heap: list[tuple[int, int, bytes]] = []

        def push(sender: bytes, number: int) -> None:
            transaction = self._by_sender[sender].get(number)
            if transaction is not None and transaction.max_fee_wei >= base_fee_wei:
                tip_wei = transaction.gas_price_wei(base_fee_wei) - base_fee_wei
                heapq.heappush(heap, (-tip_wei, self._by_hash[transaction.hash][0], transaction.hash))

        for sender in self._by_sender:
            push(sender, nonce(sender))
        while heap:
            transaction = self._by_hash[heapq.heappop(heap)[2]][1]
            if run(transaction):
                push(transaction.sender, transaction.nonce + 1)
