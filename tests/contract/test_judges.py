"""The chains that judge the contracts say the same of the same: what was done, what was refused and why, and when."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evm import ETHER, Contract, Evm, Reverted
from onchain import artifact
from shoal.errors import Refused

#: Code that takes all of its gas.
GREEDY = bytes.fromhex("fe")


@pytest.fixture
def token(evm: Evm) -> Iterator[Contract]:
    """A token of which the first account has a hundred, on a chain that is put back."""
    with evm.undone():
        token = evm.deploy(artifact("Token"))
        token.send("setMinter", evm.accounts[0].address)
        token.send("mint", evm.accounts[0].address, 100)
        yield token


def test_a_transaction_is_a_block_and_says_what_it_did(evm: Evm, token: Contract) -> None:
    one, other = evm.accounts[:2]
    before = evm.block
    sent = token.send("transfer", other.address, 30)
    assert (sent.block, evm.block, sent.fee_wei, sent.created) == (before + 1, before + 1, 0, "")
    assert [(event.name, event.args) for event in sent.events] == [
        ("Transfer", {"sender": one.address, "receiver": other.address, "value": 30})
    ]
    assert token.events("Transfer", since=sent.block) == list(sent.events)
    assert token.call("balanceOf", other.address) == 30
    assert 40_000 < sent.gas_used < 60_000


def test_a_refusal_has_the_contracts_words_and_is_a_block_all_the_same(evm: Evm, token: Contract) -> None:
    nobody = evm.accounts[2]
    before = evm.block
    for ask in (token.call, token.send):
        with pytest.raises(Reverted, match=r"^execution reverted: caller is not the minter$"):
            ask("mint", nobody.address, 1, sender=nobody)
    with pytest.raises(Reverted, match=r"^execution reverted$"):
        evm.send(token.address, value=1)
    with pytest.raises(Reverted, match=r"^execution reverted: round length cannot be 0$"):
        evm.deploy(artifact("Rounds"), 0)
    assert evm.block == before + 3
    assert token.call("totalSupply") == 100


def test_what_fails_without_a_word_is_not_a_refusal(evm: Evm, token: Contract) -> None:
    with pytest.raises(Refused) as failed:
        evm.send(None, GREEDY, gas=100_000)
    assert not isinstance(failed.value, Reverted)
    with pytest.raises(Refused) as failed:
        token.send("transfer", evm.accounts[1].address, 1, gas=22_000)
    assert not isinstance(failed.value, Reverted)


def test_what_nobody_can_pay_is_in_no_block(evm: Evm, token: Contract) -> None:
    poor, rich = evm.accounts[3:5]
    evm.set_balance(poor.address, ETHER)
    before = evm.block
    with pytest.raises(Refused):
        evm.send(rich.address, value=2 * ETHER, sender=poor)
    assert evm.block == before
    evm.send(rich.address, value=ETHER, sender=poor)
    assert evm.balance(poor.address) == 0


def test_a_call_changes_nothing(evm: Evm, token: Contract) -> None:
    for _ in range(2):
        assert token.call("transfer", evm.accounts[1].address, 100) is True
    assert token.call("balanceOf", evm.accounts[1].address) == 0


def test_time_and_blocks_pass_when_they_are_told_to_and_come_back(evm: Evm, token: Contract) -> None:
    snapshot = evm.snapshot()
    clock_s, block, name = evm.clock_s, evm.block, evm.block_hash(evm.block)
    evm.pass_time(500)
    evm.pass_time(500)
    token.send("transfer", evm.accounts[1].address, 1)
    assert 1_000 <= evm.clock_s - clock_s <= 1_001
    evm.mine(3)
    assert evm.block == block + 4
    evm.revert(snapshot)
    assert (evm.clock_s, evm.block, evm.block_hash(block)) == (clock_s, block, name)
    assert token.call("balanceOf", evm.accounts[1].address) == 0
