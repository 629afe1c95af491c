"""What Ethereum's JSON-RPC looks like: hex for numbers and bytes, and an object for every block, receipt and log.

What comes from outside is read strictly, and an error names the argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shoal.chain.local.blocks import Block, Receipt
from shoal.chain.local.chain import Found
from shoal.chain.local.execution import NOBODY, Transaction
from shoal.errors import Refused

Json = Any

ADDRESS_BYTES = 20
HASH_BYTES = 32
WORD_MAX = 2**256 - 1
#: keccak256(rlp([])): a block without uncles.
NO_UNCLES = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
#: The root of an empty trie, and the SHA-256 of nothing.
NO_WITHDRAWALS = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
NO_REQUESTS = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class BadParams(Refused):
    """An argument is not what the method takes."""

    code = "bad_params"


def number(value: Json, what: str, most: int = WORD_MAX) -> int:
    """`0x10`, or a plain number."""
    try:
        found = value if type(value) is int else int(value, 16) if _is_hex(value) else -1
    except ValueError:
        found = -1
    if not 0 <= found <= most:
        raise BadParams(f"{what} is {_short(value)}, it takes a number as 0x and hex digits, at most {most}")
    return found


def octets(value: Json, what: str, length: int | None = None) -> bytes:
    """`0x` and two digits a byte."""
    try:
        found = bytes.fromhex(value[2:]) if _is_hex(value) else None
    except ValueError:
        found = None
    if found is None or (length is not None and len(found) != length):
        takes = "any bytes" if length is None else f"{length} bytes"
        raise BadParams(f"{what} is {_short(value)}, it takes {takes} as 0x and hex digits")
    return found


def address(value: Json, what: str) -> bytes:
    """Twenty bytes."""
    return octets(value, what, ADDRESS_BYTES)


def _is_hex(value: Json) -> bool:
    return isinstance(value, str) and value[:2] in ("0x", "0X")


def _short(value: Json) -> str:
    return repr(value)[:80]


def hexed(value: bytes | None) -> str | None:
    """Bytes as they are written."""
    return None if value is None else "0x" + value.hex()


def block_value(block: Block, transactions: Sequence[Json]) -> dict[str, Json]:
    """A block, with its transactions or only their hashes."""
    return {
        "number": hex(block.number),
        "hash": hexed(block.hash),
        "parentHash": hexed(block.parent),
        "nonce": "0x0000000000000000",
        "sha3Uncles": NO_UNCLES,
        "logsBloom": hexed(block.bloom),
        "transactionsRoot": hexed(block.transaction_root),
        "stateRoot": hexed(block.state_root),
        "receiptsRoot": hexed(block.receipt_root),
        "miner": hexed(NOBODY),
        "difficulty": "0x0",
        "extraData": hexed(block.extra),
        "size": hex(block.size_bytes),
        "gasLimit": hex(block.gas_limit),
        "gasUsed": hex(block.gas_used),
        "timestamp": hex(block.timestamp_s),
        "transactions": transactions,
        "uncles": [],
        "baseFeePerGas": hex(block.base_fee_wei),
        "mixHash": hexed(block.randomness),
        "withdrawalsRoot": NO_WITHDRAWALS,
        "withdrawals": [],
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": hexed(bytes(HASH_BYTES)),
        "requestsHash": NO_REQUESTS,
    }


def transaction_value(
    transaction: Transaction, block: Block | None, receipt: Receipt | None
) -> dict[str, Json]:
    """A transaction; without a block it waits."""
    parity, r, s = transaction.signature
    price_wei = transaction.max_fee_wei if receipt is None else receipt.gas_price_wei
    value: dict[str, Json] = {
        "hash": hexed(transaction.hash),
        "type": hex(transaction.kind),
        "nonce": hex(transaction.nonce),
        "blockHash": None if block is None else hexed(block.hash),
        "blockNumber": None if block is None else hex(block.number),
        "transactionIndex": None if receipt is None else hex(receipt.position),
        "from": hexed(transaction.sender),
        "to": hexed(transaction.to),
        "value": hex(transaction.value_wei),
        "gas": hex(transaction.gas),
        "gasPrice": hex(price_wei),
        "input": hexed(transaction.data),
        "v": hex(parity),
        "r": hex(r),
        "s": hex(s),
    }
    if transaction.chain_id is not None:
        value["chainId"] = hex(transaction.chain_id)
    if transaction.kind:
        value["yParity"] = hex(parity)
        value["accessList"] = [
            {
                "address": hexed(bytes(who)),
                "storageKeys": [hexed(slot.to_bytes(HASH_BYTES)) for slot in slots],
            }
            for who, slots in transaction.access_list
        ]
    if transaction.kind == 2:
        value["maxFeePerGas"] = hex(transaction.max_fee_wei)
        value["maxPriorityFeePerGas"] = hex(transaction.tip_wei)
    return value


def receipt_value(receipt: Receipt, block: Block) -> dict[str, Json]:
    """What came of a transaction."""
    logs = [
        log_value(Found(block, receipt, receipt.log_position + offset, log))
        for offset, log in enumerate(receipt.logs)
    ]
    return {
        "transactionHash": hexed(receipt.transaction),
        "transactionIndex": hex(receipt.position),
        "blockHash": hexed(block.hash),
        "blockNumber": hex(block.number),
        "from": hexed(receipt.sender),
        "to": hexed(receipt.to),
        "contractAddress": hexed(receipt.created),
        "status": hex(receipt.success),
        "type": hex(receipt.kind),
        "gasUsed": hex(receipt.gas_used),
        "cumulativeGasUsed": hex(receipt.gas_used_so_far),
        "effectiveGasPrice": hex(receipt.gas_price_wei),
        "logs": logs,
        "logsBloom": hexed(receipt.bloom),
    }


def log_value(found: Found) -> dict[str, Json]:
    """A log and where it stands."""
    return {
        "address": hexed(found.log.address),
        "topics": [hexed(topic) for topic in found.log.topics],
        "data": hexed(found.log.data),
        "blockHash": hexed(found.block.hash),
        "blockNumber": hex(found.block.number),
        "blockTimestamp": hex(found.block.timestamp_s),
        "transactionHash": hexed(found.receipt.transaction),
        "transactionIndex": hex(found.receipt.position),
        "logIndex": hex(found.position),
        "removed": False,
    }


def field(value: Json, what: str) -> Mapping[str, Json]:
    """An object."""
    if not isinstance(value, dict):
        raise BadParams(f"{what} is {_short(value)}, it takes an object")
    return value
