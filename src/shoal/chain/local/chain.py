"""A chain of one's own: it mines what it is sent, keeps every state that there was, and can be put back.

It signs nothing and waits for nothing; a block is made when somebody asks for one. What it has answered for is on
its shelf before the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec import Struct

from shoal.chain.local.blocks import Block, Draft, Receipt
from shoal.chain.local.execution import (
    EMPTY_ROOT,
    NO_HASH,
    Accounts,
    Around,
    Call,
    Log,
    Outcome,
    Transaction,
    keccak_of,
)
from shoal.chain.local.pool import Pool
from shoal.chain.local.refusal import failure
from shoal.chain.local.shelf import Entry, Shelf
from shoal.errors import NotFound, Refused
from shoal.units import SECOND_MS

CHAIN_ID = 31_337
BASE_FEE_WEI = 100_000_000
GAS_LIMIT = 30_000_000
#: What BLOCKHASH can see.
ANCESTORS = 256
TRANSACTION_BYTES_MAX = 128 * 1024
MINED_AT_ONCE_MAX = 20_000
SNAPSHOTS_MAX = 1_024
#: Of `latest`: how far back a block is taken for safe, and for final.
SAFE_BLOCKS = 32
FINAL_BLOCKS = 64
#: A transfer's gas: less is never enough.
GAS_MIN = 21_000
#: An estimate may be so much too high, in parts per thousand.
ESTIMATE_SLACK = 15


class Found(Struct, frozen=True):
    """A log and where it stands."""

    block: Block
    receipt: Receipt
    #: Among the logs of its block.
    position: int
    log: Log


class Snapshot(Struct, frozen=True):
    """What the chain is put back to."""

    block: bytes
    number: int
    shift_s: int
    base_fee_wei: int
    waiting: tuple[bytes, ...]


class LocalChain:
    """All of it, but for the door."""

    def __init__(
        self,
        shelf: Shelf,
        now_ms: Callable[[], int],
        *,
        chain_id: int = CHAIN_ID,
        base_fee_wei: int = BASE_FEE_WEI,
    ) -> None:
        """Go on from what is on the shelf, or begin with an empty block."""
        self.chain_id = chain_id
        self._shelf = shelf
        self._now_ms = now_ms
        self._snapshots: dict[int, Snapshot] = {}
        self._snapshots_made = 0
        self._default_fee_wei = base_fee_wei
        #: Called with the number of each block before it is made: a transaction that must be in it, if there is one.
        self.before_block: Callable[[int], bytes | None] = lambda number: None
        head = shelf.head()
        if head is None:
            with shelf.change():
                shelf.put_note("chain_id", chain_id)
                genesis = Draft(self._around(0, now_ms() // SECOND_MS, NO_HASH, base_fee_wei))
                shelf.put_block(genesis.seal(NO_HASH, EMPTY_ROOT, b""), (), ())
        elif shelf.note("chain_id", chain_id) != chain_id:
            raise Refused(f"this chain's id is {shelf.note('chain_id', chain_id)}, not {chain_id}")
        self._load()

    def _load(self) -> None:
        head = self._shelf.head()
        assert head is not None
        self.head = head
        note = self._shelf.note
        #: What the next block asks for a unit of gas, until somebody says otherwise.
        self.base_fee_wei = note("base_fee_wei", self._default_fee_wei)
        #: Whether a transaction makes a block.
        self.automine = bool(note("automine", 1))
        self._shift_s = note("shift_s", 0)
        self._made = note("made", 0)
        self.pool = Pool()
        for raw in self._shelf.waiting():
            self.pool.add(Transaction(raw))

    # What there is.

    def block(self, number: int) -> Block | None:
        """A block by its number."""
        return self.head if number == self.head.number else self._shelf.block(number)

    def block_of(self, digest: bytes) -> Block | None:
        """A block by its hash."""
        return self._shelf.block_of(digest)

    def entry(self, digest: bytes) -> Entry | None:
        """A transaction that is in a block."""
        return self._shelf.entry(digest)

    def entries(self, first: int, last: int) -> Iterator[Entry]:
        """All transactions of these blocks."""
        return self._shelf.entries(first, last)

    def receipt(self, digest: bytes) -> Receipt:
        """What came of a transaction. Raises `NotFound` while it is in no block."""
        entry = self._shelf.entry(digest)
        if entry is None:
            raise NotFound(f"transaction 0x{digest.hex()} is in no block")
        return entry.receipt

    def logs(
        self,
        first: int,
        last: int,
        addresses: Sequence[bytes] = (),
        topics: Sequence[Sequence[bytes]] = (),
    ) -> Iterator[Found]:
        """What contracts said in these blocks; an empty place in `topics` takes anything."""
        wanted = frozenset(addresses)
        block = self.head
        for entry in self._shelf.entries(first, last):
            for offset, log in enumerate(entry.receipt.logs):
                if (wanted and log.address not in wanted) or not _speaks_of(log, topics):
                    continue
                if block.number != entry.number:
                    found = self.block(entry.number)
                    assert found is not None
                    block = found
                yield Found(block, entry.receipt, entry.receipt.log_position + offset, log)

    def accounts(self, block: Block | None = None) -> Accounts:
        """All accounts as they stand after a block, the last one if none is named."""
        block = block or self.head
        around = self._around(block.number, block.timestamp_s, block.parent, block.base_fee_wei)
        return Accounts(
            self._shelf.nodes, block.state_root, around, self._shelf.hashes_before(block.number, ANCESTORS)
        )

    def nonce(self, address: bytes) -> int:
        """The nonce of an address's next transaction, after those that wait."""
        return self.pool.next_nonce(address, self.accounts().nonce(address))

    def call(self, call: Call, block: Block | None = None) -> Outcome:
        """What a call would give, after a block; of its failure too."""
        block = block or self.head
        # Who names no price is asked for none.
        fee_wei = block.base_fee_wei if call.gas_price_wei else 0
        around = self._around(block.number, block.timestamp_s, block.parent, fee_wei)
        accounts = Accounts(
            self._shelf.nodes, block.state_root, around, self._shelf.hashes_before(block.number, ANCESTORS)
        )
        return accounts.call(call)

    def estimate(self, call: Call, block: Block | None = None) -> int:
        """How much gas a call needs, and hardly more. Raises `Reverted` or `Refused` if none is enough."""
        most = self.call(call, block)
        if not most.success:
            raise failure(most)
        low, high = max(GAS_MIN, most.gas_used) - 1, call.gas
        # What is passed on to another contract is at most 63 of 64 parts of what is left.
        for likely in (most.gas_needed, (most.gas_needed + 2_300) * 64 // 63):
            if likely < high and self._suffices(call, likely, block):
                high = likely
                break
            low = min(likely, high - 1)
        while high - low > 1 and (high - low) * 1_000 > high * ESTIMATE_SLACK:
            middle = (low + high) // 2
            if self._suffices(call, middle, block):
                high = middle
            else:
                low = middle
        return high

    def _suffices(self, call: Call, gas: int, block: Block | None) -> bool:
        try:
            return self.call(Call(call.sender, call.to, call.data, call.value_wei, gas), block).success
        except Refused:
            return False

    def again(self, digest: bytes) -> Outcome:
        """What came of a transaction, with all that its receipt leaves out: run once more where it stood."""
        entry = self._shelf.entry(digest)
        if entry is None:
            raise NotFound(f"transaction 0x{digest.hex()} is in no block")
        block, before = self.block(entry.number), self.block(entry.number - 1)
        assert block is not None
        assert before is not None
        around = self._around(block.number, block.timestamp_s, block.parent, block.base_fee_wei)
        ancestors = self._shelf.hashes_before(block.number, ANCESTORS)
        accounts = Accounts(self._shelf.nodes, before.state_root, around, ancestors)
        for other in self._shelf.entries(entry.number, entry.number):
            outcome = accounts.execute(Transaction(other.raw))
            if other.receipt.transaction == digest:
                return outcome
        raise AssertionError("a transaction is in its block")

    # What changes it.

    def send(self, raw: bytes) -> bytes:
        """Take a signed transaction, and mine it at once if it can be; its hash. Raises `Refused` or `Busy`."""
        if len(raw) > TRANSACTION_BYTES_MAX:
            raise Refused(f"a transaction has at most {TRANSACTION_BYTES_MAX} bytes, this one {len(raw)}")
        transaction = Transaction(raw)
        self._require_sound(transaction)
        if self._shelf.entry(transaction.hash) is not None:
            raise Refused("already known")
        with self._change():
            self._take_in(transaction)
            if self.automine:
                self._mine_ready(transaction)
        return transaction.hash

    def mine(self, count: int = 1, interval_s: int = 0) -> None:
        """Make blocks, the first with whatever waits and can be run; `interval_s` lies between two."""
        if not 0 <= count <= MINED_AT_ONCE_MAX:
            raise Refused(f"at most {MINED_AT_ONCE_MAX} blocks at once, not {count}")
        with self._change():
            for number in range(count):
                if number and interval_s:
                    self._shift(interval_s)
                self._mine()

    def set_base_fee_wei(self, base_fee_wei: int) -> None:
        """What a unit of gas costs from the next block on."""
        if not 0 <= base_fee_wei < 2**63:
            raise Refused("a base fee lies between 0 and 2^63 wei")
        with self._change():
            self._shelf.put_note("base_fee_wei", base_fee_wei)
            self.base_fee_wei = base_fee_wei

    def set_automine(self, on: bool) -> None:
        """Whether a transaction makes a block."""
        with self._change():
            self._shelf.put_note("automine", int(on))
            self.automine = on
            if on and len(self.pool):
                self._mine_ready(None)

    def set_balance_wei(self, address: bytes, balance_wei: int) -> None:
        """Give an account what it shall have, in a block of its own."""
        with self._change():
            self._mine(lambda accounts: accounts.set_balance_wei(address, balance_wei), empty=True)

    def give(self, amounts: Mapping[bytes, int]) -> list[bytes]:
        """Give so many wei to each who was never given any, all in one block; who that was."""
        new = {who: wei for who, wei in amounts.items() if not self._shelf.note(_given(who), 0)}

        def add(accounts: Accounts) -> None:
            for who, wei in new.items():
                accounts.set_balance_wei(who, accounts.balance_wei(who) + wei)

        if new:
            with self._change():
                self._mine(add, empty=True)
                for who in new:
                    self._shelf.put_note(_given(who), 1)
        return list(new)

    def increase_time(self, seconds: int) -> int:
        """Let the next block be so much later; how far this clock is before the computer's."""
        with self._change():
            self._shift(seconds)
        return self._shift_s

    def set_next_timestamp(self, timestamp_s: int) -> None:
        """Let the next block be of this time."""
        if timestamp_s < self.head.timestamp_s:
            raise Refused(
                f"the last block is of {self.head.timestamp_s}, the next cannot be of {timestamp_s}"
            )
        self.increase_time(timestamp_s - self._now_s())

    def snapshot(self) -> int:
        """A number by which `revert` knows how things stand now; it is forgotten when the process ends."""
        self._snapshots_made += 1
        self._snapshots[self._snapshots_made] = Snapshot(
            self.head.hash,
            self.head.number,
            self._shift_s,
            self.base_fee_wei,
            tuple(transaction.raw for transaction in self.pool),
        )
        while len(self._snapshots) > SNAPSHOTS_MAX:
            del self._snapshots[next(iter(self._snapshots))]
        return self._snapshots_made

    def revert(self, number: int) -> bool:
        """Put everything back to a snapshot, once; False if it is not known, or its block is gone."""
        snapshot = self._snapshots.get(number)
        if snapshot is None or self._shelf.block_of(snapshot.block) is None:
            return False
        self._snapshots = {known: kept for known, kept in self._snapshots.items() if known < number}
        with self._change():
            self._cut(snapshot.number)
            self._shelf.put_note("shift_s", snapshot.shift_s)
            self._shelf.put_note("base_fee_wei", snapshot.base_fee_wei)
            self._shelf.drop_waiting([transaction.hash for transaction in self.pool])
            for raw in snapshot.waiting:
                self._shelf.put_waiting(Transaction(raw).hash, raw)
            self._load()
        return True

    def reorganise(self, depth: int, raws: Mapping[int, Sequence[bytes]] | None = None) -> None:
        """Put other blocks in the place of the last ones, with these transactions by the place of their block.

        What was in the old blocks and is not among them is gone: whoever wants it back has to send it again.
        """
        if not 0 < depth <= self.head.number:
            raise Refused(f"there are {self.head.number} blocks that could go, not {depth}")
        with self._change():
            self._cut(self.head.number - depth)
            for place in range(depth):
                wanted = [Transaction(raw) for raw in (raws or {}).get(place, ())]
                for transaction in wanted:
                    self._take_in(transaction)
                self._mine(empty=not wanted)

    def drop(self, digest: bytes) -> bool:
        """Forget a transaction that waits; False if it does not."""
        transaction = self.pool.get(digest)
        if transaction is None:
            return False
        with self._change():
            self.pool.drop(transaction)
            self._shelf.drop_waiting([digest])
        return True

    def roll_back(self, depth: int) -> None:
        """Take the last blocks away, and what was in them."""
        if not 0 <= depth <= self.head.number:
            raise Refused(f"there are {self.head.number} blocks that could go, not {depth}")
        with self._change():
            self._cut(self.head.number - depth)

    # The rest is its own affair.

    @contextmanager
    def _change(self) -> Iterator[None]:
        """All of it or nothing: if it comes to nothing, the chain is again what the shelf says."""
        try:
            with self._shelf.change():
                yield
        except BaseException:
            self._load()
            raise

    def _cut(self, number: int) -> None:
        self._shelf.cut(number)
        head = self._shelf.block(number)
        assert head is not None
        self.head = head

    def _shift(self, seconds: int) -> None:
        self._shift_s += seconds
        self._shelf.put_note("shift_s", self._shift_s)

    def _now_s(self) -> int:
        return self._now_ms() // SECOND_MS + self._shift_s

    def _around(self, number: int, timestamp_s: int, parent: bytes, base_fee_wei: int) -> Around:
        return Around(number, timestamp_s, base_fee_wei, GAS_LIMIT, self.chain_id, keccak_of(parent))

    def _require_sound(self, transaction: Transaction) -> None:
        """What could never be in a block is refused at once, in the words that Ethereum's nodes use."""
        accounts = self.accounts()
        nonce = accounts.nonce(transaction.sender)
        balance_wei = accounts.balance_wei(transaction.sender)
        if transaction.chain_id not in (None, self.chain_id):
            raise Refused(f"invalid chain id for signer: have {transaction.chain_id} want {self.chain_id}")
        if transaction.nonce < nonce:
            raise Refused(f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
        if transaction.gas < transaction.intrinsic_gas:
            raise Refused(
                f"intrinsic gas too low: gas {transaction.gas}, minimum {transaction.intrinsic_gas}"
            )
        if transaction.gas > GAS_LIMIT:
            raise Refused(f"exceeds block gas limit: {transaction.gas} of {GAS_LIMIT}")
        if transaction.tip_wei > transaction.max_fee_wei:
            raise Refused("max priority fee per gas higher than max fee per gas")
        if transaction.cost_wei_max > balance_wei:
            raise Refused(
                "insufficient funds for gas * price + value: "
                f"balance {balance_wei}, tx cost {transaction.cost_wei_max}"
            )

    def _take_in(self, transaction: Transaction) -> None:
        old = self.pool.add(transaction)
        if old is not None:
            self._shelf.drop_waiting([old.hash])
        self._shelf.put_waiting(transaction.hash, transaction.raw)

    def _mine_ready(self, wanted: Transaction | None) -> None:
        """A block of what can be run, if anything can. Raises why, if `wanted` turns out to be of no use."""
        dropped = self._mine(unless_empty=True)
        if wanted is not None and wanted.hash in dropped:
            raise dropped[wanted.hash]

    def _mine(
        self,
        prepare: Callable[[Accounts], None] | None = None,
        *,
        empty: bool = False,
        unless_empty: bool = False,
    ) -> dict[bytes, Refused]:
        """The next block; what was thrown away because it cannot be run, and why."""
        parent = self.head
        must = self.before_block(parent.number + 1)
        if must is not None:
            self._take_in(Transaction(must))
        timestamp_s = max(self._now_s(), parent.timestamp_s)
        around = self._around(parent.number + 1, timestamp_s, parent.hash, self.base_fee_wei)
        ancestors = self._shelf.hashes_before(around.number, ANCESTORS)
        accounts = Accounts(self._shelf.nodes, parent.state_root, around, ancestors)
        draft = Draft(around)
        dropped: dict[bytes, Refused] = {}
        if prepare is not None:
            prepare(accounts)
        if len(self.pool) and (not empty or must is not None):
            self._fill(draft, accounts, dropped)
        if unless_empty and not draft.transactions:
            return dropped
        idle = prepare is None and not draft.transactions
        root = parent.state_root if idle else accounts.save()
        self._made += 1
        self._shelf.put_note("made", self._made)
        # Two blocks in the same place are never the same one.
        block = draft.seal(parent.hash, root, self._made.to_bytes(8))
        self._shelf.put_block(block, [transaction.raw for transaction in draft.transactions], draft.receipts)
        self.head = block
        return dropped

    def _fill(self, draft: Draft, accounts: Accounts, dropped: dict[bytes, Refused]) -> None:
        done = self.pool.stale(accounts.nonce)

        def run(transaction: Transaction) -> bool:
            if draft.gas_used + transaction.gas > GAS_LIMIT:
                return False
            try:
                outcome = accounts.execute(transaction)
            except Refused as error:
                dropped[transaction.hash] = error
            else:
                draft.add(transaction, outcome)
            done.append(transaction)
            return transaction.hash not in dropped

        self.pool.take(accounts.nonce, self.base_fee_wei, run)
        for transaction in done:
            self.pool.drop(transaction)
        self._shelf.drop_waiting([transaction.hash for transaction in done])


def _given(who: bytes) -> str:
    return f"given 0x{who.hex()}"


def _speaks_of(log: Log, topics: Sequence[Sequence[bytes]]) -> bool:
    if len(topics) > len(log.topics):
        return False
    return all(not any_of or topic in any_of for any_of, topic in zip(topics, log.topics, strict=False))
