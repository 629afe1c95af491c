"""A node's key: one file, one id, one form of each signature."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import Refused, Untrusted
from shoal.runtime import keys
from shoal.runtime.keys import NodeKey, recover_hash, signer, verify

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ONE = NodeKey((1).to_bytes(32))
TWO = NodeKey((2).to_bytes(32))


def test_an_id_is_the_ethereum_address_of_the_key() -> None:
    assert ONE.id == "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"
    assert TWO.id == "0x2b5ad5c4795c026514f8317c7a215e218dccd6cf"


def test_a_signature_has_65_bytes_that_never_change() -> None:
    assert ONE.sign(b"shoal").hex() == (
        "fa3b2393a2fe46c0ca88f30ee3d634ed304d957b9d9275e0f11ada403f27c3304454d357e6e48ba0efd1a90729fbe4bcf163185d96c1e5d3a6ab51ff5e9590d301"
    )


def test_a_signature_names_its_maker() -> None:
    assert signer(b"words", ONE.sign(b"words")) == ONE.id
    assert verify(ONE.id, b"words", ONE.sign(b"words"))


def test_a_signature_holds_for_its_words_and_its_maker_only() -> None:
    signature = ONE.sign(b"words")
    assert not verify(ONE.id, b"other words", signature)
    assert not verify(TWO.id, b"words", signature)


@given(st.integers(0, 64), st.integers(1, 255))
def test_a_changed_signature_never_verifies(place: int, change: int) -> None:
    signature = bytearray(ONE.sign(b"words"))
    signature[place] ^= change
    assert not verify(ONE.id, b"words", bytes(signature))


def test_the_other_form_of_a_signature_is_refused() -> None:
    signature = ONE.sign(b"words")
    twin = (
        signature[:32] + (ORDER - int.from_bytes(signature[32:64])).to_bytes(32) + bytes([signature[64] ^ 1])
    )
    with pytest.raises(Untrusted, match="one accepted form"):
        signer(b"words", twin)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(64),
        bytes(66),
        bytes(65),
        ONE.sign(b"words")[:64] + b"\x04",
        b"\xff" * 32 + ONE.sign(b"words")[32:],
    ],
    ids=["none", "short", "long", "zeros", "recovery id", "r"],
)
def test_what_is_no_signature_is_untrusted(signature: bytes) -> None:
    with pytest.raises(Untrusted):
        signer(b"words", signature)
    assert not verify(ONE.id, b"words", signature)


@given(st.binary(max_size=70), st.binary(max_size=8))
def test_no_bytes_break_the_verifier(signature: bytes, data: bytes) -> None:
    assert not verify(ONE.id, data, signature)


def test_a_key_does_not_show_itself() -> None:
    assert repr(TWO) == f"NodeKey({TWO.id})"


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(32), ORDER.to_bytes(32)])
def test_what_is_no_key_is_none(secret: bytes) -> None:
    with pytest.raises(ValueError, match=r"32 bytes|less than"):
        NodeKey(secret)


def test_a_new_key_is_kept_and_private(tmp_path: Path) -> None:
    path = tmp_path / "node" / "key"
    key = NodeKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert NodeKey.load_or_create(path).id == key.id
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def test_two_new_keys_differ(tmp_path: Path) -> None:
    assert NodeKey.load_or_create(tmp_path / "a").id != NodeKey.load_or_create(tmp_path / "b").id


def test_of_two_who_make_the_file_at_once_the_first_wins(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = NodeKey.load_or_create(path)
    assert not keys._create(path, bytes([7]) * 32)
    assert NodeKey.load_or_create(path).id == first.id
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"0" * 64,
        b"f" * 64,
        b"1" * 63,
        b"1" * 65,
        b"1" * 64 + b"\n\n",
        b"G" * 64,
        b"\xff" * 64,
        bytes(99999),
    ],
)
def test_a_damaged_file_is_refused_with_advice(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(Refused, match="restore it from a copy, or move it away") as caught:
        NodeKey.load_or_create(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert path.read_bytes() == text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_file_open_to_others_is_refused_with_advice(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    NodeKey.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(Refused, match=rf"mode {mode:04o}\): `chmod 600` it"):
        NodeKey.load_or_create(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="Is a directory"):
        NodeKey.load_or_create(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="cannot be used"):
        NodeKey.load_or_create(tmp_path / "file" / "key")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused, match="No such file"):
        NodeKey.load_or_create(tmp_path / "link")


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match="No space left"):
        NodeKey.load_or_create(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_a_hash_is_signed_the_way_of_the_chain() -> None:
    signature = ONE.sign_hash(b"\x11" * 32)
    assert signature == ONE.sign_hash(b"\x11" * 32)
    assert len(signature) == 65
    assert signature[64] in (27, 28)
    assert recover_hash(b"\x11" * 32, signature) == ONE.id
    assert recover_hash(b"\x12" * 32, signature) != ONE.id


@pytest.mark.parametrize(
    "spoil",
    [
        lambda signature: signature[:-1],
        lambda signature: signature + b"\x1b",
        lambda signature: signature[:64] + bytes([signature[64] - 27]),
        lambda signature: signature[:64] + b"\x1d",
        lambda signature: (
            signature[:32]
            + (ORDER - int.from_bytes(signature[32:64])).to_bytes(32)
            + bytes([55 - signature[64]])
        ),
        lambda signature: bytes(64) + b"\x1b",
        lambda signature: b"\xff" * 32 + signature[32:],
    ],
    ids=["short", "long", "v of 0 or 1", "v of 29", "high s", "zeros", "r too high"],
)
def test_a_signature_of_a_hash_has_one_form(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Untrusted):
        recover_hash(b"\x11" * 32, spoil(ONE.sign_hash(b"\x11" * 32)))
