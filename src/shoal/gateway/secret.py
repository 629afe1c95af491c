"""What an API key looks like: `shoal_`, 256 random bits, and a checksum that tells a typo from a stranger's key.

Only the hash of a key is ever kept. The bits are random, so a plain SHA-256 keeps them: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import zlib

from shoal.ids import KeyId

PREFIX = "shoal_"
SECRET_BYTES = 32
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: As many digits as 256 bits take, and as 32.
SECRET_DIGITS, CHECK_DIGITS = 43, 6
LENGTH = len(PREFIX) + SECRET_DIGITS + CHECK_DIGITS
ID_DIGITS = 16


def secret(random_bytes: bytes) -> str:
    """A new key from `SECRET_BYTES` random bytes."""
    if len(random_bytes) != SECRET_BYTES:
        raise ValueError(f"a key is made of {SECRET_BYTES} random bytes, not of {len(random_bytes)}")
    digits = _written(int.from_bytes(random_bytes, "big"), SECRET_DIGITS)
    return PREFIX + digits + _check(digits)


def is_mistyped(token: str) -> bool:
    """True if this was meant to be a key of ours and cannot be one: a letter is wrong, missing or too many."""
    if not token.startswith(PREFIX):
        return False
    digits = token[len(PREFIX) : -CHECK_DIGITS]
    return len(token) != LENGTH or token[-CHECK_DIGITS:] != _check(digits)


def hashed(token: bytes) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(token).digest()


def key_id(hash_: bytes) -> KeyId:
    """A key's name, from its hash."""
    return KeyId("key_" + hash_.hex()[:ID_DIGITS])


def _check(digits: str) -> str:
    return _written(zlib.crc32(digits.encode()), CHECK_DIGITS)


def _written(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))
