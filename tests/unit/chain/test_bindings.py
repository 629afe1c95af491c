"""What we call is what our contracts have, and what Livepeer's have: names, types, topics."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from shoal.chain import bindings
from shoal.chain.abi import EventKind, Field, event, method, read_log
from shoal.chain.bindings import BROKER_EVENTS, TicketBroker, methods
from shoal.chain.reader import ticket_tuple
from shoal.chain.rpc import NodeRefused
from shoal.errors import Refused
from shoal.money.keccak import keccak256
from shoal.money.ticket import Ticket, uint256

CONTRACTS = ("TicketBroker", "Rounds", "Bonding", "ServiceRegistry", "Payouts", "Token")
A, B = "0x" + "ab" * 20, "0x" + "cd" * 20


def abi(name: str) -> list[dict[str, Any]]:
    text = files("shoal.chain.contracts").joinpath(f"{name}.json").read_text()
    return list(json.loads(text)["abi"])


def kind(one: dict[str, Any]) -> str:
    if not one["type"].startswith("tuple"):
        return str(one["type"])
    return f"({','.join(map(kind, one['components']))}){one['type'].removeprefix('tuple')}"


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_method_is_one_of_the_contract(name: str) -> None:
    rows = {
        (row["name"], tuple(map(kind, row["inputs"]))): tuple(map(kind, row["outputs"]))
        for row in abi(name)
        if row["type"] == "function"
    }
    for one in methods(getattr(bindings, name)).values():
        assert rows[one.name, one.takes] == one.gives, one.name


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_event_is_one_of_the_contract(name: str) -> None:
    rows = {
        row["name"]: tuple((kind(each), each["indexed"]) for each in row["inputs"])
        for row in abi(name)
        if row["type"] == "event"
    }
    for one in vars(getattr(bindings, name)).values():
        if isinstance(one, EventKind):
            assert rows[one.name] == tuple((field.type, field.indexed) for field in one.fields)


def test_selectors_and_topics_are_ethereums() -> None:
    assert method("transfer(address,uint256)").selector.hex() == "a9059cbb"
    assert method("balanceOf(address)").selector.hex() == "70a08231"
    transfer = event("Transfer(address indexed from, address indexed to, uint256 value)")
    assert transfer.topic == "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


def test_a_ticket_is_named_by_the_contract_as_by_us() -> None:
    ticket = Ticket(A, B, uint256(2**200), uint256(3), 7, keccak256(b"rand"), uint256(1) + uint256(2))  # type: ignore[arg-type]
    data = TicketBroker.ticket_hash.call(ticket_tuple(ticket))
    assert data[:4] == TicketBroker.ticket_hash.selector
    assert data[4 + 32 * 1 :][:32].hex().endswith("ab" * 20)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(Refused, match="usedTickets does not take that"):
        TicketBroker.used_tickets.call(b"x" * 33)
    with pytest.raises(NodeRefused, match="is the address right"):
        TicketBroker.used_tickets.values(b"")


def test_logs_are_read_by_their_topic() -> None:
    log = {
        "address": A.upper().replace("0X", "0x"),
        "topics": [TicketBroker.TRANSFER.topic, "0x" + A[2:].zfill(64), "0x" + B[2:].zfill(64)],
        "data": "0x" + uint256(5).hex(),
        "blockNumber": "0x10",
        "blockHash": "0xbb",
        "transactionHash": "0xaa",
        "logIndex": "0x2",
    }
    found = read_log(log, BROKER_EVENTS)
    assert found is not None
    assert found.values == {"sender": A, "recipient": B, "amount": 5}
    assert (found.address, found.kind, found.block, found.index) == (A, "WinningTicketTransfer", 16, 2)
    assert read_log(log | {"topics": ["0x" + 64 * "0"]}, BROKER_EVENTS) is None
    assert read_log(log | {"topics": []}, BROKER_EVENTS) is None
    with pytest.raises(NodeRefused, match="no WinningTicketTransfer"):
        read_log(log | {"topics": log["topics"][:2]}, BROKER_EVENTS)


def test_a_signature_is_taken_apart() -> None:
    one = event("E(address indexed a, (uint256,bytes)[] b)")
    assert one.fields == (Field("a", "address", True), Field("b", "(uint256,bytes)[]"))
    assert method("f((uint256,bytes)[],bool)", "(uint256,uint256),bool").gives == (
        "(uint256,uint256)",
        "bool",
    )
