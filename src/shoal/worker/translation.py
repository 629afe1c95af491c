"""From a job to a runner's request, and from a runner's response to a job's answer. Pure.

The runner's contract is HTTP: JSON for pipelines without files, a form for
those with; its answers are JSON, a file, or server-sent events of chunks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from shoal.errors import BY_CODE, Busy, Failed, Refused, Untrusted
from shoal.ids import JobId
from shoal.wire.count import answer_worth, worth
from shoal.wire.faults import error_of
from shoal.wire.pipelines import Pipeline
from shoal.wire.references import file_name, with_urls
from shoal.wire.words import Fault, JobSpec, Media, Payload

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

    @property
    def units(self) -> int:
        """What a token is: one of the question or of the answer."""
        return self.prompt_tokens + self.completion_tokens


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
            if row.reuse_field:
                fields[row.reuse_field] = True
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
    """A job's answer from a whole response. Files inside its JSON are taken out of it, once and for good."""
    if not content_type.startswith("application/json"):
        name = file_name(0, content_type.partition(";")[0])
        return Payload(_json.encode(_naming(row, name)), (Media(name, content_type, body),))
    return _apart(row, body) if row.answers else Payload(body)


def _apart(row: Pipeline, body: bytes) -> Payload:
    files: list[Media] = []

    def name(url: str) -> str:
        kind, _, data = url.partition(";base64,")
        if kind != f"data:{row.answers}":
            raise Failed(f"the runner answered with {url[:40]!r} where it promises {row.answers}")
        try:
            content = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Failed(f"the runner's file cannot be read: {error}") from error
        files.append(Media(file_name(len(files), row.answers), row.answers, content))
        return files[-1].field

    try:
        value = with_urls(msgspec.json.decode(body), name)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(f"the runner's answer is no JSON: {error}") from error
    if not files:
        raise Failed(f"the runner's answer holds no {row.answers}")
    return Payload(_json.encode(value), tuple(files))


def _naming(row: Pipeline, name: str) -> object:
    """The JSON that Livepeer's API has for an answer that came as a bare file."""
    if row.answers.startswith("audio/"):
        return {"audio": {"url": name}}
    return {"images": [{"url": name, "seed": 0, "nsfw": False}]}


def require_good(status: int, body: bytes) -> None:
    """Raise what a refusal means."""
    if status != 200:
        raise error_of(fault(status, body))


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


class Events:
    """Server-sent events out of the pieces that they come in."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes of the stream; the data of the events that they end."""
        looked = max(0, len(self._rest) - 1)
        self._rest += data
        events = []
        while (end := self._rest.find(b"\n\n", looked)) >= 0:
            event = bytes(self._rest[:end]).strip()
            del self._rest[: end + 2]
            looked = 0
            if (event := event.removeprefix(b"data:").strip()) and event != b"[DONE]":
                events.append(event)
        return events


class Stage(Struct, frozen=True):
    """How far a runner's work is."""

    done: int = 0
    of: int = 0


class News(Struct, frozen=True):
    """One event of an answer that tells its steps: how far it is, or at its end the answer itself."""

    progress: Stage | None = None
    answer: msgspec.Raw = msgspec.Raw()
    units: int = 0
    error: str = ""


_news = msgspec.json.Decoder(News)


class Steps:
    """Hears how far a runner is, and its answer at the end."""

    def __init__(self, units_max: int) -> None:
        self._units_max = units_max
        self._events = Events()
        self._last = News()
        self.spoke = False

    def feed(self, data: bytes) -> int | None:
        """Take bytes of the stream; the share of the work that is done, in units, if they tell it."""
        self.spoke = True
        units = None
        for event in self._events.feed(data):
            try:
                self._last = _news.decode(event)
            except msgspec.DecodeError as error:
                self._last = News(error=f"the runner's stream cannot be read: {error}")
            stage = self._last.progress
            if stage is not None and 0 <= stage.done <= stage.of and stage.of:
                units = self._units_max * stage.done // stage.of
        return units

    def whole(self, row: Pipeline) -> tuple[Payload, int]:
        """The answer and its units. Raises `Failed` if the stream has no end."""
        body = bytes(self._last.answer)
        if not body:
            raise Failed(self._last.error or "the runner's stream ended without an answer")
        return answer(row, "application/json", body), self._last.units


def claim(spec: JobSpec, answer: Payload, units: int) -> int:
    """The units to be claimed for an answer: who claims more than it can be worth has given a bad one."""
    if not spec.pieces_max:
        return units
    try:
        return min(units, answer_worth(spec, answer))
    except (Refused, Untrusted) as error:
        raise Failed(f"the runner's answer cannot be used: {error}") from error


class Assembly:
    """Puts a streamed answer together again while its pieces pass through.

    No piece claims more units than the text up to there is worth.
    """

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._events = Events()
        self._text: list[str] = []
        self._length = self._bytes = 0
        self._last = Chunk()
        self._usage = Usage()
        self._reason = ""

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes of the stream; the pieces in them. Raises `Failed` if the runner broke off."""
        return [self._take(event) for event in self._events.feed(data)]

    def _take(self, data: bytes) -> Piece:
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
        self._bytes += len(choice.delta.content.encode())
        return Piece(min(self._usage.units, worth(self._spec, self._bytes)), offset, choice.delta.content)

    @property
    def units(self) -> int:
        """The units of the whole answer."""
        return self._usage.units

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
