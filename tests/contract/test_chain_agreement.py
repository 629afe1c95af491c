"""Whatever a transaction does, our chain and anvil agree on its gas, its end, its logs and its code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import pytest
from eth_abi import encode

from chains import ADDRESSES, ETHER, Door, anvil, ours
from shoal.chain.local.execution import keccak_of

PROGRAMS = 240
MOVES = 100
#: What a program may ask that two chains rightly answer differently: prices, what is left of them, hashes and times.
OF_ITS_CHAIN = {0x31, 0x3A, 0x40, 0x41, 0x42, 0x44, 0x47, 0x48}
SELECTORS = {
    name: keccak_of(name.encode())[:4]
    for name in (
        "transfer(address,uint256)",
        "transferFrom(address,address,uint256)",
        "approve(address,uint256)",
        "mint(address,uint256)",
    )
}


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, Door]]:
    home: Path = tmp_path_factory.mktemp("chain")
    with ours(home) as one, anvil() as other:
        for door in (one, other):
            for address in ADDRESSES:
                door.ask("anvil_setBalance", address, hex(1_000 * ETHER))
        yield one, other


def outcome(door: Door, who: int, to: str | None, **changes: Any) -> dict[str, Any]:
    """What both must say of a transaction."""
    receipt = door.receipt(door.send(who, to, **changes))
    logs = [(log["address"], log["topics"], log["data"], log["logIndex"]) for log in receipt["logs"]]
    kept = (
        "status",
        "gasUsed",
        "cumulativeGasUsed",
        "contractAddress",
        "type",
        "logsBloom",
        "transactionHash",
    )
    code = receipt["contractAddress"] and door.ask("eth_getCode", receipt["contractAddress"], "latest")
    return {name: receipt.get(name) for name in kept} | {"logs": logs, "code": code}


def program(random: Random) -> bytes:
    """Some instructions, most of which find what they need on the stack."""
    code = bytearray()
    for _ in range(random.randrange(5, 60)):
        code += bytes([0x60, random.choice((0, 1, 2, 31, 32, 64, random.randrange(256)))]) * random.randrange(
            4
        )
        instruction = random.choice(
            (random.randrange(0x60), random.randrange(0x80, 0xA5), random.randrange(0xF0, 256))
        )
        if instruction not in OF_ITS_CHAIN:
            code.append(instruction)
    return bytes(code)


@pytest.mark.parametrize("seed", range(3))
def test_programs_of_chance_cost_and_leave_the_same(doors: tuple[Door, Door], seed: int) -> None:
    random = Random(seed)
    ends = set()
    for _ in range(PROGRAMS // 3):
        data, gas = program(random), random.choice((60_000, 100_000, 400_000))
        one, other = (outcome(door, 1, None, data=data, gas=gas, value=len(data) % 3) for door in doors)
        assert one == other, data.hex()
        ends.add(one["status"])
    assert ends == {"0x0", "0x1"}, "some come to a good end, some do not"


def test_a_token_moves_the_same(doors: tuple[Door, Door]) -> None:
    random = Random(7)
    code = json.loads(files("shoal.chain.contracts").joinpath("Token.json").read_text())["bytecode"]
    made = [outcome(door, 0, None, data=bytes.fromhex(code[2:])) for door in doors]
    assert made[0] == made[1]
    token = made[0]["contractAddress"]
    set_minter = keccak_of(b"setMinter(address)")[:4] + encode(["address"], [ADDRESSES[0]])
    assert outcome(doors[0], 0, token, data=set_minter) == outcome(doors[1], 0, token, data=set_minter)
    ends = []
    for _ in range(MOVES):
        name = random.choice(list(SELECTORS))
        types = name[name.index("(") + 1 : -1].split(",")
        values = [
            random.choice(ADDRESSES) if kind == "address" else random.choice((0, 1, 50, 2**255))
            for kind in types
        ]
        data, who = SELECTORS[name] + encode(types, values), random.randrange(len(ADDRESSES))
        one, other = (outcome(door, who, token, data=data, gas=200_000) for door in doors)
        assert one == other, (name, values)
        ends.append(one["status"])
    assert 10 < ends.count("0x1") < MOVES - 10
    slots = [
        [door.ask("eth_getStorageAt", token, hex(slot), "latest") for slot in range(8)] for door in doors
    ]
    assert slots[0] == slots[1]
