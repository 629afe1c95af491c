"""A multipart form, taken apart: fields of text and files. It trusts no name and no stated type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from shoal.errors import Refused

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

PARTS_MAX = 32


class Form(Struct, frozen=True):
    """What a form holds."""

    fields: dict[str, str]
    files: dict[str, bytes]


def read_form(content_type: str, body: bytes) -> Form:
    """The form in `body`. Raises `Refused` if there is none, or it is not whole."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise Refused("this wants a form: send multipart/form-data, as `curl -F` does")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refused(f"the form is malformed: {error}") from error
    if not parts.whole:
        raise Refused("the form is cut off: its last boundary is missing")
    return Form(parts.fields, parts.files)


class _Parts:
    """Gathers what the parser finds."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.whole = False
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._name = self._value = self._disposition = b""
        self._pieces: list[bytes] = []

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if not name or name in self.fields or name in self.files:
            raise Refused(f"a part of the form has no name of its own: {name[:100]!r}")
        if len(self.fields) + len(self.files) >= PARTS_MAX:
            raise Refused(f"the form has more than {PARTS_MAX} parts")
        content = b"".join(self._pieces)
        if b"filename" in options:
            self.files[name] = content
            return
        try:
            self.fields[name] = content.decode()
        except UnicodeDecodeError as error:
            raise Refused(f"the field {name[:100]!r} of the form is not UTF-8") from error

    def _finish(self) -> None:
        self.whole = True
