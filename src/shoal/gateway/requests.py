"""From what a client sent to what is asked of the network: checked against the table, and written in one way.

Two requests that mean the same have the same bytes here. Files are measured
but never changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Refused
from shoal.gateway.form import Form
from shoal.ids import digest
from shoal.units import KIB
from shoal.wire.codec import encode_payload
from shoal.wire.count import measure
from shoal.wire.pipelines import PIPELINES, Pipeline
from shoal.wire.requests import EchoRequest, LlmRequest, Message
from shoal.wire.words import JobSpec, Media, Payload

T = TypeVar("T")

#: A file above this is looked at in another thread, so that it delays nobody.
GLANCE_BYTES_MAX = 256 * KIB
#: What a form needs beside its fields and files.
FORM_BYTES = 64 * KIB
SEED_RANGE = 2**32


class Ask(Struct, frozen=True):
    """A request that can be submitted: what is to be run, and on what."""

    row: Pipeline
    spec: JobSpec
    body: bytes
    #: What this and later requests of the same conversation have in common, "" if there is none.
    session: str = ""


class Json(Generic[T]):
    """Reads JSON of one type."""

    def __init__(self, kind: type[T], example: str) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._example = example

    def read(self, data: bytes) -> T:
        """The value in `data`. Raises `Refused`, and says what is wrong."""
        if not data:
            raise Refused(f"the body is empty; send JSON, as in {self._example}")
        try:
            return self._decode(data)
        except msgspec.ValidationError as error:
            raise Refused(f"the request is not valid: {error}; send JSON, as in {self._example}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(f"the body is not JSON: {error}; send JSON, as in {self._example}") from error
        except RecursionError as error:
            raise Refused("the JSON is nested too deeply") from error


READERS: dict[str, Json[Any]] = {row.name: Json(row.request, row.example) for row in PIPELINES.values()}

_encode = msgspec.json.Encoder().encode


def _has_likes(default: Any) -> bool:
    """True if what is read may be equal to this default and still another object."""
    return msgspec.json.decode(_encode(default)) is not default


#: The defaults that the encoder does not know again when a client has written them out.
_DEFAULTS: dict[str, list[tuple[str, Any]]] = {
    row.name: [
        (field.name, field.default)
        for field in msgspec.structs.fields(row.request)
        if not field.required and _has_likes(field.default)
    ]
    for row in PIPELINES.values()
}

#: Requests that may ask for their answer piece by piece.
_STREAMED = (LlmRequest, EchoRequest)


def _body_bytes_max(row: Pipeline) -> int:
    files = sum(field.bytes_max for field in row.media)
    return row.params_bytes_max + (files + FORM_BYTES if files else 0)


#: The largest body that a request may have, by its pipeline.
BODY_BYTES_MAX: dict[str, int] = {row.name: _body_bytes_max(row) for row in PIPELINES.values()}


def read_fields(row: Pipeline, fields: Mapping[str, str]) -> Struct:
    """A form's fields as a request of this pipeline."""
    try:
        request: Struct = msgspec.convert(dict(fields), row.request, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"the form is not valid: {error}") from error
    return request


async def read_files(row: Pipeline, form: Form) -> tuple[tuple[Media, ...], tuple[int, ...]]:
    """A form's files, and what each measures: ms of sound, pixels of a picture."""
    unknown = form.files.keys() - {field.field for field in row.media}
    if unknown:
        raise Refused(f"{row.name} takes no file named {', '.join(sorted(unknown))}")
    media, measures = [], []
    for field in row.media:
        data = form.files.get(field.field, b"")
        if not data:
            if field.optional:
                continue
            raise Refused(f"the form has no file named {field.field}, or an empty one")
        if len(data) <= GLANCE_BYTES_MAX and field.kind == "audio":
            content_type, size = measure(field, data, whole=True)
        else:  # a small picture, too, may unpack to a large one
            content_type, size = await asyncio.to_thread(measure, field, data, whole=True)
        media.append(Media(field.field, content_type, data))
        measures.append(size)
    return tuple(media), tuple(measures)


def ask(row: Pipeline, request: Any, media: Sequence[Media] = (), measures: tuple[int, ...] = ()) -> Ask:
    """A checked request as it goes out: its model named, everything that says nothing left away."""
    if row.media:
        wanted = [field.field for field in row.media if not field.optional]
        if not set(wanted) <= {file.field for file in media}:
            raise Refused(f"{row.name} wants a form with the file {', '.join(wanted)}")
    model = getattr(request, row.model_field) or row.default_model
    session = ""
    if isinstance(request, LlmRequest):
        request, session = _plain(request), request.prompt_cache_key or ""
        session = session or _beginning(request)
    # What was said only to say the default is left away: the encoder leaves out the very default, not its like.
    like = {name: default for name, default in _DEFAULTS[row.name] if getattr(request, name) == default}
    request = replace(request, **{**like, row.model_field: model})
    stream = row.streams and isinstance(request, _STREAMED) and request.stream
    units_max, pieces_max = row.units_max(request, measures), row.pieces_max(request)
    spec = JobSpec(row.name, model, units_max, stream, pieces_max=pieces_max)
    return Ask(row, spec, encode_payload(Payload(_encode(request), tuple(media))), session)


def _plain(request: LlmRequest) -> LlmRequest:
    """A chat in the fewest words: text instead of parts, one name for each thing."""
    return replace(
        request,
        messages=tuple(map(_plain_message, request.messages)),
        max_tokens=request.max_completion_tokens or request.max_tokens or 256,
        max_completion_tokens=None,
        seed=None if request.seed is None else request.seed % SEED_RANGE,
        prompt_cache_key=None,
    )


def _beginning(request: LlmRequest) -> str:
    """What every turn of a conversation begins with: all up to the first thing that its user said."""
    first = next((n for n, message in enumerate(request.messages) if message.role == "user"), 0)
    return digest(_encode(request.messages[: first + 1]))


def _plain_message(message: Message) -> Message:
    if isinstance(message.content, str) and message.role != "developer":
        return message
    text = message.content if isinstance(message.content, str) else "".join(p.text for p in message.content)
    return Message("system" if message.role == "developer" else message.role, text)
