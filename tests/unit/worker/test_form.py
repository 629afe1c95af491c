"""A multipart form gives its fields, or is refused."""

from __future__ import annotations

import pytest

from shoal.errors import Refused
from shoal.worker.pipelines.form import FIELDS_MAX, read_form

KIND = "multipart/form-data; boundary=cut"


def form(*parts: tuple[str, bytes]) -> bytes:
    written = [
        b'--cut\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\nContent-Type: x/y\r\n\r\n%s\r\n'
        % (name.encode(), data)
        for name, data in parts
    ]
    return b"".join(written) + b"--cut--\r\n"


def test_fields_come_back_byte_for_byte() -> None:
    data = bytes(range(256)) * 8 + b"\r\n--cu"
    assert read_form(KIND, form(("audio", data), ("model_id", b"x"))) == {"audio": data, "model_id": b"x"}


def test_an_empty_form_has_no_fields() -> None:
    assert read_form(KIND, b"--cut--\r\n") == {}


@pytest.mark.parametrize(
    "kind", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=cut"]
)
def test_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(Refused, match="multipart/form-data"):
        read_form(kind, form(("a", b"b")))


def test_too_many_fields_are_refused() -> None:
    fields = [(f"f{number}", b"") for number in range(FIELDS_MAX)]
    assert len(read_form(KIND, form(*fields))) == FIELDS_MAX
    with pytest.raises(Refused, match="more than"):
        read_form(KIND, form(*fields, ("one more", b"")))


@pytest.mark.parametrize("body", [b"no form", form(("a", b"b"))[:-12], b"--cut\r\nbroken header\r\n\r\n"])
def test_a_broken_form_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        read_form(KIND, body)
