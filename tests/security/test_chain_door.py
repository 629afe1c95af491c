"""The local chain's door: no web page gets through, and everything that comes in has a limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chains import ADDRESSES, Door, RpcError, ours

ONE = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with ours(tmp_path_factory.mktemp("chain")) as door:
        yield door


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8545"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:8545"}, 200),
        ({"origin": "http://localhost:3000"}, 200),
        ({"host": "rebound.example"}, 403),
        ({"host": "127.0.0.1.rebound.example:8545"}, 403),
        ({"host": "localhost@rebound.example"}, 403),
        ({"host": "]["}, 403),
        ({"origin": "https://page.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content-type": "text/plain"}, 400),
    ],
)
def test_only_programs_on_this_computer_get_in(door: Door, headers: dict[str, str], status: int) -> None:
    answer = door.http.post(door.url, json=ONE, headers={"content-type": "application/json"} | headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    if "content-type" not in headers:
        assert door.http.get(door.url + "/health", headers=headers).status_code == status


def test_off_this_computer_it_does_not_listen(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="open to other computers"),
        ours(tmp_path, "--http-addr", "0.0.0.0:0"),
    ):
        pass


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([], -32_600),
        ([ONE] * 101, -32_600),
        (7, -32_600),
        ("ask", -32_600),
        ({"id": 1}, -32_600),
        ({"method": 7}, -32_600),
        (ONE | {"id": [1]}, -32_600),
        (ONE | {"params": 5}, -32_602),
        (ONE | {"method": "x" * 10_000}, -32_601),
    ],
)
def test_what_is_no_request_is_told_so(door: Door, value: Any, code: int) -> None:
    answer = door.post(value)
    assert answer["error"]["code"] == code
    assert len(answer["error"]["message"]) < 300


def test_a_notification_is_not_answered(door: Door) -> None:
    quiet = {key: value for key, value in ONE.items() if key != "id"}
    assert door.http.post(door.url, json=quiet).content == b""
    assert door.http.post(door.url, json=[quiet, quiet]).content == b""
    assert [answer["id"] for answer in door.post([quiet, ONE])] == [1]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(door: Door) -> None:
    assert (
        door.http.post(
            door.url, content=b"x" * (2 << 20), headers={"content-type": "application/json"}
        ).status_code
        == 413
    )


def test_bodies_that_are_no_json_are_told_so(door: Door) -> None:
    for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}'):
        answer = door.http.post(door.url, content=body, headers={"content-type": "application/json"})
        assert answer.json()["error"]["code"] == -32_700


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getLogs", [{"fromBlock": "0x0", "toBlock": "0x0", "address": [ADDRESSES[0]] * 1_001}]),
        ("eth_getLogs", [{"topics": [None] * 5}]),
        ("eth_getLogs", [{"topics": [["0x" + "11" * 32] * 1_001]}]),
        ("eth_getLogs", ["all"]),
        ("eth_getLogs", [{"fromBlock": "0x-1"}]),
        ("eth_feeHistory", ["0xffff", "latest", []]),
        ("eth_feeHistory", ["0x1", "latest", [101]]),
        ("eth_feeHistory", ["0x1", "latest", "all"]),
        ("eth_getStorageAt", [ADDRESSES[0], hex(2**256), "latest"]),
        ("eth_getBalance", [ADDRESSES[0], {"blockNumber": True}]),
        ("eth_getBalance", [7, "latest"]),
        ("eth_call", [{"to": ADDRESSES[0], "data": "0x0"}, "latest"]),
        ("eth_call", [{"to": ADDRESSES[0], "value": "lots"}, "latest"]),
        ("eth_call", [{"to": ADDRESSES[0]}, "latest", {ADDRESSES[0]: {"balance": "0x1"}}]),
        ("eth_getBlockByNumber", ["0x0", "yes"]),
        ("evm_increaseTime", [2**40]),
        ("evm_setAutomine", [1]),
        ("anvil_reorg", [1, "all"]),
        ("anvil_reorg", [1, [["0x00"]]]),
        ("anvil_setBalance", [ADDRESSES[0], hex(2**256)]),
        ("anvil_setNextBlockBaseFeePerGas", [hex(2**63)]),
    ],
)
def test_an_argument_out_of_bounds_is_refused(door: Door, method: str, params: list[object]) -> None:
    with pytest.raises(RpcError) as refused:
        door.ask(method, *params)
    assert refused.value.code == -32_602


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("anvil_mine", [20_001]),
        ("anvil_reorg", [10**6, []]),
        ("anvil_rollback", [10**6]),
        ("eth_sendRawTransaction", ["0x" + "00" * 200_000]),
        ("eth_sendRawTransaction", ["0x"]),
        ("eth_sendRawTransaction", ["0x03" + "ff" * 100]),
    ],
)
def test_too_much_is_refused(door: Door, method: str, params: list[object]) -> None:
    with pytest.raises(RpcError) as refused:
        door.ask(method, *params)
    assert refused.value.code == -32_000


def test_a_call_that_never_ends_ends_with_its_gas(door: Door) -> None:
    forever = "0x5b600056"  # a loop, as the code that makes a contract
    with pytest.raises(RpcError, match="out of gas"):
        door.ask("eth_call", {"data": forever, "gas": hex(300_000)}, "latest")


def test_a_method_of_the_old_form_is_not_there(door: Door) -> None:
    """It holds no keys, so it cannot sign for anybody."""
    for method in (
        "eth_sendTransaction",
        "eth_sign",
        "personal_unlockAccount",
        "debug_traceCall",
        "admin_peers",
    ):
        with pytest.raises(RpcError) as refused:
            door.ask(method, {})
        assert refused.value.code == -32_601


def test_it_answers_while_a_client_says_nothing(door: Door) -> None:
    """One silent connection holds nobody up."""
    host, _, port = door.url.removeprefix("http://").rpartition(":")
    with httpx.Client(trust_env=False) as quiet:
        quiet.get(f"http://{host}:{port}/health")
        assert door.number("eth_chainId") == 31_337
