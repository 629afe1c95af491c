"""From a job to a runner's request, and from a runner's response to a job's answer. Pure.

The runner's contract is HTTP: JSON for pipelines without files, a form for
those with; its answers are JSON, a file, or server-sent events of chunks.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from shoal.errors import BY_CODE, Busy, Failed, Refused
from shoal.ids import JobId
from shoal.wire.pipelines import Pipeline
from shoal.wire.words import Fault, Media, Payload

_json = msgspec.json.Encoder()


class Delta(Struct, frozen=True):
    """What a chunk adds."""

    content: str = ""


class Choice(Struct, frozen=True):
    """A chunk's one choice."""

    delta: Delta = Delta()
    finish_reason: str | None = None


class Usage(Struct, frozen=True):
    """Tokens as the model's runtime counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Chunk(Struct, frozen=True):
    """One event of a streamed answer."""

    id: str = ""
    model: str = ""
    created: int = 0
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    error: str = ""


_chunks = msgspec.json.Decoder(Chunk)


class Piece(Struct, frozen=True):
    """A part of a streamed answer: its text, where it begins, and the units so far."""

    units: int
    offset: int
    text: str


def request(row: Pipeline, job: JobId, payload: Payload) -> tuple[str, bytes]:
    """A runner's request: its content type and its body."""
    params = payload.params
    if row.seed_field:
        fields: dict[str, Any] = msgspec.json.decode(params)
        if fields.get(row.seed_field) is None:
            fields[row.seed_field] = seed(job)
            params = _json.encode(fields)
    if row.media:
        return _form(params, payload.media)
    return "application/json", params


def seed(job: JobId) -> int:
    """A seed that every attempt at a job draws alike: 31 bits of its id's hash."""
    return int.from_bytes(hashlib.sha256(job.encode()).digest()[:4], "big") >> 1


def _form(params: bytes, media: tuple[Media, ...]) -> tuple[str, bytes]:
    boundary = hashlib.sha256(params + b"".join(file.data for file in media)).hexdigest()
    parts = []
    for name, value in msgspec.json.decode(params).items():
        if value is None:  # a form has no word for nothing
            continue
        text = value if isinstance(value, str) else _json.encode(value).decode()
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        )
    for file in media:
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{file.field}"; filename="{file.field}"\r\n'
            f"Content-Type: {file.content_type}\r\n\r\n".encode()
        )
        parts += (file.data, b"\r\n")
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def answer(row: Pipeline, content_type: str, body: bytes) -> Payload:
    """A job's answer from a whole response."""
    if content_type.startswith("application/json"):
        return Payload(body)
    return Payload(b"{}", (Media(row.answers.partition("/")[0] or "file", content_type, body),))


def fault(status: int, body: bytes) -> Fault:
    """What a refusal means, and whose fault it is."""
    message = f"the runner answered {status}"
    try:
        said = msgspec.json.decode(body)["detail"]
        message = said["msg"] if isinstance(said, dict) else str(said)
    except (msgspec.DecodeError, KeyError, TypeError):
        pass
    if status in (429, 503):
        return Fault(Busy.code, message)
    if 400 <= status < 500:
        fits = [cls for cls in BY_CODE.values() if cls.http_status == status and issubclass(cls, Refused)]
        return Fault((fits or [Refused])[0].code, message)
    return Fault(Failed.code, message)


class Assembly:
    """Puts a streamed answer together again while its pieces pass through."""

    def __init__(self) -> None:
        self._rest = b""
        self._text: list[str] = []
        self._length = 0
        self._last = Chunk()
        self._usage = Usage()
        self._reason = ""

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes of the stream; the pieces in them. Raises `Failed` if the runner broke off."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        return [piece for event in events if (piece := self._take(event)) is not None]

    def _take(self, event: bytes) -> Piece | None:
        data = event.strip().removeprefix(b"data:").strip()
        if not data or data == b"[DONE]":
            return None
        try:
            chunk = _chunks.decode(data)
        except msgspec.DecodeError as error:
            raise Failed(f"the runner's stream cannot be read: {error}") from error
        if chunk.error:
            raise Failed(chunk.error)
        self._last = chunk
        self._usage = chunk.usage or self._usage
        choice = chunk.choices[0] if chunk.choices else Choice()
        self._reason = choice.finish_reason or self._reason
        offset = self._length
        self._text.append(choice.delta.content)
        self._length += len(choice.delta.content)
        return Piece(self._usage.completion_tokens, offset, choice.delta.content)

    @property
    def units(self) -> int:
        """The units of the whole answer."""
        return self._usage.completion_tokens

    def whole(self) -> Payload:
        """The answer as it would have come in one piece. Raises `Failed` if the stream has no end."""
        if not self._reason:
            raise Failed("the runner's stream ended without an end")
        message = {"role": "assistant", "content": "".join(self._text)}
        choice = {"index": 0, "finish_reason": self._reason, "message": message}
        last = self._last
        return Payload(
            _json.encode(
                {
                    "id": last.id,
                    "model": last.model,
                    "created": last.created,
                    "usage": self._usage,
                    "choices": [choice],
                }
            )
        )
