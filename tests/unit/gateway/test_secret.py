"""A key's text: random, whole, and one wrong letter is noticed."""

from __future__ import annotations

import pytest

from shoal.gateway.secret import DIGITS, LENGTH, hashed, is_mistyped, key_id, secret

TEXT = secret(bytes(range(32)))


def test_every_key_has_the_same_form() -> None:
    for bits in (bytes(32), bytes(range(32)), b"\xff" * 32):
        text = secret(bits)
        assert len(text) == LENGTH
        assert text.startswith("shoal_")
        assert set(text.removeprefix("shoal_")) <= set(DIGITS)
        assert not is_mistyped(text)
    assert len({secret(bytes(31) + bytes([n])) for n in range(256)}) == 256


def test_a_key_is_256_bits() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        secret(bytes(31))


def test_every_wrong_letter_is_noticed() -> None:
    for at in range(len("shoal_"), len(TEXT)):
        for letter in DIGITS:
            if letter != TEXT[at]:
                assert is_mistyped(TEXT[:at] + letter + TEXT[at + 1 :])
    for wrong in (TEXT[:-1], TEXT + "0", "shoal_", "shoal_x"):
        assert is_mistyped(wrong)


def test_what_was_never_a_key_of_ours_is_no_typo() -> None:
    assert not any(map(is_mistyped, ("", "sk-1", "SHOAL_x", "a shoal_key")))


def test_a_name_gives_nothing_away() -> None:
    hash_ = hashed(TEXT.encode())
    assert key_id(hash_) == "key_" + hash_.hex()[:16]
    assert len(hash_) == 32
