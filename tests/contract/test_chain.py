"""Our chain and anvil give the same answers: every test here runs on both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from eth.vm.forks.prague import PragueVM
from eth_abi import decode, encode
from eth_keys import keys

from chains import ADDRESSES, BASE_FEE_WEI, ETHER, SECRETS, Door, RpcError, anvil, ours
from shoal.chain.local.execution import keccak_of

NOBODY = "0x00000000000000000000000000000000000000bb"
TRANSFER = "0x" + keccak_of(b"Transfer(address,address,uint256)").hex()


@pytest.fixture(scope="module", params=["shoal", "anvil"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    if request.param == "anvil":
        with anvil() as door:
            yield door
    else:
        with ours(tmp_path_factory.mktemp("chain")) as door:
            yield door


@pytest.fixture
def door(running: Door) -> Iterator[Door]:
    """The chain, put back after each test; everybody has a thousand ether."""
    snapshot = running.ask("evm_snapshot")
    for address in ADDRESSES:
        running.ask("anvil_setBalance", address, hex(1_000 * ETHER))
    running.ask("anvil_setNextBlockBaseFeePerGas", hex(BASE_FEE_WEI))
    yield running
    running.ask("evm_setAutomine", True)
    assert running.ask("evm_revert", snapshot) is True


def call_of(signature: str, *values: object) -> bytes:
    types = signature[signature.index("(") + 1 : -1]
    return keccak_of(signature.encode())[:4] + encode(types.split(",") if types else [], values)


@pytest.fixture
def token(door: Door) -> str:
    """A token of which the first account has a hundred."""
    code = json.loads(files("shoal.chain.contracts").joinpath("Token.json").read_text())["bytecode"]
    address = str(door.mined(0, None, data=bytes.fromhex(code[2:]))["contractAddress"])
    door.mined(0, address, data=call_of("setMinter(address)", ADDRESSES[0]))
    door.mined(0, address, data=call_of("mint(address,uint256)", ADDRESSES[0], 100))
    return address


def ask_balance(door: Door, token: str, who: str, block: object = "latest") -> int:
    call = {"to": token, "data": "0x" + call_of("balanceOf(address)", who).hex()}
    return int(decode(["uint256"], bytes.fromhex(door.ask("eth_call", call, block)[2:]))[0])


def test_it_says_which_chain_it_is(door: Door) -> None:
    assert door.number("eth_chainId") == 31_337
    assert door.ask("net_version") == "31337"
    assert "/" in door.ask("web3_clientVersion")
    assert isinstance(door.ask("eth_accounts"), list)
    assert door.ask("eth_syncing") is False


def test_a_transfer_is_mined_at_once_and_costs_what_its_receipt_says(door: Door) -> None:
    before, block = door.balance(ADDRESSES[0]), door.number("eth_blockNumber")
    digest = door.send(0, NOBODY, value=7, gas=21_000, max_priority_fee_per_gas=3)
    receipt = door.receipt(digest)
    assert door.number("eth_blockNumber") == block + 1
    price = int(receipt["effectiveGasPrice"], 16)
    head = door.ask("eth_getBlockByNumber", "latest", False)
    assert price == int(head["baseFeePerGas"], 16) + 3
    assert receipt["status"] == "0x1"
    assert receipt["gasUsed"] == receipt["cumulativeGasUsed"] == hex(21_000)
    assert receipt["type"] == "0x2"
    assert receipt["contractAddress"] is None
    assert (receipt["from"], receipt["to"]) == (ADDRESSES[0], NOBODY)
    assert (receipt["blockHash"], receipt["blockNumber"]) == (head["hash"], head["number"])
    assert door.balance(ADDRESSES[0]) == before - 7 - 21_000 * price
    assert door.balance(NOBODY) == 7


def test_a_transaction_of_the_old_form_is_taken_too(door: Door) -> None:
    unsigned = PragueVM.get_transaction_builder().create_unsigned_transaction(
        nonce=0, gas_price=10**10, gas=21_000, to=bytes.fromhex(NOBODY[2:]), value=5, data=b""
    )
    raw = unsigned.as_signed_transaction(keys.PrivateKey(SECRETS[3]), 31_337).encode()
    digest = door.ask("eth_sendRawTransaction", "0x" + raw.hex())
    assert door.receipt(digest)["type"] == "0x0"
    sent = door.ask("eth_getTransactionByHash", digest)
    assert sent["gasPrice"] == hex(10**10)
    assert int(sent["v"], 16) in (31_337 * 2 + 35, 31_337 * 2 + 36)
    assert (sent["from"], sent["chainId"]) == (ADDRESSES[3], hex(31_337))
    assert door.balance(NOBODY) == 5


def test_a_transaction_is_found_in_its_block(door: Door, token: str) -> None:
    data = call_of("transfer(address,uint256)", NOBODY, 1)
    digest = door.mined(0, token, data=data, max_priority_fee_per_gas=2)["transactionHash"]
    alone = door.ask("eth_getTransactionByHash", digest)
    number = alone["blockNumber"]
    block = door.ask("eth_getBlockByNumber", number, True)
    assert block["transactions"] == [alone]
    assert door.ask("eth_getBlockByHash", block["hash"], False)["transactions"] == [digest]
    assert alone["input"] == "0x" + data.hex()
    assert (alone["type"], alone["maxPriorityFeePerGas"]) == ("0x2", "0x2")
    assert (alone["transactionIndex"], alone["blockHash"]) == ("0x0", block["hash"])
    parent = door.ask("eth_getBlockByNumber", hex(int(number, 16) - 1), False)
    assert block["parentHash"] == parent["hash"]


def test_a_block_or_transaction_that_is_not_there_is_null(door: Door) -> None:
    assert door.ask("eth_getBlockByNumber", "0xffffff", False) is None
    assert door.ask("eth_getBlockByHash", "0x" + "11" * 32, False) is None
    assert door.ask("eth_getTransactionByHash", "0x" + "11" * 32) is None
    assert door.ask("eth_getTransactionReceipt", "0x" + "11" * 32) is None


def test_code_and_storage_can_be_read(door: Door, token: str) -> None:
    assert door.ask("eth_getCode", token, "latest") != "0x"
    assert door.ask("eth_getCode", NOBODY, "latest") == "0x"
    slots = [int(door.ask("eth_getStorageAt", token, hex(slot), "latest"), 16) for slot in range(8)]
    assert int(ADDRESSES[0], 16) in slots, "the minter stands in one of them"
    assert len(door.ask("eth_getStorageAt", token, "0xff", "latest")) == 66


def test_a_contract_says_what_it_does_and_logs_are_found_by_all_that_is_asked(door: Door, token: str) -> None:
    first = door.number("eth_blockNumber") + 1
    for who, amount in ((ADDRESSES[1], 5), (ADDRESSES[2], 6)):
        door.mined(0, token, data=call_of("transfer(address,uint256)", who, amount))
    word = "0x" + "00" * 12 + ADDRESSES[2][2:]
    window = {"fromBlock": hex(first), "toBlock": "latest"}

    def amounts(**wanted: object) -> list[int]:
        return [int(log["data"], 16) for log in door.ask("eth_getLogs", window | wanted)]

    assert amounts() == [5, 6]
    assert amounts(address=token) == [5, 6]
    assert amounts(address=[NOBODY]) == []
    assert amounts(address=[NOBODY, token], topics=[TRANSFER]) == [5, 6]
    assert amounts(topics=[None, None, word]) == [6]
    assert amounts(topics=[[TRANSFER, word], None, [word]]) == [6]
    assert amounts(topics=[word]) == []
    assert amounts(fromBlock=hex(first + 1)) == [6]
    assert amounts(toBlock=hex(first)) == [5]
    [log] = door.ask(
        "eth_getLogs", {"blockHash": door.ask("eth_getBlockByNumber", hex(first), False)["hash"]}
    )
    receipt = door.receipt(log["transactionHash"])
    assert receipt["logs"] == [log]
    assert log["logIndex"] == log["transactionIndex"] == "0x0"
    assert log["removed"] is False
    assert int(receipt["logsBloom"], 16) != 0


def test_a_refused_call_carries_the_contracts_own_bytes(door: Door, token: str) -> None:
    data = "0x" + call_of("mint(address,uint256)", NOBODY, 1).hex()
    call = {"from": ADDRESSES[1], "to": token, "data": data}
    for method in ("eth_call", "eth_estimateGas"):
        with pytest.raises(RpcError) as refused:
            door.ask(method, call, "latest")
        assert refused.value.code == 3
        assert "execution reverted: caller is not the minter" in refused.value.message
        assert refused.value.data.startswith("0x08c379a0")
        assert decode(["string"], bytes.fromhex(refused.value.data[10:]))[0] == "caller is not the minter"


def test_a_refused_transaction_is_mined_pays_and_changes_nothing(door: Door, token: str) -> None:
    before = door.balance(ADDRESSES[1])
    receipt = door.mined(1, token, data=call_of("mint(address,uint256)", NOBODY, 1))
    assert receipt["status"] == "0x0"
    assert receipt["logs"] == []
    assert door.balance(ADDRESSES[1]) == before - int(receipt["gasUsed"], 16) * int(
        receipt["effectiveGasPrice"], 16
    )
    assert ask_balance(door, token, NOBODY) == 0


def test_an_estimate_is_enough(door: Door, token: str) -> None:
    data = call_of("transfer(address,uint256)", NOBODY, 9)
    call = {"from": ADDRESSES[0], "to": token, "data": "0x" + data.hex()}
    estimate = door.number("eth_estimateGas", call)
    receipt = door.mined(0, token, data=data, gas=estimate)
    assert receipt["status"] == "0x1"
    assert estimate <= int(receipt["gasUsed"], 16) * 1.1
    assert door.number("eth_estimateGas", {"from": ADDRESSES[0], "to": NOBODY, "value": "0x1"}) == 21_000


def test_a_call_sees_the_state_of_the_block_that_it_names(door: Door, token: str) -> None:
    before = door.ask("eth_blockNumber")
    door.mined(0, token, data=call_of("transfer(address,uint256)", NOBODY, 9))
    assert ask_balance(door, token, NOBODY, before) == 0
    assert ask_balance(door, token, NOBODY) == 9
    assert door.ask("eth_getBalance", NOBODY, "earliest") == "0x0"
    with pytest.raises(RpcError):
        ask_balance(door, token, NOBODY, "0xffffff")


def test_a_snapshot_puts_everything_back(door: Door, token: str) -> None:
    head = door.ask("eth_getBlockByNumber", "latest", False)["hash"]
    snapshot = door.ask("evm_snapshot")
    digest = door.mined(0, token, data=call_of("transfer(address,uint256)", NOBODY, 9))["transactionHash"]
    door.ask("evm_mine")
    assert door.ask("evm_revert", snapshot) is True
    assert door.ask("eth_getBlockByNumber", "latest", False)["hash"] == head
    assert door.ask("eth_getTransactionReceipt", digest) is None
    assert ask_balance(door, token, NOBODY) == 0
    assert door.ask("evm_revert", snapshot) is False


def test_without_automine_a_transaction_waits_for_its_block(door: Door) -> None:
    door.ask("evm_setAutomine", False)
    block = door.number("eth_blockNumber")
    first, second = door.send(0, NOBODY, value=1), door.send(0, NOBODY, value=2)
    assert door.number("eth_getTransactionCount", ADDRESSES[0], "latest") == 0
    assert door.number("eth_getTransactionCount", ADDRESSES[0], "pending") == 2
    waits = door.ask("eth_getTransactionByHash", first)
    assert waits["blockHash"] is None
    assert door.ask("eth_getTransactionReceipt", first) is None
    door.ask("evm_mine")
    assert door.number("eth_blockNumber") == block + 1
    assert [door.receipt(digest)["transactionIndex"] for digest in (first, second)] == ["0x0", "0x1"]
    assert door.balance(NOBODY) == 3


def test_what_waits_is_replaced_by_a_tenth_more_and_by_nothing_less(door: Door) -> None:
    door.ask("evm_setAutomine", False)
    fee, tip = 10 * BASE_FEE_WEI, BASE_FEE_WEI
    old = door.send(0, NOBODY, value=1, nonce=0, max_fee_per_gas=fee, max_priority_fee_per_gas=tip)
    with pytest.raises(RpcError, match="underpriced"):
        door.send(0, NOBODY, value=2, nonce=0, max_fee_per_gas=fee, max_priority_fee_per_gas=tip)
    fee, tip = fee * 11 // 10, tip * 11 // 10
    new = door.send(0, NOBODY, value=3, nonce=0, max_fee_per_gas=fee, max_priority_fee_per_gas=tip)
    door.ask("evm_mine")
    assert door.ask("eth_getTransactionReceipt", old) is None
    assert door.receipt(new)["status"] == "0x1"
    assert door.balance(NOBODY) == 3


def test_a_spike_of_the_base_fee_is_paid_by_the_next_block(door: Door) -> None:
    door.ask("anvil_setNextBlockBaseFeePerGas", hex(5 * BASE_FEE_WEI))
    receipt = door.mined(0, NOBODY, value=1)
    assert int(receipt["effectiveGasPrice"], 16) == 5 * BASE_FEE_WEI


def test_what_pays_less_than_the_base_fee_is_not_mined_until_it_falls(door: Door) -> None:
    door.ask("evm_setAutomine", False)
    raw = door.sign(0, NOBODY, value=1, max_fee_per_gas=2 * BASE_FEE_WEI)
    digest = door.ask("eth_sendRawTransaction", "0x" + raw.hex())
    door.ask("anvil_setNextBlockBaseFeePerGas", hex(3 * BASE_FEE_WEI))
    door.ask("evm_mine")
    assert door.ask("eth_getTransactionReceipt", digest) is None
    door.ask("anvil_setNextBlockBaseFeePerGas", hex(2 * BASE_FEE_WEI))
    if door.name == "anvil":  # it throws such a transaction away, where we and most nodes keep it
        assert door.ask("eth_sendRawTransaction", "0x" + raw.hex()) == digest
    door.ask("evm_mine")
    assert int(door.receipt(digest)["effectiveGasPrice"], 16) == 2 * BASE_FEE_WEI


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"nonce": 0}, "nonce too low"),
        ({"value": 2_000 * ETHER}, "[Ii]nsufficient funds"),
        ({"gas": 20_000}, "intrinsic gas too low"),
        ({"chain_id": 5}, "invalid chain id"),
    ],
)
def test_what_could_never_be_mined_is_refused(door: Door, changes: dict[str, Any], why: str) -> None:
    door.mined(0, NOBODY, value=1)
    with pytest.raises(RpcError, match=why) as refused:
        door.send(0, NOBODY, **changes)
    assert refused.value.code in (-32_000, -32_003)


def test_a_reorganisation_puts_other_blocks_in_the_place_of_the_last(door: Door) -> None:
    door.ask("anvil_mine", "0x3")
    lost = door.mined(0, NOBODY, value=1)["transactionHash"]
    door.ask("anvil_mine", "0x2")
    head = door.number("eth_blockNumber")
    before = [door.ask("eth_getBlockByNumber", hex(head - back), False)["hash"] for back in range(5)]
    other = door.sign(0, NOBODY, value=2, nonce=0)
    door.ask("anvil_reorg", 3, [["0x" + other.hex(), 0]])
    assert door.number("eth_blockNumber") == head
    after = [door.ask("eth_getBlockByNumber", hex(head - back), False)["hash"] for back in range(5)]
    assert before[3:] == after[3:]
    assert not set(before[:3]) & set(after[:3])
    assert door.ask("eth_getTransactionReceipt", lost) is None
    assert door.receipt("0x" + keccak_of(other).hex())["blockNumber"] == hex(head - 2)
    assert door.balance(NOBODY) == 2


def test_blocks_and_time_pass_when_they_are_told_to(door: Door) -> None:
    block = door.ask("eth_getBlockByNumber", "latest", False)
    door.ask("anvil_mine", hex(300))
    assert door.number("eth_blockNumber") == int(block["number"], 16) + 300
    door.ask("evm_increaseTime", 3_600)
    door.ask("evm_mine")
    later = door.ask("eth_getBlockByNumber", "latest", False)
    assert 3_600 <= int(later["timestamp"], 16) - int(block["timestamp"], 16) <= 4_200
    at = int(later["timestamp"], 16) + 1_000
    door.ask("evm_setNextBlockTimestamp", at)
    door.ask("evm_mine")
    assert int(door.ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16) == at


def test_fees_have_a_history(door: Door) -> None:
    door.mined(0, NOBODY, value=1, max_priority_fee_per_gas=7)
    door.mined(0, NOBODY, value=1, max_priority_fee_per_gas=9)
    history = door.ask("eth_feeHistory", "0x2", "latest", [50])
    assert len(history["baseFeePerGas"]) == 3
    assert len(history["gasUsedRatio"]) == 2
    assert [int(tip, 16) for [tip] in history["reward"]] == [7, 9]
    assert int(history["oldestBlock"], 16) == door.number("eth_blockNumber") - 1
    assert door.number("eth_gasPrice") >= int(history["baseFeePerGas"][-1], 16)
    assert door.number("eth_maxPriorityFeePerGas") >= 0


def test_a_batch_is_answered_in_its_order(door: Door) -> None:
    answers = door.post(
        [
            {"jsonrpc": "2.0", "id": 7, "method": "eth_chainId", "params": []},
            {"jsonrpc": "2.0", "id": "x", "method": "eth_nothing", "params": []},
            {"jsonrpc": "2.0", "id": 8, "method": "eth_getBalance", "params": [NOBODY, "latest"]},
        ]
    )
    assert [answer["id"] for answer in answers] == [7, "x", 8]
    assert answers[0]["result"] == hex(31_337)
    assert answers[1]["error"]["code"] == -32_601
    assert answers[2]["result"] == "0x0"


def test_errors_have_the_numbers_of_the_protocol(door: Door) -> None:
    for method, params, code in (
        ("eth_nothing", [], -32_601),
        ("eth_getBalance", ["0x12", "latest"], -32_602),
        ("eth_getBlockByNumber", ["newest", False], -32_602),
        ("eth_getTransactionByHash", [], -32_602),
    ):
        with pytest.raises(RpcError) as refused:
            door.ask(method, *params)
        assert refused.value.code == code, method
    answer = door.http.post(door.url, content=b"{", headers={"content-type": "application/json"})
    assert answer.json()["error"]["code"] in (-32_700, -32_600)
