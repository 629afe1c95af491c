"""The only place that knows how a message, a fact or a snapshot looks in bytes.

msgpack by msgspec: arrays tagged with the word's name. What does not fit the
declared types is a peer's fault on the wire (`Untrusted`), ours in a journal.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar, Union

import msgspec
from msgspec import Struct

from shoal.errors import Refused, Untrusted
from shoal.wire.pipelines import PIPELINES, Pipeline
from shoal.wire.references import names_of
from shoal.wire.words import WORDS, JobSpec, Payload, Receipt, Word

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
#: Reads JSON through without making anything of it.
_json = msgspec.json.Decoder(msgspec.Raw)

encode = _words.encode
decode = _words.decode
encode_payload = _payloads.encode
decode_payload = _payloads.decode


def is_whole(answer: bytes, *, names_files: bool) -> bool:
    """True if an encoded payload holds JSON, and every file that this names, if it may, came with it."""
    try:
        payload = decode_payload(answer)
        if not names_files:
            _json.decode(payload.params)
            return True
        names = names_of(msgspec.json.decode(payload.params))
    except (Untrusted, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return {media.field for media in payload.media}.issuperset(names)


def receipt_bytes(receipt: Receipt) -> bytes:
    """What a receipt says: every field but its path and signature."""
    return _receipts.encode(msgspec.structs.replace(receipt, path=(), signature=b""))


_requests: dict[type[Struct], msgspec.json.Decoder[Any]] = {}


def units_wanted(spec: JobSpec, body: bytes) -> int | None:
    """The most units that the request in an order's body can come to, by the table, whatever its order says.

    None if that takes measuring a file, or if it cannot be read: then no runner reads it either.
    """
    row = PIPELINES[spec.pipeline]
    if row.media:
        return None
    try:
        return row.units_max(_read(row, decode_payload(body).params), ())
    except (Untrusted, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read(row: Pipeline, params: bytes) -> Struct:
    decoder = _requests.get(row.request)
    if decoder is None:
        decoder = _requests[row.request] = msgspec.json.Decoder(row.request)
    request: Struct = decoder.decode(params)
    return request
