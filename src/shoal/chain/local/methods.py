"""What can be asked of the chain: a table from a method's name to what answers it.

The names and the shapes are those of Ethereum's nodes, and of anvil for what only a chain for trying things out can
do. Every answer has a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from shoal.chain.local.blocks import Block
from shoal.chain.local.chain import FINAL_BLOCKS, SAFE_BLOCKS, LocalChain
from shoal.chain.local.execution import NOBODY, Call, Transaction, keccak_of
from shoal.chain.local.refusal import failure
from shoal.chain.local.shelf import Entry
from shoal.chain.local.values import (
    HASH_BYTES,
    BadParams,
    Json,
    address,
    block_value,
    field,
    hexed,
    log_value,
    number,
    octets,
    receipt_value,
    transaction_value,
)
from shoal.errors import NotFound
from shoal.units import SECOND_MS

CLIENT = "shoal/0.1.0/py-evm"
#: What a call may use: one that never ends takes a few seconds, in which nobody else is answered.
CALL_GAS_MAX = 10_000_000
LOG_BLOCKS_MAX = 100_000
LOGS_MAX = 10_000
ADDRESSES_MAX = 1_000
TOPICS_MAX = 4
FEE_BLOCKS_MAX = 1_024
PERCENTILES_MAX = 100
YEAR_S = 366 * 24 * 3_600
REORG_TRANSACTIONS_MAX = 1_000
INTERVAL_S_MAX = 3_600

Params = Sequence[Json]
Method = Callable[[Params], Json]


class Methods:
    """Every method of one chain."""

    def __init__(self, chain: LocalChain, set_interval_ms: Callable[[int], None] | None = None) -> None:
        """`set_interval_ms` is told how often a block shall be made without being asked; 0 for never."""
        self._chain = chain
        self._set_interval_ms = set_interval_ms or (lambda interval_ms: None)
        self.table: dict[str, Method] = {
            "web3_clientVersion": lambda params: CLIENT,
            "web3_sha3": lambda params: hexed(keccak_of(octets(_at(params, 0), "data"))),
            "net_version": lambda params: str(chain.chain_id),
            "net_listening": lambda params: True,
            "eth_chainId": lambda params: hex(chain.chain_id),
            "eth_syncing": lambda params: False,
            # It holds nobody's key.
            "eth_accounts": lambda params: [],
            "eth_blockNumber": lambda params: hex(chain.head.number),
            "eth_gasPrice": lambda params: hex(chain.base_fee_wei),
            "eth_maxPriorityFeePerGas": lambda params: "0x0",
            "eth_feeHistory": self.fee_history,
            "eth_getBlockByNumber": self.block_by_number,
            "eth_getBlockByHash": self.block_by_hash,
            "eth_getBlockTransactionCountByNumber": self.transactions_in,
            "eth_getBlockReceipts": self.block_receipts,
            "eth_getBalance": self.balance,
            "eth_getTransactionCount": self.transaction_count,
            "eth_getCode": self.code,
            "eth_getStorageAt": self.storage,
            "eth_call": self.call,
            "eth_estimateGas": self.estimate,
            "eth_sendRawTransaction": self.send,
            "eth_getTransactionByHash": self.transaction,
            "eth_getTransactionReceipt": self.receipt,
            "eth_getLogs": self.logs,
            "txpool_status": self.pool,
            "evm_snapshot": lambda params: hex(chain.snapshot()),
            "evm_revert": lambda params: chain.revert(number(_at(params, 0), "snapshot")),
            "evm_mine": self.mine_one,
            "evm_increaseTime": self.increase_time,
            "evm_setNextBlockTimestamp": self.set_next_timestamp,
            "evm_setAutomine": self.set_automine,
            "evm_setIntervalMining": self.set_interval,
            "anvil_mine": self.mine,
            "anvil_getAutomine": lambda params: chain.automine,
            "anvil_setBalance": self.set_balance,
            "anvil_setNextBlockBaseFeePerGas": self.set_base_fee,
            "anvil_dropTransaction": self.drop,
            "anvil_reorg": self.reorganise,
            "anvil_rollback": self.roll_back,
        }
        for name in ("snapshot", "revert", "increaseTime", "setNextBlockTimestamp"):
            self.table[f"anvil_{name}"] = self.table[f"evm_{name}"]
        self.table["anvil_setAutomine"] = self.table["evm_setAutomine"]
        self.table["anvil_setIntervalMining"] = self.table["evm_setIntervalMining"]

    # What there is.

    def block_by_number(self, params: Params) -> Json:
        """`eth_getBlockByNumber`: null if there is none."""
        block = self._find(_at(params, 0))
        return None if block is None else self._block_value(block, full=_at(params, 1, False))

    def block_by_hash(self, params: Params) -> Json:
        """`eth_getBlockByHash`: null if there is none."""
        block = self._chain.block_of(octets(_at(params, 0), "block", HASH_BYTES))
        return None if block is None else self._block_value(block, full=_at(params, 1, False))

    def transactions_in(self, params: Params) -> Json:
        """`eth_getBlockTransactionCountByNumber`: null if there is no such block."""
        block = self._find(_at(params, 0))
        return None if block is None else hex(len(block.transactions))

    def block_receipts(self, params: Params) -> Json:
        """`eth_getBlockReceipts`: null if there is no such block."""
        block = self._find(_at(params, 0))
        if block is None:
            return None
        entries = self._chain.entries(block.number, block.number)
        return [receipt_value(entry.receipt, block) for entry in entries]

    def balance(self, params: Params) -> Json:
        """`eth_getBalance`."""
        who = address(_at(params, 0), "address")
        return hex(self._chain.accounts(self._block(_at(params, 1, "latest"))).balance_wei(who))

    def transaction_count(self, params: Params) -> Json:
        """`eth_getTransactionCount`; `pending` counts what waits."""
        who = address(_at(params, 0), "address")
        tag = _at(params, 1, "latest")
        if tag == "pending":
            return hex(self._chain.nonce(who))
        return hex(self._chain.accounts(self._block(tag)).nonce(who))

    def code(self, params: Params) -> Json:
        """`eth_getCode`."""
        who = address(_at(params, 0), "address")
        return hexed(self._chain.accounts(self._block(_at(params, 1, "latest"))).code(who))

    def storage(self, params: Params) -> Json:
        """`eth_getStorageAt`."""
        who, slot = address(_at(params, 0), "address"), number(_at(params, 1), "slot")
        found = self._chain.accounts(self._block(_at(params, 2, "latest"))).storage(who, slot)
        return hexed(found.to_bytes(HASH_BYTES))

    def call(self, params: Params) -> Json:
        """`eth_call`: what it returns. Raises `Reverted` with the contract's own bytes."""
        if len(params) > 2 and params[2]:
            raise BadParams("accounts cannot be overridden in a call here")
        block = self._block(_at(params, 1, "latest"))
        outcome = self._chain.call(_call(_at(params, 0)), block)
        if not outcome.success:
            raise failure(outcome)
        return hexed(outcome.output)

    def estimate(self, params: Params) -> Json:
        """`eth_estimateGas`."""
        block = self._block(_at(params, 1, "latest"))
        return hex(self._chain.estimate(_call(_at(params, 0)), block))

    def transaction(self, params: Params) -> Json:
        """`eth_getTransactionByHash`: null if nobody has sent it."""
        digest = octets(_at(params, 0), "transaction", HASH_BYTES)
        entry = self._chain.entry(digest)
        if entry is not None:
            return self._entry_value(entry, self._block_at(entry.number))
        waits = self._chain.pool.get(digest)
        return None if waits is None else transaction_value(waits, None, None)

    def receipt(self, params: Params) -> Json:
        """`eth_getTransactionReceipt`: null while it waits."""
        entry = self._chain.entry(octets(_at(params, 0), "transaction", HASH_BYTES))
        return None if entry is None else receipt_value(entry.receipt, self._block_at(entry.number))

    def logs(self, params: Params) -> Json:
        """`eth_getLogs`."""
        wanted = field(_at(params, 0), "filter")
        if "blockHash" in wanted:
            block = self._chain.block_of(octets(wanted["blockHash"], "blockHash", HASH_BYTES))
            if block is None:
                raise NotFound("unknown block")
            first = last = block.number
        else:
            first = self._number(wanted.get("fromBlock", "latest"))
            last = min(self._number(wanted.get("toBlock", "latest")), self._chain.head.number)
        if last - first >= LOG_BLOCKS_MAX:
            raise BadParams(f"at most {LOG_BLOCKS_MAX} blocks at once, not {last - first + 1}: ask for parts")
        values: list[Json] = []
        for found in self._chain.logs(first, last, _addresses(wanted.get("address")), _topics(wanted)):
            if len(values) == LOGS_MAX:
                raise BadParams(f"there are more than {LOGS_MAX} logs in there: ask for fewer blocks")
            values.append(log_value(found))
        return values

    def fee_history(self, params: Params) -> Json:
        """`eth_feeHistory`."""
        newest = self._block(_at(params, 1))
        count = min(number(_at(params, 0), "count", FEE_BLOCKS_MAX), newest.number + 1)
        percentiles = _at(params, 2, None) or []
        if not isinstance(percentiles, list) or len(percentiles) > PERCENTILES_MAX:
            raise BadParams(f"percentiles are a list of at most {PERCENTILES_MAX}")
        if not all(isinstance(part, int | float) and 0 <= part <= 100 for part in percentiles):
            raise BadParams("a percentile lies between 0 and 100")
        blocks = [self._block_at(number) for number in range(newest.number - count + 1, newest.number + 1)]
        after = self._chain.block(newest.number + 1)
        next_wei = self._chain.base_fee_wei if after is None else after.base_fee_wei
        value = {
            "oldestBlock": hex(newest.number - count + 1),
            "baseFeePerGas": [*(hex(block.base_fee_wei) for block in blocks), hex(next_wei)],
            "gasUsedRatio": [block.gas_used / block.gas_limit for block in blocks],
        }
        if percentiles:
            value["reward"] = [self._tips(block, percentiles) for block in blocks]
        return value

    def _tips(self, block: Block, percentiles: Sequence[float]) -> list[str]:
        """What was paid above the base fee, for so much of the block's gas."""
        paid = sorted(
            (entry.receipt.gas_price_wei - block.base_fee_wei, entry.receipt.gas_used)
            for entry in self._chain.entries(block.number, block.number)
        )
        tips = []
        for part in percentiles:
            rest = block.gas_used * part / 100
            tip = 0
            for tip, gas in paid:  # noqa: B007 - the last one reached is the answer
                rest -= gas
                if rest <= 0:
                    break
            tips.append(hex(tip))
        return tips

    def pool(self, params: Params) -> Json:
        """`txpool_status`: all that waits; none is told apart."""
        return {"pending": hex(len(self._chain.pool)), "queued": "0x0"}

    # What changes it.

    def send(self, params: Params) -> Json:
        """`eth_sendRawTransaction`."""
        return hexed(self._chain.send(octets(_at(params, 0), "transaction")))

    def mine_one(self, params: Params) -> Json:
        """`evm_mine`, at a time if one is given: as a number, or as `{"timestamp": ...}`."""
        given = _at(params, 0, None)
        if isinstance(given, dict):
            given = given.get("timestamp")
        if given is not None:
            self._chain.set_next_timestamp(number(given, "timestamp", 2**53))
        self._chain.mine()
        return "0x0"

    def mine(self, params: Params) -> Json:
        """`anvil_mine`: so many blocks, so many seconds apart."""
        count = number(_at(params, 0, 1), "count")
        self._chain.mine(count, number(_at(params, 1, 0), "interval", YEAR_S))
        return None

    def increase_time(self, params: Params) -> Json:
        """`evm_increaseTime`: how far this chain's clock is ahead."""
        return self._chain.increase_time(number(_at(params, 0), "seconds", YEAR_S))

    def set_next_timestamp(self, params: Params) -> Json:
        """`evm_setNextBlockTimestamp`."""
        self._chain.set_next_timestamp(number(_at(params, 0), "timestamp", 2**53))
        return None

    def set_automine(self, params: Params) -> Json:
        """`evm_setAutomine`."""
        self._chain.set_automine(_flag(_at(params, 0), "automine"))
        return None

    def set_interval(self, params: Params) -> Json:
        """`evm_setIntervalMining`: in seconds, 0 for never; as with anvil, it ends automine, and never begins it."""
        interval_s = number(_at(params, 0), "seconds", INTERVAL_S_MAX)
        if interval_s:
            self._chain.set_automine(False)
        self._set_interval_ms(interval_s * SECOND_MS)
        return None

    def set_balance(self, params: Params) -> Json:
        """`anvil_setBalance`."""
        self._chain.set_balance_wei(address(_at(params, 0), "address"), number(_at(params, 1), "balance"))
        return None

    def set_base_fee(self, params: Params) -> Json:
        """`anvil_setNextBlockBaseFeePerGas`: of the next block, and of those after it until it is set again."""
        self._chain.set_base_fee_wei(number(_at(params, 0), "base fee", 2**63 - 1))
        return None

    def drop(self, params: Params) -> Json:
        """`anvil_dropTransaction`: its hash, or null if it does not wait."""
        digest = octets(_at(params, 0), "transaction", HASH_BYTES)
        return hexed(digest) if self._chain.drop(digest) else None

    def reorganise(self, params: Params) -> Json:
        """`anvil_reorg`: how deep, and `[raw transaction, which of the new blocks]` pairs."""
        given = params[0] if params and isinstance(params[0], dict) else None
        depth = number(given["depth"] if given else _at(params, 0), "depth")
        pairs = (given.get("tx_block_pairs") if given else _at(params, 1, None)) or []
        if not isinstance(pairs, list) or len(pairs) > REORG_TRANSACTIONS_MAX:
            raise BadParams(f"transactions are a list of at most {REORG_TRANSACTIONS_MAX} pairs")
        blocks: dict[int, list[bytes]] = {}
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:
                raise BadParams("a pair is a raw transaction and the number of its block among the new ones")
            place = number(pair[1], "block", max(0, depth - 1))
            blocks.setdefault(place, []).append(octets(pair[0], "transaction"))
        self._chain.reorganise(depth, blocks)
        return None

    def roll_back(self, params: Params) -> Json:
        """`anvil_rollback`: so many blocks are gone, one if none is named."""
        self._chain.roll_back(number(_at(params, 0, 1), "depth"))
        return None

    # Which block is meant.

    def _number(self, tag: Json) -> int:
        """A block's number, whether there is such a block or not."""
        head = self._chain.head.number
        named = {
            "latest": head,
            "pending": head,
            "safe": max(0, head - SAFE_BLOCKS),
            "finalized": max(0, head - FINAL_BLOCKS),
            "earliest": 0,
        }
        if isinstance(tag, str) and tag in named:
            return named[tag]
        return number(tag, "block", 2**63 - 1)

    def _find(self, tag: Json) -> Block | None:
        if isinstance(tag, dict):
            if "blockHash" in tag:
                return self._chain.block_of(octets(tag["blockHash"], "blockHash", HASH_BYTES))
            tag = tag.get("blockNumber")
        return self._chain.block(self._number(tag))

    def _block(self, tag: Json) -> Block:
        block = self._find(tag)
        if block is None:
            raise NotFound("header not found")
        return block

    def _block_at(self, at: int) -> Block:
        block = self._chain.block(at)
        assert block is not None
        return block

    def _block_value(self, block: Block, *, full: Json) -> Json:
        if not _flag(full, "full"):
            return block_value(block, [hexed(digest) for digest in block.transactions])
        entries = self._chain.entries(block.number, block.number)
        return block_value(block, [self._entry_value(entry, block) for entry in entries])

    def _entry_value(self, entry: Entry, block: Block) -> Json:
        return transaction_value(Transaction(entry.raw), block, entry.receipt)


_MISSING = object()


def _at(params: Params, place: int, default: Json = _MISSING) -> Json:
    """An argument by its place; left out or null, it is the default."""
    value = params[place] if len(params) > place else None
    if value is not None:
        return value
    if default is _MISSING:
        raise BadParams(f"argument {place + 1} is missing")
    return default


def _flag(value: Json, what: str) -> bool:
    if not isinstance(value, bool):
        raise BadParams(f"{what} is {value!r:.80}, it takes true or false")
    return value


def _call(value: Json) -> Call:
    given = field(value, "call")
    data = given.get("input", given.get("data", "0x"))
    to = given.get("to")
    price = given.get("maxFeePerGas", given.get("gasPrice"))
    gas = given.get("gas")
    return Call(
        sender=NOBODY if given.get("from") is None else address(given["from"], "from"),
        to=None if to is None else address(to, "to"),
        data=octets("0x" if data is None else data, "data"),
        value_wei=number(given.get("value") or 0, "value"),
        gas=CALL_GAS_MAX if gas is None else min(CALL_GAS_MAX, number(gas, "gas")),
        gas_price_wei=0 if price is None else number(price, "gasPrice"),
    )


def _addresses(value: Json) -> list[bytes]:
    """One address, or any of several."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    if len(values) > ADDRESSES_MAX:
        raise BadParams(f"at most {ADDRESSES_MAX} addresses, not {len(values)}")
    return [address(one, "address") for one in values]


def _topics(wanted: Any) -> list[list[bytes]]:
    """At each place nothing, one topic, or any of several."""
    places = wanted.get("topics") or []
    if not isinstance(places, list) or len(places) > TOPICS_MAX:
        raise BadParams(f"topics are a list of at most {TOPICS_MAX}")
    found = []
    for place in places:
        values = [] if place is None else place if isinstance(place, list) else [place]
        if len(values) > ADDRESSES_MAX:
            raise BadParams(f"at most {ADDRESSES_MAX} topics in one place, not {len(values)}")
        found.append([octets(one, "topic", HASH_BYTES) for one in values])
    return found
