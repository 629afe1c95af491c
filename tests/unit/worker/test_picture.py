"""Pictures come upright, flat and bounded, or are refused; what is written can be read again."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shoal.errors import TooLarge, WrongMedia
from shoal.worker.pipelines.picture import SEED_MAX, Drawn, answer, decode, encode, resize, seeds

RED, GREEN = (255, 0, 0), (0, 255, 0)


def file(picture: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **more)
    return out.getvalue()


def two(mode: str = "RGB") -> Image.Image:
    """Red on the left, green on the right."""
    picture = Image.new("RGB", (8, 4), RED)
    picture.paste(GREEN, (4, 0, 8, 4))
    return picture.convert(mode)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_every_kind_is_read(kind: str) -> None:
    pixels = decode(file(two(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert pixels.shape == (4, 8, 3)
    assert pixels.dtype == np.uint8
    assert tuple(pixels[0, 0]) == RED
    assert tuple(pixels[3, 7]) == GREEN


def test_what_a_camera_turned_is_turned_back() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    pixels = decode(file(two(), "JPEG", exif=exif, quality=95))
    assert pixels.shape == (8, 4, 3)
    assert pixels[0, 0, 0] > 200
    assert pixels[7, 0, 0] < 60


def test_what_can_be_seen_through_lies_on_white() -> None:
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (*GREEN, 255))
    assert decode(file(clear)).tolist() == [[[255, 255, 255], [0, 255, 0]]]
    named = Image.new("P", (1, 1), 0)
    assert decode(file(named, transparency=0)).tolist() == [[[255, 255, 255]]]


def test_sixteen_bits_are_scaled_and_grey_has_three_channels() -> None:
    deep = Image.fromarray(np.array([[0, 32_768, 65_535]], np.uint16))
    assert decode(file(deep))[0, :, 0].tolist() == [0, 128, 255]
    assert decode(file(two("L"))).shape == (4, 8, 3)
    assert decode(file(two("CMYK"), "JPEG")).shape == (4, 8, 3)


def test_the_first_of_many_frames_is_taken() -> None:
    frames = [Image.new("RGB", (3, 3), RED), Image.new("RGB", (3, 3), GREEN)]
    assert tuple(decode(file(frames[0], "GIF", save_all=True, append_images=frames[1:]))[0, 0]) == RED


@pytest.mark.parametrize(
    "data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"BM" + bytes(60), file(two(), "TIFF")]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(WrongMedia, match=r"send .*png, jpeg, webp or gif"):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_what_is_cut_off_is_refused(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))
    data = file(noise, kind)
    with pytest.raises(WrongMedia):
        decode(data[: len(data) // 2])


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge, match="8 x 4 pixels, the limit is 31"):
        decode(file(two()), pixels_max=31)


def test_an_answer_holds_its_pictures() -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (5, 7, 3), np.uint8)
    said = answer([Drawn(pixels, 9), Drawn(resize(pixels, 14, 10), 10, nsfw=True)], 70)
    assert said.units == 70
    first, second = json.loads(said.body)["images"]
    assert (first["seed"], first["nsfw"], second["seed"], second["nsfw"]) == (9, False, 10, True)
    kind, _, data = first["url"].partition(",")
    assert kind == "data:image/png;base64"
    assert (decode(base64.b64decode(data)) == pixels).all()
    assert decode(encode(resize(pixels, 14, 10))).shape == (10, 14, 3)


def test_each_picture_has_the_next_seed_and_the_largest_is_followed_by_the_least() -> None:
    assert seeds(5, 3) == [5, 6, 7]
    assert seeds(SEED_MAX - 1, 4) == [SEED_MAX - 1, SEED_MAX, 0, 1]
    assert seeds(0, 0) == []


def test_a_seed_that_nobody_chose_is_another_each_time_and_can_be_asked_for_again() -> None:
    first, second = (seeds(None, 2) for _ in range(2))
    assert first != second
    assert seeds(first[0], 2) == first
