"""Rounds: they pass with the blocks, and anybody opens them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evm import Evm, Reverted
from onchain import ROUND_BLOCKS, Onchain, refusal


@pytest.fixture
def chain(evm: Evm) -> Iterator[Onchain]:
    with evm.undone():
        yield Onchain(evm)


def test_a_round_is_so_many_blocks_and_the_first_is_1(chain: Onchain) -> None:
    start = chain.rounds.call("lastRoundLengthUpdateStartBlock")
    assert (chain.round, chain.rounds.call("lastRoundLengthUpdateRound")) == (1, 1)
    assert chain.rounds.call("currentRoundStartBlock") == start
    assert chain.rounds.call("roundLength") == ROUND_BLOCKS
    for number, round_ in ((start + ROUND_BLOCKS - 1, 1), (start + ROUND_BLOCKS, 2)):
        chain.evm.mine(number - chain.evm.block)
        assert (chain.rounds.call("blockNum"), chain.round) == (number, round_)
    assert chain.rounds.call("currentRoundStartBlock") == start + ROUND_BLOCKS
    assert not chain.rounds.call("currentRoundLocked")


def test_anybody_opens_a_round_once(chain: Onchain) -> None:
    assert refusal(chain.rounds, "initializeRound") == "round already initialized"
    chain.next_round(3, initialise=False)
    assert not chain.rounds.call("currentRoundInitialized")
    assert chain.rounds.call("blockHashForRound", 4) == bytes(32)
    sent = chain.rounds.send("initializeRound", sender=chain.people[5])
    parent = chain.evm.block_hash(sent.block - 1)
    assert sent.events[0].args == {"round": 4, "blockHash": parent}
    assert chain.rounds.call("blockHashForRound", 4) == parent
    assert chain.rounds.call("currentRoundInitialized")
    assert chain.rounds.call("lastInitializedRound") == 4
    # A round that nobody opened has no hash, and never will have one.
    assert chain.rounds.call("blockHashForRound", 3) == bytes(32)


def test_block_hashes_are_the_last_256(chain: Onchain) -> None:
    chain.evm.mine(300)
    for number in (chain.evm.block - 1, chain.evm.block - 256):
        assert chain.rounds.call("blockHash", number) == chain.evm.block_hash(number)
    for number, reason in (
        (chain.evm.block, "can only retrieve past block hashes"),
        (chain.evm.block - 257, "can only retrieve hashes for last 256 blocks"),
    ):
        with pytest.raises(Reverted, match=reason):
            chain.rounds.call("blockHash", number)


@pytest.mark.parametrize(
    ("blocks", "reason"), [(0, "round length cannot be 0"), (216_001, "round length is too long")]
)
def test_a_round_has_a_length_within_limits(chain: Onchain, blocks: int, reason: str) -> None:
    with pytest.raises(Reverted, match=reason):
        chain.deploy("Rounds", blocks)
