"""Pictures as runners need them: bytes in, pixels out, and back. For every runner that sees or draws.

`decode` gives H x W x 3 bytes of red, green and blue, upright and on white, or refuses; `encode` gives a PNG,
`answer` what Livepeer's API calls an ImageResponse. What a stranger sent is never larger than its limit.
"""

from __future__ import annotations

import base64
import io
import secrets
import struct
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from PIL import Image, ImageOps, UnidentifiedImageError

from shoal.errors import TooLarge, WrongMedia
from shoal.worker.pipelines.server import Answer
from shoal.worker.pipelines.server import encode as encode_json

#: Height x width x (red, green, blue).
Pixels = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
WANTED = "png, jpeg, webp or gif"
PIXELS_MAX = 16_777_216
SIDE_MAX = 16_384
WHITE = (255, 255, 255, 255)
#: The largest seed that can be asked for, and the bits of one that nobody asked for.
SEED_MAX = 2**63 - 1
SEED_BITS = 31

Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and refuses instead of warning


class Drawn(Struct, frozen=True):
    """A picture to be given away, what luck it began from, and whether a model found it indecent."""

    pixels: Pixels
    seed: int = 0
    nsfw: bool = False


def seeds(first: int | None, count: int) -> list[int]:
    """The luck that each of a call's pictures begins from: what was asked for, or anything, and then the next ones.

    After the largest comes 0: what is told of a picture can be asked for again.
    """
    begin = secrets.randbits(SEED_BITS) if first is None else first
    return [(begin + number) % (SEED_MAX + 1) for number in range(count)]


def decode(data: bytes, *, pixels_max: int = PIXELS_MAX) -> Pixels:
    """A picture's first frame: turned as its camera was held, laid on white. Raises `WrongMedia` or `TooLarge`."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > pixels_max or max(width, height) > SIDE_MAX:
                raise TooLarge(
                    f"the picture has {width} x {height} pixels, the limit is {pixels_max} in all "
                    f"and {SIDE_MAX} on a side; make it smaller"
                )
            upright = ImageOps.exif_transpose(picture)
            return np.asarray(_flat(upright), dtype=np.uint8).copy()
    except UnidentifiedImageError as error:
        raise WrongMedia(f"the file is no picture that can be read; send {WANTED}") from error
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, struct.error) as error:
        raise WrongMedia(f"the picture is damaged ({error}); send a whole {WANTED}") from error


def _flat(picture: Image.Image) -> Image.Image:
    """Red, green and blue; what can be seen through is laid on white."""
    if picture.mode.startswith("I"):  # 16 bits a pixel: Pillow would cut off instead of scaling
        picture = Image.fromarray((np.asarray(picture).clip(0, 65_535) >> 8).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, WHITE), seen).convert("RGB")
    return picture.convert("RGB")


def encode(pixels: Pixels) -> bytes:
    """A PNG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=3)
    return file.getvalue()


def data_url(data: bytes, content_type: str = "image/png") -> str:
    """A file as an address that holds it."""
    return f"data:{content_type};base64,{base64.b64encode(data).decode()}"


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """The picture in another size, smoothly."""
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture, dtype=np.uint8).copy()


def answer(drawn: Iterable[Drawn], units: int) -> Answer:
    """An ImageResponse of PNGs."""
    images = [{"url": data_url(encode(one.pixels)), "seed": one.seed, "nsfw": one.nsfw} for one in drawn]
    return Answer(encode_json({"images": images}), units)
