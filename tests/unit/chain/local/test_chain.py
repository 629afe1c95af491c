"""The local chain, without its door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shoal.chain.contracts
from evm import ETHER, Contract, Evm, Reverted
from shoal.chain.local.chain import LocalChain
from shoal.chain.local.execution import Call
from shoal.chain.local.shelf import Shelf
from shoal.errors import Failed, Refused

CONTRACTS = Path(shoal.chain.contracts.__path__[0])


def artifact(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((CONTRACTS / f"{name}.json").read_text())
    return value


@pytest.fixture
def evm() -> Evm:
    return Evm()


@pytest.fixture
def token(evm: Evm) -> Contract:
    token = evm.deploy(artifact("Token"))
    token.send("setMinter", evm.accounts[0].address)
    token.send("mint", evm.accounts[0].address, 100)
    return token


def test_a_full_disk_ends_a_change_in_one_clear_line(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "chain.sqlite3")
    (used,) = shelf._database.execute("PRAGMA page_count").fetchone()
    shelf._database.execute(f"PRAGMA max_page_count = {used}")
    with pytest.raises(Failed, match=r"chain.sqlite3 cannot be used \(.*is full\)"), shelf.change():
        shelf.put_waiting(b"1" * 32, bytes(100_000))
    assert shelf.waiting() == []
    shelf._database.execute("PRAGMA max_page_count = 1000")
    with shelf.change():
        shelf.put_waiting(b"1" * 32, bytes(100_000))
    assert len(shelf.waiting()) == 1


def test_a_transfer_moves_what_it_says_and_its_fee_and_nothing_else() -> None:
    evm = Evm(base_fee_wei=7)
    one, other = evm.accounts[:2]
    before = evm.balance(one.address)
    sent = evm.send(other.address, value=5, sender=one, gas=21_000, tip=2)
    assert sent.gas_used == 21_000
    assert sent.fee_wei == 21_000 * 9
    assert evm.balance(one.address) == before - 5 - sent.fee_wei
    assert evm.balance(other.address) == 1_000_000 * ETHER + 5
    assert evm.balance("0x" + "00" * 20) == 21_000 * 2, "the tip goes to the coinbase, the base fee to nobody"


def test_a_contract_is_deployed_called_and_heard(evm: Evm, token: Contract) -> None:
    one, other = evm.accounts[:2]
    sent = token.send("transfer", other.address, 30)
    assert token.call("balanceOf", one.address) == 70
    assert token.call("balanceOf", other.address) == 30
    [event] = sent.events
    assert (event.name, list(event.args.values())) == ("Transfer", [one.address, other.address, 30])
    assert token.events("Transfer", since=sent.block) == [event]


def test_a_refusal_comes_with_the_contracts_own_words(evm: Evm, token: Contract) -> None:
    nobody = evm.accounts[2]
    with pytest.raises(Reverted) as called:
        token.call("mint", nobody.address, 1, sender=nobody)
    with pytest.raises(Reverted) as sent:
        token.send("mint", nobody.address, 1, sender=nobody)
    assert str(called.value) == str(sent.value)
    assert str(sent.value).startswith("execution reverted: ")
    assert sent.value.data[:4].hex() == "08c379a0"
    assert token.call("totalSupply") == 100


def test_a_snapshot_puts_everything_back_once(evm: Evm, token: Contract) -> None:
    one, other = evm.accounts[:2]
    head = evm.chain.head
    snapshot = evm.snapshot()
    sent = token.send("transfer", other.address, 30)
    evm.mine(3)
    later = evm.snapshot()
    evm.revert(snapshot)
    assert evm.chain.head == head
    assert token.call("balanceOf", one.address) == 100
    assert evm.chain.entry(sent.hash) is None
    assert not evm.chain.revert(snapshot)
    assert not evm.chain.revert(later)
    token.send("transfer", other.address, 1)
    assert token.call("balanceOf", other.address) == 1


def test_older_states_can_still_be_asked(evm: Evm, token: Contract) -> None:
    one, other = evm.accounts[:2]
    before = evm.chain.head
    token.send("transfer", other.address, 30)
    address = bytes.fromhex(token.address[2:])
    call = Call(bytes.fromhex(one.address[2:]), address, token.data("balanceOf", one.address), 0, 100_000)
    assert int.from_bytes(evm.chain.call(call, before).output) == 100
    assert int.from_bytes(evm.chain.call(call).output) == 70


def test_an_estimate_is_enough_and_hardly_more(evm: Evm, token: Contract) -> None:
    one, other = evm.accounts[:2]
    data = token.data("transfer", other.address, 30)
    address = bytes.fromhex(token.address[2:])
    estimate = evm.chain.estimate(Call(bytes.fromhex(one.address[2:]), address, data, 0, 10_000_000))
    with evm.undone():
        used = token.send("transfer", other.address, 30, gas=estimate).gas_used
    assert used <= estimate <= used * 1.1
    with pytest.raises(Reverted):
        evm.chain.estimate(
            Call(
                bytes.fromhex(one.address[2:]), address, token.data("transfer", other.address, 101), 0, 10**7
            )
        )


def test_the_same_nonce_again_must_pay_a_tenth_more() -> None:
    evm = Evm(base_fee_wei=100)
    evm.chain.set_automine(False)
    to = evm.accounts[1].address
    old = evm.chain.send(evm.sign(to, nonce=0, fee=1_000, tip=100, value=1))
    with pytest.raises(Refused, match="underpriced"):
        evm.chain.send(evm.sign(to, nonce=0, fee=1_099, tip=110, value=2))
    new = evm.chain.send(evm.sign(to, nonce=0, fee=1_100, tip=110, value=3))
    evm.mine()
    assert evm.chain.entry(old) is None
    assert evm.chain.receipt(new).success
    assert evm.balance(to) == 1_000_000 * ETHER + 3


def test_what_pays_less_than_the_base_fee_waits_until_it_falls() -> None:
    evm = Evm(base_fee_wei=100)
    digest = evm.chain.send(evm.sign(evm.accounts[1].address, fee=99))
    evm.mine()
    assert evm.chain.entry(digest) is None
    assert evm.chain.nonce(bytes.fromhex(evm.accounts[0].address[2:])) == 1
    evm.chain.set_base_fee_wei(99)
    evm.mine()
    assert evm.chain.receipt(digest).gas_price_wei == 99


def test_better_prices_go_first_and_nonces_stay_in_order() -> None:
    evm = Evm(base_fee_wei=100)
    evm.chain.set_automine(False)
    poor, rich, to = evm.accounts[:3]
    sent = [
        evm.chain.send(evm.sign(to.address, sender=who, nonce=nonce, fee=10_000, tip=tip))
        for who, nonce, tip in ((poor, 1, 900), (poor, 0, 1), (rich, 0, 500), (rich, 1, 5))
    ]
    evm.mine()
    assert evm.chain.head.transactions == (sent[2], sent[3], sent[1], sent[0])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"nonce": 0}, "nonce too low"),
        ({"value": 2_000_000 * ETHER}, "insufficient funds"),
        ({"gas": 20_999}, "intrinsic gas too low"),
        ({"gas": 30_000_001}, "exceeds block gas limit"),
        ({"fee": 5, "tip": 6}, "max priority fee per gas higher"),
    ],
)
def test_what_could_never_be_mined_is_refused(changes: dict[str, Any], why: str) -> None:
    evm = Evm(base_fee_wei=1)
    evm.send(evm.accounts[1].address)
    with pytest.raises(Refused, match=why):
        evm.chain.send(evm.sign(evm.accounts[1].address, **changes))
    assert len(evm.chain.pool) == 0


@pytest.mark.parametrize(
    "raw", [b"", b"\x02", b"\xc0", b"\x00" * 100, b"\x02\xf8" + b"\xff" * 200, b"\x7f" * 9]
)
def test_bytes_that_are_no_transaction_are_refused(evm: Evm, raw: bytes) -> None:
    with pytest.raises(Refused, match=r"no signed transaction|not taken"):
        evm.chain.send(raw)


def test_a_reorganisation_puts_other_blocks_in_the_place_of_the_last() -> None:
    evm = Evm(base_fee_wei=1)
    to = evm.accounts[1].address
    evm.mine(3)
    lost, kept = evm.sign(to, value=1), evm.sign(to, value=2)
    digest = evm.chain.send(lost)
    evm.mine(2)
    before = [evm.chain.block(number) for number in range(evm.block + 1)]
    evm.chain.reorganise(3, {0: [kept]})
    after = [evm.chain.block(number) for number in range(evm.block + 1)]
    assert len(before) == len(after)
    assert before[:-3] == after[:-3]
    assert all(old is not None and old.hash not in {new.hash for new in after if new} for old in before[-3:])
    assert evm.chain.entry(digest) is None
    assert evm.balance(to) == 1_000_000 * ETHER + 2


def test_blocks_hang_together(evm: Evm, token: Contract) -> None:
    evm.mine(5)
    for number in range(1, evm.block + 1):
        block, before = evm.chain.block(number), evm.chain.block(number - 1)
        assert block is not None
        assert before is not None
        assert block.parent == before.hash
        assert block.timestamp_s >= before.timestamp_s
        assert evm.chain.block_of(block.hash) == block


def test_time_moves_when_it_is_told_to(evm: Evm) -> None:
    before = evm.chain.head.timestamp_s
    assert evm.chain.increase_time(60) == 60
    evm.mine()
    assert evm.chain.head.timestamp_s == before + 60
    evm.chain.set_next_timestamp(before + 100)
    evm.mine()
    assert evm.chain.head.timestamp_s == before + 100
    with pytest.raises(Refused):
        evm.chain.set_next_timestamp(before)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "chain.sqlite3"


def test_it_goes_on_from_what_is_on_the_shelf(path: Path) -> None:
    evm = Evm(base_fee_wei=3)
    to = evm.accounts[1].address
    chain = evm.chain = LocalChain(Shelf(path), lambda: evm.now_ms, base_fee_wei=3)
    evm.set_balance(evm.accounts[0].address, ETHER)
    mined = chain.send(evm.sign(to, value=1))
    chain.set_automine(False)
    waits = chain.send(evm.sign(to, value=2))
    chain.set_base_fee_wei(2)
    chain.increase_time(50)
    head = chain.head

    again = evm.chain = LocalChain(Shelf(path), lambda: evm.now_ms, base_fee_wei=3)
    assert again.head == head
    assert again.receipt(mined).success
    assert again.base_fee_wei == 2
    assert again.pool.get(waits) is not None
    again.mine()
    assert evm.balance(to) == 3
    assert again.head.timestamp_s == head.timestamp_s + 50
    with pytest.raises(Refused, match="id is"):
        LocalChain(Shelf(path), lambda: evm.now_ms, chain_id=5)


def test_an_error_in_the_middle_of_a_block_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    evm = Evm(base_fee_wei=1)
    to = evm.accounts[1].address
    head, raw = evm.chain.head, evm.sign(to, value=1)

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "put_block", fail)
        with pytest.raises(OSError, match="full"):
            evm.chain.send(raw)
    assert evm.chain.head == head
    assert len(evm.chain.pool) == 0
    assert evm.chain.receipt(evm.chain.send(raw)).success
    assert evm.balance(to) == 1_000_000 * ETHER + 1


def test_a_contract_that_calls_itself_goes_as_deep_as_its_gas(evm: Evm) -> None:
    """Python's own stack must bear it."""
    call_itself = bytes.fromhex("5f5f5f5f5f305af1")
    copy = bytes.fromhex("60085f81600a8239f3")
    made = evm.send(None, copy.replace(b"\x0a", bytes([len(copy)])) + call_itself).receipt.created
    assert made is not None
    assert evm.chain.accounts().code(made) == call_itself
    outcome = evm.chain.call(Call(bytes(20), made, b"", 0, 30_000_000))
    assert outcome.success
    assert outcome.gas_used > 21_000 + 500 * 100, (
        "a call costs 100 gas at least, and it is some five hundred deep"
    )
