"""The only place that knows how a message, a fact or a snapshot looks in bytes.

msgpack by msgspec: arrays tagged with the word's name. What does not fit the
declared types is a peer's fault on the wire (`Untrusted`), ours in a journal.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar, Union

import msgspec

from shoal.errors import Refused, Untrusted
from shoal.wire.words import WORDS, Payload, Receipt, Word

T = TypeVar("T")


class Coder(Generic[T]):
    """Bytes of one type, or of a family of tagged types, both ways."""

    def __init__(self, *types: type[T]) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Union[types])  # noqa: UP007
        self.encode = self._encoder.encode

    def decode(self, data: bytes | memoryview) -> T:
        """The value in `data`. Raises `Untrusted` if it is not one of this coder's types."""
        try:
            value: T = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Refused) as error:
            raise Untrusted(f"a message does not follow the protocol: {error}") from error
        return value


_words: Coder[Word] = Coder(*WORDS)
_payloads = Coder(Payload)
_receipts = Coder(Receipt)

encode = _words.encode
decode = _words.decode
encode_payload = _payloads.encode
decode_payload = _payloads.decode


_skim = msgspec.json.Decoder(msgspec.Raw).decode
_readers: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def read_json(kind: type[T], params: bytes) -> T:
    """JSON as a value of this type. Raises `Refused` if it is another one's, `Untrusted` if it is no JSON."""
    reader = _readers.get(kind)
    if reader is None:
        reader = _readers[kind] = msgspec.json.Decoder(kind)
    try:
        value: T = reader.decode(params)
    except msgspec.ValidationError as error:
        raise Refused(f"this is not valid: {error}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Untrusted(f"this is no JSON: {error}") from error
    return value


def skim_json(params: bytes) -> None:
    """Read JSON through without making anything of it. Raises `Untrusted` if it is none."""
    try:
        _skim(params)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Untrusted(f"this is no JSON: {error}") from error


def receipt_bytes(receipt: Receipt) -> bytes:
    """What a receipt says: every field but its path and signature."""
    return _receipts.encode(msgspec.structs.replace(receipt, path=(), signature=b""))
