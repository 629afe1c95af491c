"""A picture is known by its bytes: its kind, its size, that it is whole, still, and no larger than it says."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from shoal.errors import ShoalError, TooLarge, WrongMedia
from shoal.wire.picture import Picture, measure

MOST = 1_000_000


def noise(width: int = 33, height: int = 21, mode: str = "RGB") -> Image.Image:
    return Image.effect_noise((width, height), 90).convert(mode)


def file(picture: Image.Image, kind: str, **more: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **more)
    return out.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, pixels: bytes, *, interlaced: int = 0) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


WHOLE = [
    (file(noise(), "PNG"), "image/png"),
    (file(noise(mode="1"), "PNG"), "image/png"),
    (file(noise(mode="P"), "PNG"), "image/png"),
    (file(noise(mode="I;16"), "PNG"), "image/png"),
    (file(noise(mode="RGBA"), "PNG"), "image/png"),
    (file(noise(), "JPEG"), "image/jpeg"),
    (file(noise(), "JPEG", progressive=True), "image/jpeg"),
    (file(noise(mode="CMYK"), "JPEG"), "image/jpeg"),
    (file(noise(), "JPEG", exif=Image.Exif().tobytes() + bytes(200)), "image/jpeg"),
    (file(noise(), "WEBP"), "image/webp"),
    (file(noise(), "WEBP", lossless=True), "image/webp"),
    (file(noise(mode="RGBA"), "WEBP"), "image/webp"),
    (file(noise(), "WEBP", exif=b"Exif\0\0" + bytes(20)), "image/webp"),
    (file(noise(), "GIF"), "image/gif"),
    (file(noise(), "GIF", comment=b"hello" * 100), "image/gif"),
]


@pytest.mark.parametrize(("data", "kind"), WHOLE)
def test_every_kind_is_measured(data: bytes, kind: str) -> None:
    assert measure(data, MOST) == Picture(kind, 33, 21)


@pytest.mark.parametrize("size", [(1, 1), (4, 9), (5, 3), (8, 8), (17, 33)])
def test_an_interlaced_png_is_counted_as_its_decoder_does(size: tuple[int, int]) -> None:
    width, height = size
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    rows = b"".join(
        (b"\0" + bytes(len(range(x, width, dx)))) * len(range(y, height, dy))
        for x, y, dx, dy in passes
        if x < width
    )
    data = png(width, height, rows, interlaced=1)
    Image.open(io.BytesIO(data)).load()
    assert measure(data, MOST) == Picture("image/png", width, height)


@pytest.mark.parametrize(("data", "kind"), WHOLE)
def test_what_is_cut_off_anywhere_is_refused(data: bytes, kind: str) -> None:
    for length in range(0, len(data) - 1, max(1, len(data) // 60)):
        with pytest.raises(WrongMedia, match="png, jpeg, webp or gif"):
            measure(data[:length], MOST)


@pytest.mark.parametrize(("data", "kind"), WHOLE)
def test_what_is_garbled_is_refused_or_measured_but_never_a_bug(data: bytes, kind: str) -> None:
    for at in range(min(len(data), 400)):
        for value in (0x00, 0xFF, data[at] ^ 0x55):
            try:
                found = measure(data[:at] + bytes((value,)) + data[at + 1 :], MOST)
            except ShoalError:
                continue
            assert 0 < found.pixels <= MOST


def test_a_claim_beyond_the_limit_is_refused_before_anything_is_unpacked() -> None:
    bomb = png(60_000, 60_000, bytes(10_000_000))
    assert len(bomb) < 11_000
    with pytest.raises(TooLarge, match="60000 x 60000 pixels; send at most 1000000 in all"):
        measure(bomb, MOST)
    with pytest.raises(TooLarge, match="16384 on a side"):
        measure(png(20_000, 1, bytes(20_001)), MOST)
    huge = bytearray(file(noise(), "JPEG"))
    at = huge.index(b"\xff\xc0") + 5
    huge[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(TooLarge, match="65535 x 65535"):
        measure(bytes(huge), MOST)
    with pytest.raises(TooLarge, match="65535 x 21"):
        measure(b"GIF89a\xff\xff" + file(noise(), "GIF")[8:], MOST)


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (bytes(100_000_000), "unpacks to more than its head says"),
        (bytes(4 * 5 + 1), "unpacks to more"),
        (bytes(4 * 5 - 1), "unpacks to less than its head says"),
        (b"", "unpacks to less than its head says"),
    ],
)
def test_a_png_unpacks_to_what_its_head_says(pixels: bytes, told: str) -> None:
    assert measure(png(4, 4, bytes(4 * 5)), MOST).pixels == 16
    with pytest.raises(WrongMedia, match=told):
        measure(png(4, 4, pixels), MOST)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_what_moves_is_refused(kind: str) -> None:
    frames = [noise(), noise().rotate(90)]
    data = file(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    with pytest.raises(WrongMedia, match="send one still picture"):
        measure(data, MOST)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        file(noise(), "BMP"),
        b"\xff\xd8",
    ],
)
def test_what_is_no_picture_is_refused_with_what_would_be_one(data: bytes) -> None:
    with pytest.raises(WrongMedia, match="send png, jpeg, webp or gif"):
        measure(data, MOST)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = file(noise(), "JPEG")
    with pytest.raises(WrongMedia, match="more than 64 scans"):
        measure(data[:-2] + b"\xff\xda\x00\x02" * 65 + b"\xff\xd9", MOST)
