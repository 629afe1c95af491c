"""A form is taken apart, or refused; nothing in it is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import Refused, ShoalError
from shoal.gateway.form import PARTS_MAX, Form, read_form

KIND = "multipart/form-data; boundary=b"


def part(head: str, content: bytes) -> bytes:
    return f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"


def test_fields_and_files_are_told_apart() -> None:
    body = part('name="a"', "é".encode()) + part('name="f"; filename="../x"', b"\x00\r\n--c") + b"--b--\r\n"
    assert read_form(KIND, body) == Form({"a": "é"}, {"f": b"\x00\r\n--c"})


def test_a_quoted_boundary_is_understood() -> None:
    assert read_form('multipart/form-data; boundary="b"', part('name="a"', b"1") + b"--b--").fields == {
        "a": "1"
    }


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b""),
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        (KIND, b""),
        (KIND, b"nothing of the kind"),
        (KIND, part('name="a"', b"1")),
        (KIND, part('name="a"', b"1") * 2 + b"--b--\r\n"),
        (KIND, part("", b"1") + b"--b--\r\n"),
        (KIND, part('name="a"', b"\xff") + b"--b--\r\n"),
        (KIND, b"".join(part(f'name="{n}"', b"") for n in range(PARTS_MAX + 1)) + b"--b--\r\n"),
    ],
)
def test_what_is_no_whole_form_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(Refused):
        read_form(content_type, body)


@given(st.binary(max_size=80).map(lambda head: head.decode("latin-1")), st.binary(max_size=200))
def test_anything_is_read_or_refused(content_type: str, body: bytes) -> None:
    for kind in (content_type, KIND):
        try:
            read_form(kind, body)
        except ShoalError:
            pass
