"""`shoal wallet` and `shoal payouts` as people type them, on a chain of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from chains import Door, ours
from shoal.cli.main import main
from shoal.runtime.keys import NodeKey

ETHER = 10**18
KEY = NodeKey(bytes([9]) * 32)


class Terminal:
    """Somebody who types `shoal wallet`."""

    def __init__(self, capsys: pytest.CaptureFixture[str], key: Path, chain: Path) -> None:
        self.capsys = capsys
        self.key = key
        self.chain = chain

    def type(self, *words: str, chain: bool = True) -> tuple[int, str, str]:
        more = ["--chain-file", str(self.chain / "chain.json")] if chain else []
        code = main(["wallet", *words, "--key", str(self.key), *more])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def ask(self, *words: str) -> dict[str, Any]:
        code, out, err = self.type(*words, "--json")
        assert code == 0, err
        return dict(json.loads(out))


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[Terminal, Door]]:
    key = tmp_path / "key"
    key.write_text((bytes([9]) * 32).hex())
    key.chmod(0o600)
    home = tmp_path / "chain"
    flags = ("--contracts", "true", "--round-blocks", "20", "--unlock-rounds", "1")
    flags += ("--accounts", json.dumps({"me": KEY.id}), "--account-ether", "10")
    with ours(home, *flags) as door:
        yield Terminal(capsys, key, home), door


def test_money_goes_in_and_comes_out_again(terminal: tuple[Terminal, Door]) -> None:
    desk, door = terminal
    state = desk.ask("balance")
    assert (state["address"], state["balance_wei"], state["deposit_wei"]) == (KEY.id, str(10 * ETHER), "0")
    state = desk.ask("fund", "--deposit", "1.5eth", "--reserve", "500000000gwei")
    assert (state["deposit_wei"], state["reserve_wei"]) == (str(15 * ETHER // 10), str(ETHER // 2))
    spent = 2 * ETHER + int(state["fee_wei"])
    assert int(state["balance_wei"]) == 10 * ETHER - spent

    code, _, err = desk.type("withdraw")
    assert (code, "nothing is being unlocked: say `shoal wallet unlock` first" in err) == (1, True)
    state = desk.ask("unlock")
    assert state["withdraw_round"] == state["round"] + 1
    code, _, err = desk.type("withdraw")
    assert code == 1
    assert f"locked until round {state['withdraw_round']}" in err
    assert desk.ask("cancel-unlock")["withdraw_round"] is None
    desk.ask("unlock")
    door.ask("anvil_mine", hex(45))
    state = desk.ask("withdraw")
    assert (state["deposit_wei"], state["reserve_wei"]) == ("0", "0")
    assert int(state["balance_wei"]) > 10 * ETHER - ETHER // 100

    code, out, _ = desk.type("balance")
    assert code == 0
    assert "deposit      0 eth" in out.splitlines()
    assert "unlocking    no" in out.splitlines()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fund",), "say how much"),
        (("fund", "--deposit", "1"), "'1' is no amount: write a number and its unit"),
        (("fund", "--deposit", "11eth"), "has 10000000000000000000 wei"),
        (("unlock",), "sender deposit and reserve are zero"),
        (("cancel-unlock",), "no unlock request in progress"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    terminal: tuple[Terminal, Door], words: tuple[str, ...], message: str
) -> None:
    code, out, err = terminal[0].type(*words)
    assert (code, out) == (1, "")
    assert err.startswith("shoal wallet: ")
    assert len(err.splitlines()) == 1
    assert message in err


def test_a_key_is_made_taken_from_a_keystore_and_given_to_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Terminal(capsys, tmp_path / "new/key", tmp_path)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    said = ("--passphrase-file", str(passphrase), "--json")
    code, out, _ = desk.type("create", "--json", chain=False)
    assert code == 0
    made = json.loads(out)["address"]
    assert desk.type("create", chain=False)[2].startswith("shoal wallet: there is a key in")
    keystore = tmp_path / "keystore.json"
    code, out, _ = desk.type("export", str(keystore), *said, chain=False)
    assert json.loads(out)["address"] == made
    assert Account.from_key(Account.decrypt(keystore.read_text(), "correct horse")).address.lower() == made
    desk.key = tmp_path / "other/key"
    code, out, _ = desk.type("import", str(keystore), *said, chain=False)
    assert json.loads(out)["address"] == made
    assert NodeKey.load(desk.key).id == made
    assert desk.key.stat().st_mode & 0o777 == 0o600
    passphrase.write_text("wrong\n")
    desk.key = tmp_path / "third/key"
    code, _, err = desk.type("import", str(keystore), *said, chain=False)
    assert (code, "the passphrase does not open" in err) == (1, True)
    assert not desk.key.exists()


def test_without_a_chain_it_says_what_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_HOME", str(tmp_path))
    assert main(["wallet", "create"]) == 0
    assert main(["wallet", "balance"]) == 1
    assert "no chain is named" in capsys.readouterr().err
    assert main(["payouts"]) == 1
    assert "no redeemer is known here" in capsys.readouterr().err
