"""What the keeper puts on a local chain, and how it keeps the rounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evm import ETHER, START_MS
from shoal.chain.local.chain import LocalChain
from shoal.chain.local.config import Settings
from shoal.chain.local.execution import NOBODY, Call
from shoal.chain.local.keeper import ADDRESSES, CONTRACTS, KEEPER, Keeper, calldata
from shoal.chain.local.shelf import Shelf
from shoal.errors import Refused

SETTINGS = Settings(home="", round_blocks=10)


def chain_on(shelf: Shelf) -> LocalChain:
    return LocalChain(shelf, lambda: START_MS)


def founded(settings: Settings = SETTINGS) -> tuple[LocalChain, Keeper]:
    chain = chain_on(Shelf())
    keeper = Keeper(chain)
    keeper.found(settings)
    return chain, keeper


def ask(chain: LocalChain, contract: str, signature: str, *values: object) -> int:
    outcome = chain.call(Call(NOBODY, ADDRESSES[contract], calldata(signature, *values), 0, 1_000_000))
    assert outcome.success, outcome.error
    return int.from_bytes(outcome.output)


def test_every_contract_is_where_it_is_expected_and_knows_the_others() -> None:
    chain, _ = founded()
    for name in CONTRACTS:
        assert chain.accounts().code(ADDRESSES[name]), name
    assert ask(chain, "Rounds", "roundLength()") == 10
    assert ask(chain, "Token", "minter()") == int.from_bytes(KEEPER)
    assert ask(chain, "TicketBroker", "ticketValidityPeriod()") == 2
    assert ask(chain, "Bonding", "getTranscoderPoolMaxSize()") == 100


def test_each_round_is_opened_in_its_first_block_however_blocks_are_made() -> None:
    chain, _ = founded()
    chain.mine(30)
    ways: list[Callable[[], object]] = [
        chain.mine,
        lambda: chain.mine(7),
        lambda: chain.give({bytes([chain.head.number % 256]) * 20: 1}),
        lambda: chain.reorganise(3),
        lambda: chain.roll_back(5),
    ]
    for step in range(60):
        ways[step % len(ways)]()
        assert ask(chain, "Rounds", "currentRoundInitialized()"), f"step {step}, block {chain.head.number}"
    assert ask(chain, "Rounds", "currentRound()") > 5


def test_a_round_that_was_taken_back_is_opened_again() -> None:
    chain, _ = founded()
    snapshot = chain.snapshot()
    chain.mine(25)
    current = ask(chain, "Rounds", "currentRound()")
    assert chain.revert(snapshot)
    chain.mine(25)
    assert ask(chain, "Rounds", "currentRound()") == current
    assert ask(chain, "Rounds", "currentRoundInitialized()")


def test_everybody_is_given_once() -> None:
    chain, keeper = founded()
    one, other = "0x" + "11" * 20, "0x" + "22" * 20
    for accounts in ({"one": one}, {"one": one, "other": other}):
        keeper.fund(accounts, 5, 7)
    for who in (one, other):
        assert chain.accounts().balance_wei(bytes.fromhex(who[2:])) == 5 * ETHER
        assert ask(chain, "Token", "balanceOf(address)", who) == 7 * ETHER
    with pytest.raises(Refused, match="two is"):
        keeper.fund({"two": "0x12"}, 1, 1)


def test_a_founding_that_was_killed_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chain.sqlite3"
    whole, _ = founded()
    for sends in range(1, 12):
        shelf = Shelf(path)
        keeper = Keeper(chain_on(shelf))
        send, left = keeper._send, [sends]

        def fail_later(what: str, to: bytes | None, data: bytes, send=send, left=left) -> None:  # type: ignore[no-untyped-def]
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            send(what, to, data)

        monkeypatch.setattr(keeper, "_send", fail_later)
        try:
            keeper.found(SETTINGS)
        except KeyboardInterrupt:
            shelf.close()
            continue
        break
    chain = chain_on(Shelf(path))
    assert chain.accounts().nonce(KEEPER) == whole.accounts().nonce(KEEPER)
    for name in CONTRACTS:
        assert chain.accounts().code(ADDRESSES[name]) == whole.accounts().code(ADDRESSES[name])
