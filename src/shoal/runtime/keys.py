"""Who a node is: a secp256k1 key, and the Ethereum address that it makes.

A key never leaves its file but to sign; nothing here prints, logs or sends it.
A signature is believed for what it recovers to, and each has one form only.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from coincurve import PrivateKey, PublicKey

from shoal.errors import Refused, Untrusted
from shoal.ids import NodeId
from shoal.money.keccak import keccak256

SECRET_BYTES = 32
SIGNATURE_BYTES = 65

#: A file with a key holds these and a line's end, nothing else.
_SECRET_HEX = re.compile(rb"[0-9a-f]{64}\n?")
_FILE_BYTES_MAX = 2 * SECRET_BYTES + 1

#: Half the order of secp256k1. Of the two forms of a signature only the one with s up to here counts,
#: so that nobody can make a second valid one out of a first.
_S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_S_MAX_BYTES = _S_MAX.to_bytes(32)
#: What Ethereum adds to a recovery id.
_V_MIN = 27


class NodeKey:
    """A node's private key and the id that goes with it."""

    __slots__ = ("_private", "id")

    def __init__(self, secret: bytes) -> None:
        """Take `SECRET_BYTES` secret bytes. Raises `ValueError` for the few that are no key."""
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a key has {SECRET_BYTES} bytes")
        self._private = PrivateKey(secret)
        self.id = _address(self._private.public_key)

    def __repr__(self) -> str:
        return f"NodeKey({self.id})"

    def sign(self, data: bytes) -> bytes:
        """65 bytes: r, s and a recovery id, over the SHA-256 of `data`."""
        return bytes(self._private.sign_recoverable(data))

    def sign_hash(self, hash32: bytes) -> bytes:
        """65 bytes as Ethereum has them: r, s and v (27 or 28), over a 32-byte hash as it is."""
        signature = self._private.sign_recoverable(hash32, hasher=None)
        return bytes(signature[:64]) + bytes((signature[64] + _V_MIN,))

    def secret_for(self, purpose: bytes) -> bytes:
        """32 secret bytes for one purpose, always the same; they tell nothing of the key or of other purposes."""
        return hmac.digest(self._private.secret, purpose, "sha256")

    @classmethod
    def generate(cls) -> NodeKey:
        """A new key that nobody else has."""
        return cls(PrivateKey().secret)

    @classmethod
    def load_or_create(cls, path: Path) -> NodeKey:
        """The key in this file, or a new one if there is none. Raises `Refused` if the file is unsafe."""
        with _explained(path):
            if not path.exists():
                _create(path, PrivateKey().secret)
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> NodeKey:
        """The key in this file. Raises `Refused` if there is none, or the file is unsafe."""
        with _explained(path):
            return cls(_read(path))


def keep_secret(path: Path, secret: bytes) -> NodeKey:
    """Write a key to a file of its own. Raises `Refused` if there is a file already, or the bytes are no key."""
    with _explained(path):
        key = NodeKey(secret)
        if path.exists() or not _create(path, secret):
            raise Refused(f"there is a key in {path} already: name another file, or move it away")
    return key


def secret_in(path: Path) -> bytes:
    """The secret in a key's file, to be kept elsewhere. Raises `Refused` if there is none, or the file is unsafe."""
    with _explained(path):
        return _read(path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Cast what may be wrong with a key's file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Refused(
            f"the node's key {path} cannot be used: {reason}; mend that or name another file"
        ) from error
    except ValueError as error:
        raise Refused(
            f"{path} does not hold a key (one line of 64 hex digits): restore it from a copy, "
            "or move it away and a new key, with a new id, will be made"
        ) from error


@lru_cache(maxsize=256)  # one signature vouches for many receipts
def signer(data: bytes, signature: bytes) -> NodeId:
    """Who made this signature over `data`. Raises `Untrusted` if it is no signature at all."""
    if len(signature) != SIGNATURE_BYTES:
        raise Untrusted(f"a signature has {SIGNATURE_BYTES} bytes, this one {len(signature)}")
    if int.from_bytes(signature[32:64]) > _S_MAX:
        raise Untrusted("a signature is not in its one accepted form (its s is too high)")
    try:
        return _address(PublicKey.from_signature_and_message(signature, data))
    except ValueError as error:
        raise Untrusted("a signature is malformed") from error


def recover_hash(hash32: bytes, signature: bytes) -> NodeId:
    """Who signed this hash, Ethereum's way. Raises `Untrusted` for anything but the one accepted form."""
    if len(signature) != SIGNATURE_BYTES:
        raise Untrusted(f"a signature has {SIGNATURE_BYTES} bytes, this one {len(signature)}")
    if signature[64] not in (_V_MIN, _V_MIN + 1):
        raise Untrusted("a signature's last byte (v) is 27 or 28")
    if signature[32:64] > _S_MAX_BYTES:
        raise Untrusted("a signature is not in its one accepted form (its s is too high)")
    try:
        return _address(
            PublicKey.from_signature_and_message(
                signature[:64] + bytes((signature[64] - _V_MIN,)), hash32, hasher=None
            )
        )
    except ValueError as error:
        raise Untrusted("a signature is malformed") from error


def verify(node: NodeId, data: bytes, signature: bytes) -> bool:
    """Whether `node` made this signature over `data`."""
    try:
        return signer(data, signature) == node
    except Untrusted:
        return False


def _address(key: PublicKey) -> NodeId:
    return _address_of(key.format(compressed=False)[1:])


@lru_cache(maxsize=4_096)  # the same peers sign over and over, and this hash costs half of a verification
def _address_of(point: bytes) -> NodeId:
    return NodeId("0x" + keccak256(point)[-20:].hex())


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        text = file.read(_FILE_BYTES_MAX + 1)
    if mode & 0o077:
        raise Refused(
            f"{path} is open to others (mode {mode:04o}): `chmod 600` it if nobody has read it, "
            "else move it away and a new key, with a new id, will be made"
        )
    if not _SECRET_HEX.fullmatch(text):
        raise ValueError("not 64 hex digits")
    return bytes.fromhex(text.decode("ascii"))


def _create(path: Path, secret: bytes) -> bool:
    """Write a new key whole or not at all; False if another process was quicker: then its key stands."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret.hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _sync_folder(folder: Path) -> None:
    """Make a new name last: without this a power cut could take back the key after its id was told."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
