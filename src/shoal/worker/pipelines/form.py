"""Multipart forms: a body in, its fields out. Bounded, and nothing is written to disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from shoal.errors import Refused

FIELDS_MAX = 64

T = TypeVar("T", bound=Struct)


class Form:
    """Collects what the parser meets: the last part of each name wins."""

    def __init__(self) -> None:
        self.fields: dict[str, bytes] = {}
        self.whole = False
        self._header = bytearray()
        self._value = bytearray()
        self._name = ""
        self._parts: list[bytes] = []

    def finish(self) -> None:
        self.whole = True

    def begin(self) -> None:
        self._name, self._parts = "", []

    def header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._name = parse_options_header(bytes(self._value))[1].get(b"name", b"").decode()
        self._header.clear()
        self._value.clear()

    def data(self, data: bytes, start: int, end: int) -> None:
        self._parts.append(data[start:end])

    def end(self) -> None:
        if len(self.fields) >= FIELDS_MAX:
            raise Refused(f"the form has more than {FIELDS_MAX} fields")
        self.fields[self._name] = b"".join(self._parts)


def read_form(content_type: str, body: bytes) -> dict[str, bytes]:
    """The fields of a form by name; Refused when it is none."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise Refused("send the request as multipart/form-data")
    form = Form()
    try:
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": form.begin,
                "on_header_field": form.header,
                "on_header_value": form.value,
                "on_header_end": form.header_end,
                "on_part_data": form.data,
                "on_part_end": form.end,
                "on_end": form.finish,
            },
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeDecodeError) as error:
        raise Refused(f"the form cannot be read: {error}") from error
    if not form.whole:
        raise Refused("the form cannot be read: it ends too early")
    return form.fields


def read_request(
    content_type: str, body: bytes, kind: type[T], *, files: Sequence[str], optional: Sequence[str] = ()
) -> tuple[T, dict[str, bytes]]:
    """A form as a request of this kind and its files by name; whatever else it holds is left aside."""
    fields = read_form(content_type, body)
    found = {name: fields.pop(name) for name in (*files, *optional) if fields.get(name)}
    for name in files:
        if name not in found:
            raise Refused(f"the form has no file named {name}, or an empty one")
    try:
        words = {name: fields[name].decode() for name in kind.__struct_fields__ if name in fields}
        return msgspec.convert(words, kind, strict=False), found
    except (UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Refused(f"the request is not valid: {error}") from error
