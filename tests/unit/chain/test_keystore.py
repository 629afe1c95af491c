"""Keystores that others wrote are opened, ours are opened by others, and damaged or costly ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from shoal.chain.keystore import open_keystore, write_keystore
from shoal.errors import Refused

#: The vectors of the format's definition.
SECRET = bytes.fromhex("7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d")
PBKDF2: dict[str, Any] = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}


def written(folder: Path, content: object) -> Path:
    path = folder / "keystore.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_one_that_others_wrote_is_opened(tmp_path: Path) -> None:
    assert open_keystore(written(tmp_path, PBKDF2), "testpassword") == SECRET


def test_ours_is_opened_by_others_and_by_us(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    write_keystore(path, SECRET, "a passphrase, with ümlauts")
    assert bytes(Account.decrypt(path.read_text(), "a passphrase, with ümlauts")) == SECRET
    assert open_keystore(path, "a passphrase, with ümlauts") == SECRET
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="cannot be written: File exists"):
        write_keystore(path, SECRET, "x")
    with pytest.raises(Refused, match="needs a passphrase"):
        write_keystore(tmp_path / "other.json", SECRET, "")


def test_a_wrong_passphrase_is_said_to_be_wrong(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the passphrase does not open"):
        open_keystore(written(tmp_path, PBKDF2), "testpasswort")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "{}", '{"version": 3}', '{"crypto": 3}', "é" * 20_000]
)
def test_what_is_no_keystore_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(Refused, match="is no keystore of version 3"):
        open_keystore(written(tmp_path, content), "x")


@pytest.mark.parametrize(
    "kdfparams", [{"n": 2**30, "r": 8, "p": 1}, {"n": 2**18, "r": 10_000, "p": 1}, {"c": 2**40}]
)
def test_one_that_would_tie_us_up_is_refused(tmp_path: Path, kdfparams: dict[str, int]) -> None:
    crypto = PBKDF2["crypto"] | {"kdfparams": PBKDF2["crypto"]["kdfparams"] | kdfparams}
    with pytest.raises(Refused, match="more work than any wallet"):
        open_keystore(written(tmp_path, PBKDF2 | {"crypto": crypto}), "x")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read: No such file"):
        open_keystore(tmp_path / "none", "x")
