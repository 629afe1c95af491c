"""What kind of picture a file holds and how large it is, read off its bytes: never off its name or stated type.

Nothing is decoded here: no pixel of a stranger's is worth a decoder's bug in the process that keeps the accounts. But
a file must be whole, one still picture, and must not unpack to more than its head says. How large it is stands before
its pixels: whoever only counts them reads no further, and comes to the same number.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Iterator

from msgspec import Struct

from shoal.errors import TooLarge, WrongMedia

WANTED = "png, jpeg, webp or gif"
SIDE_MAX = 16_384
#: A file of more parts than this is not a picture but mischief.
PARTS_MAX = 50_000
#: A progressive jpeg is gone over once for each of its scans.
SCANS_MAX = 64
UNPACK_BYTES = 256 * 1024

PNG = b"\x89PNG\r\n\x1a\n"
#: Samples a pixel, by a png's kind of colour.
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Where an interlaced png's seven passes begin, and how far they step: x, y, across, down.
PNG_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
#: A jpeg's frame heads: all of C0 to CF but DHT, JPG and DAC.
JPEG_HEADS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_SCAN, JPEG_END = 0xDA, b"\xff\xd9"


class Picture(Struct, frozen=True):
    """A file's media type and size."""

    content_type: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """How many there are in all."""
        return self.width * self.height


class Limit(Struct, frozen=True):
    """How large a picture may be, and how far it is looked at: its pixels too, or no more than tells its size."""

    pixels_max: int
    whole: bool

    def admit(self, width: int, height: int) -> None:
        """Raise `TooLarge`, or `WrongMedia` for a picture of nothing."""
        if not width or not height:
            raise damaged("it has no size")
        if width * height > self.pixels_max or max(width, height) > SIDE_MAX:
            raise TooLarge(
                f"the picture has {width} x {height} pixels; send at most {self.pixels_max} in all, "
                f"and {SIDE_MAX} on a side"
            )


def damaged(why: str) -> WrongMedia:
    """What is said of a file that begins as a picture and goes on otherwise."""
    return WrongMedia(f"the picture is damaged: {why}; send a whole {WANTED}")


def measure(data: bytes, pixels_max: int, *, whole: bool = True) -> Picture:
    """Kind and size of a picture. Raises `WrongMedia` if it is none or not whole, `TooLarge` above the limit.

    What is not asked to be `whole` is read up to its pixels: of any length, that takes no longer than a check sum.
    """
    for mark, at, content_type, read in KINDS:
        if data.startswith(mark, at):
            try:
                width, height = read(data, Limit(pixels_max, whole))
            except (struct.error, IndexError) as error:
                raise damaged("it ends too early") from error
            return Picture(content_type, width, height)
    raise WrongMedia(f"the file is no picture that is read here; send {WANTED}")


def _still(frames: int) -> None:
    if frames > 1:
        raise WrongMedia(f"the picture moves; send one still picture, as {WANTED}")


# png


def _png(data: bytes, limit: Limit) -> tuple[int, int]:
    chunks = _png_chunks(data)
    name, head = next(chunks)
    if name != b"IHDR":
        raise damaged("its head is missing")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    limit.admit(width, height)
    if colour not in PNG_SAMPLES or depth not in (1, 2, 4, 8, 16):
        raise damaged("its head makes no sense")
    unpacking = _Unpacking(_png_bytes(width, height, depth * PNG_SAMPLES[colour], bool(interlaced)))
    for name, body in chunks:
        if name == b"IDAT" and not limit.whole:
            return width, height
        if name == b"IDAT":
            unpacking.feed(body)
        elif name == b"IHDR":
            raise damaged("it has two heads")
        elif name == b"acTL":
            _still(struct.unpack_from(">I", body)[0])
        elif name == b"IEND":
            unpacking.finish()
            return width, height
    raise damaged("it ends too early")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, at = memoryview(data), len(PNG)
    for _ in range(PARTS_MAX):
        length, name = struct.unpack_from(">I4s", data, at)
        body = view[at + 8 : at + 8 + length]
        [checksum] = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(body, zlib.crc32(name)) != checksum:
            raise damaged("a checksum is wrong")
        yield name, body
        at += 12 + length
    raise damaged(f"it has more than {PARTS_MAX} parts")


def _png_bytes(width: int, height: int, pixel_bits: int, interlaced: bool) -> int:
    """How many bytes the pixels have, each row with the mark of its filter."""

    def rows(across: int, down: int) -> int:
        return down * (1 + -(-across * pixel_bits // 8)) if across else 0

    if not interlaced:
        return rows(width, height)
    return sum(rows(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in PNG_PASSES)


class _Unpacking:
    """Unpacks pixels, keeps none of them, and stops at one byte too many."""

    def __init__(self, expected_bytes: int) -> None:
        self._left = expected_bytes
        self._packed = zlib.decompressobj()

    def feed(self, data: memoryview) -> None:
        piece: bytes | memoryview = data
        try:
            while piece and not self._packed.eof:
                self._left -= len(self._packed.decompress(piece, UNPACK_BYTES))
                if self._left < 0:
                    raise damaged("it unpacks to more than its head says")
                piece = self._packed.unconsumed_tail
        except zlib.error as error:
            raise damaged("its pixels cannot be unpacked") from error

    def finish(self) -> None:
        self._left -= len(self._packed.flush())
        if self._left:
            raise damaged("it unpacks to less than its head says" if self._left > 0 else "it unpacks to more")


# jpeg


def _jpeg(data: bytes, limit: Limit) -> tuple[int, int]:
    at, size = 2, (0, 0)
    for _ in range(PARTS_MAX):
        if data[at] != 0xFF:
            raise damaged("a part of it is missing")
        mark = data[at + 1]
        if mark == 0xFF:  # padding
            at += 1
            continue
        if mark in JPEG_HEADS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            limit.admit(width, height)
            size = (width, height)
        elif mark == JPEG_SCAN:
            return _jpeg_body(data, at, size)
        at += 2 + (0 if 0xD0 <= mark <= 0xD8 else struct.unpack_from(">H", data, at + 2)[0])
    raise damaged(f"it has more than {PARTS_MAX} parts")


def _jpeg_body(data: bytes, at: int, size: tuple[int, int]) -> tuple[int, int]:
    if size == (0, 0):
        raise damaged("its head is missing")
    if data.find(JPEG_END, at) < 0:
        raise damaged("it ends too early")
    if data.count(bytes((0xFF, JPEG_SCAN)), at) > SCANS_MAX:
        raise damaged(f"it has more than {SCANS_MAX} scans")
    return size


# webp


def _webp(data: bytes, limit: Limit) -> tuple[int, int]:
    [size_bytes] = struct.unpack_from("<I", data, 4)
    end, at = 8 + size_bytes, 12
    if len(data) < end:
        raise damaged("it ends too early")
    canvas: tuple[int, int] | None = None
    for _ in range(PARTS_MAX):
        if at >= end:
            break
        name, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + min(length, 16)]
        if at + 8 + length > end:
            break
        if name == b"VP8X":
            _still(2 if body[0] & 2 else 1)
            canvas = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
            limit.admit(*canvas)
        elif name in (b"VP8 ", b"VP8L"):
            size = _vp8(body) if name == b"VP8 " else _vp8l(body)
            limit.admit(*size)
            if canvas not in (None, size):
                raise damaged("it has two sizes")
            return size
        at += 8 + length + length % 2
    raise damaged("it ends too early")


def _vp8(body: bytes) -> tuple[int, int]:
    mark, width, height = struct.unpack_from("<3sHH", body, 3)
    if mark != b"\x9d\x01\x2a":
        raise damaged("its head makes no sense")
    return width & 0x3FFF, height & 0x3FFF


def _vp8l(body: bytes) -> tuple[int, int]:
    mark, bits = struct.unpack_from("<BI", body)
    if mark != 0x2F:
        raise damaged("its head makes no sense")
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)


# gif


def _gif(data: bytes, limit: Limit) -> tuple[int, int]:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    limit.admit(width, height)
    at, frames = 13 + _palette_bytes(flags), 0
    parts = iter(range(PARTS_MAX))
    for _ in parts:
        match data[at]:
            case 0x3B:  # the end
                if not frames:
                    raise damaged("it holds no picture")
                return width, height
            case 0x21:  # an extension
                at = _gif_blocks(data, at + 2, parts)
            case 0x2C:  # a frame
                frames += 1
                _still(frames)
                left, top, across, down, flags = struct.unpack_from("<HHHHB", data, at + 1)
                if left + across > width or top + down > height:
                    raise damaged("a frame of it is larger than itself")
                if not limit.whole:
                    return width, height
                at = _gif_blocks(data, at + 11 + _palette_bytes(flags), itertools.count())
            case _:
                raise damaged("a part of it makes no sense")
    raise damaged(f"it has more than {PARTS_MAX} parts")


def _palette_bytes(flags: int) -> int:
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _gif_blocks(data: bytes, at: int, parts: Iterator[int]) -> int:
    """Where blocks that say their own length end."""
    for _ in parts:
        length = data[at]
        at += 1 + length
        if not length:
            return at
    raise damaged(f"it has more than {PARTS_MAX} parts")


#: How each kind begins, where, what it is called, and who reads it.
KINDS: tuple[tuple[bytes, int, str, Callable[[bytes, Limit], tuple[int, int]]], ...] = (
    (PNG, 0, "image/png", _png),
    (b"\xff\xd8\xff", 0, "image/jpeg", _jpeg),
    (b"WEBP", 8, "image/webp", _webp),
    (b"GIF87a", 0, "image/gif", _gif),
    (b"GIF89a", 0, "image/gif", _gif),
)
