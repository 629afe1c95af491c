"""Keystore files (version 3), as wallets and Ethereum nodes write them: a key under a passphrase."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from eth_keyfile.keyfile import create_keyfile_json, decode_keyfile_json

from shoal.errors import Refused

#: A keystore names how hard its passphrase is to try; beyond this a file would be a way to tie us up.
FILE_BYTES_MAX = 16 << 10
SCRYPT_N_MAX = 1 << 20
PBKDF2_C_MAX = 10_000_000


def open_keystore(path: Path, passphrase: str) -> bytes:
    """The secret in a keystore file. Raises `Refused` if it is none, or the passphrase is wrong."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    try:
        if len(text) > FILE_BYTES_MAX:
            raise ValueError("too long")
        content = _bounded(msgspec.json.decode(text))
        secret = bytes(decode_keyfile_json(content, passphrase.encode()))
    except ValueError as error:
        if "MAC" in str(error):
            raise Refused(f"the passphrase does not open {path}") from error
        raise Refused(f"{path} is no keystore of version 3: {error}") from error
    except (KeyError, TypeError, AttributeError, msgspec.DecodeError, NotImplementedError) as error:
        # The last is how eth-keyfile says that it does not know a version.
        raise Refused(f"{path} is no keystore of version 3") from error
    if len(secret) != 32:
        raise Refused(f"{path} holds no key of 32 bytes")
    return secret


def write_keystore(path: Path, secret: bytes, passphrase: str) -> None:
    """Write a keystore file with this secret. Raises `Refused` if there is a file already, or no passphrase."""
    if not passphrase:
        raise Refused("a keystore needs a passphrase")
    text = msgspec.json.encode(create_keyfile_json(secret, passphrase.encode(), kdf="scrypt"))
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text + b"\n")
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from error


def _bounded(content: Any) -> Any:
    box = content.get("crypto") or content["Crypto"]
    params = box["kdfparams"]
    if params.get("n", 0) * params.get("r", 8) // 8 > SCRYPT_N_MAX or params.get("c", 0) > PBKDF2_C_MAX:
        raise ValueError("it asks for more work than any wallet does")
    return content
