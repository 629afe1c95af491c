"""What kind of sound a file holds and how long it lasts, read off its bytes: never off its name or stated type.

Nothing is decoded here. A file that stores samples is as long as its samples, one of frames (mp3) as all of them
together; of the others the length is taken that a decoder finds first. No file takes longer than its limits allow.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from msgspec import Struct

from shoal.errors import TooLarge, WrongMedia
from shoal.units import SECOND_MS

WANTED = "wav, flac, ogg, mp3, m4a or aiff"
#: A file of more parts than this (chunks, pages, boxes) is not sound but mischief.
PARTS_MAX = 50_000

#: The ways in which a wav stores samples one by one: whole numbers, floats, A-law, µ-law; and "see further down".
WAV_PLAIN, WAV_FURTHER = frozenset((1, 3, 6, 7)), 0xFFFE
#: The same of an aiff that has a choice, and bytes a sample where they are not its bits.
AIFF_PLAIN = {
    b"NONE": 0,
    b"twos": 0,
    b"sowt": 0,
    b"raw ": 0,
    b"in24": 3,
    b"in32": 4,
    b"fl32": 4,
    b"FL32": 4,
    b"fl64": 8,
    b"FL64": 8,
    b"alaw": 1,
    b"ALAW": 1,
    b"ulaw": 1,
    b"ULAW": 1,
}
OPUS_RATE_HZ = 48_000
#: A page on which no packet ends.
OGG_NOWHERE = 0xFFFF_FFFF_FFFF_FFFF
#: Every mp3's frame is a whole number of these long, whatever its rate: 1 s.
TICKS = 14_112_000


class Sound(Struct, frozen=True):
    """A file's media type and length."""

    content_type: str
    duration_ms: int


class Length(Struct, frozen=True):
    """How long a sound lasts: so many samples, of which a second has `rate`."""

    samples: int
    rate: int


def damaged(why: str) -> WrongMedia:
    """What is said of a file that begins as a sound and goes on otherwise."""
    return WrongMedia(f"Unsupported audio format or malformed file: {why}; send a whole {WANTED}")


def measure(data: bytes, duration_max_ms: int) -> Sound:
    """Kind and length of a sound. Raises `WrongMedia` if it is none, or has no length, `TooLarge` above the limit."""
    for at, mark, content_type, read in KINDS:
        if data.startswith(mark, at):
            try:
                length = read(data, duration_max_ms)
            except (struct.error, IndexError) as error:
                raise damaged("it ends too early") from error
            if length.samples <= 0 or length.rate <= 0:
                raise WrongMedia(f"Unable to calculate duration of file; send {WANTED}")
            duration_ms = -(-length.samples * SECOND_MS // length.rate)
            if duration_ms > duration_max_ms:
                raise _too_long(f"{duration_ms / SECOND_MS:.0f} s", duration_max_ms)
            return Sound(content_type, duration_ms)
    raise WrongMedia(f"Unsupported audio format or malformed file; send {WANTED}")


def _too_long(lasts: str, duration_max_ms: int) -> TooLarge:
    return TooLarge(f"the sound lasts {lasts}, the limit is {duration_max_ms // SECOND_MS} s")


def _parts() -> Iterator[int]:
    """Count the parts of one file, of whatever depth; too many are one too many."""
    yield from range(PARTS_MAX)
    raise damaged(f"it has more than {PARTS_MAX} parts")


# wav and aiff


def _chunks(data: bytes, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, beginning and length of each chunk; of the last one as much as there is."""
    at = 12
    for _ in _parts():
        if at + 8 > len(data):
            return
        name, length = struct.unpack_from(f"{order}4sI", data, at)
        yield name, at + 8, length
        at += 8 + length + length % 2


def _wav(data: bytes, duration_max_ms: int) -> Length:
    frame_bytes = rate = samples = 0
    for name, at, length in _chunks(data, "<"):
        left = len(data) - at
        if name == b"fmt ":
            if rate:
                raise damaged("it has two heads")
            kind, channels, rate, bytes_a_second, _, bits = struct.unpack_from("<HHIIHH", data, at)
            if kind == WAV_FURTHER:
                [kind] = struct.unpack_from("<H", data, at + 24)
            frame_bytes = channels * -(-bits // 8)
            if kind not in WAV_PLAIN:  # packed: it says how much of it makes a second
                frame_bytes, rate = 1, bytes_a_second or rate * channels * bits // 8
        elif name == b"data":
            if not frame_bytes or not rate:
                raise damaged("its head is missing")
            # A sound that was written as a stream does not know its length, and claims none or the most there is.
            samples += min(length or left, left) // frame_bytes
    return Length(samples, rate)


def _aiff(data: bytes, duration_max_ms: int) -> Length:
    frame_bytes = rate = samples = 0
    for name, at, length in _chunks(data, ">"):
        if name == b"COMM":
            channels, _, bits, exponent, mantissa = struct.unpack_from(">HIHHQ", data, at)
            rate = mantissa >> max(0, 0x403E - exponent) if 0x3FFF <= exponent <= 0x403E else 0
            packing = data[at + 18 : at + 22] if data.startswith(b"AIFC", 8) else b"NONE"
            if packing not in AIFF_PLAIN:
                raise damaged("it is packed in a way that is not read here")
            frame_bytes = channels * (AIFF_PLAIN[packing] or -(-bits // 8))
        elif name == b"SSND":
            if not frame_bytes:
                raise damaged("its head is missing")
            samples += max(0, min(length, len(data) - at) - 8) // frame_bytes
    return Length(samples, rate)


# flac


def _flac(data: bytes, duration_max_ms: int) -> Length:
    return _flac_head(data, 8)


def _flac_head(data: bytes, at: int) -> Length:
    """What the first block of a flac says, which begins at `at`."""
    [packed] = struct.unpack_from(">Q", data, at + 10)
    return Length(packed & 0xF_FFFF_FFFF, packed >> 44)


# ogg


def _ogg(data: bytes, duration_max_ms: int) -> Length:
    """The first of the sounds that it holds side by side: where its last page says that it ends."""
    rate = before = ours = last = 0
    began = False
    for kind, granule, serial, at in _ogg_pages(data):
        if kind & 2:
            if began:
                raise damaged("it holds several sounds, one after another")
            if not rate:
                rate, before = _ogg_head(data, at)
                ours = serial
            continue
        began = True
        if serial == ours and granule != OGG_NOWHERE:
            last = max(last, granule)
    return Length(last - before, rate)


def _ogg_pages(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Of each whole page: its kind, where it ends in the sound, whose it is, and where its content begins."""
    at = 0
    for _ in _parts():
        at = data.find(b"OggS", at)
        if at < 0 or at + 27 > len(data):
            return
        kind, granule, serial, segments = struct.unpack_from("<BQI8xB", data, at + 5)
        begin = at + 27 + segments
        at = begin + sum(data[at + 27 : begin])
        if at > len(data):
            return
        yield kind, granule, serial, begin


def _ogg_head(data: bytes, at: int) -> tuple[int, int]:
    """Of a stream that is a sound: samples a second, and how many there are before it begins. Of others 0."""
    if data.startswith(b"\x01vorbis", at):
        return int.from_bytes(data[at + 12 : at + 16], "little"), 0
    if data.startswith(b"OpusHead", at):
        return OPUS_RATE_HZ, int.from_bytes(data[at + 10 : at + 12], "little")
    if data.startswith(b"\x7fFLAC", at):
        return _flac_head(data, at + 17).rate, 0
    if data.startswith(b"Speex   ", at):
        return int.from_bytes(data[at + 36 : at + 40], "little"), 0
    return 0, 0


# mp3


def _mp3_frames() -> dict[int, tuple[int, int]]:
    """Bytes and ticks of each kind of frame of layer III, by the second and third byte of its head."""
    frames = {}
    rates_hz = (44_100, 48_000, 32_000)
    kbits_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    kbits_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    for version, slower, samples, kbits in (
        (3, 1, 1_152, kbits_1),
        (2, 2, 576, kbits_2),
        (0, 4, 576, kbits_2),
    ):
        for (r, rate_hz), (k, kbit) in ((r, k) for r in enumerate(rates_hz) for k in enumerate(kbits, 1)):
            rate = rate_hz // slower
            for checked, padded, private in ((c, p, q) for c in (0, 1) for p in (0, 1) for q in (0, 1)):
                head = (0xE2 | version << 3 | checked) << 8 | k << 4 | r << 2 | padded << 1 | private
                frames[head] = (samples * kbit * 125 // rate + padded, samples * TICKS // rate)
    return frames


MP3_FRAMES = _mp3_frames()


def _mp3(data: bytes, duration_max_ms: int) -> Length:
    """All frames together. One that holds no sound but a list of places is none of them."""
    parts = _parts()
    at = _mp3_synced(data, _mp3_begin(data, parts), parts)
    if _mp3_is_list(data, at):
        at += MP3_FRAMES[_mp3_head(data, at)][0]
    ticks, ticks_max = 0, duration_max_ms * TICKS // SECOND_MS
    while at < len(data):
        frame = MP3_FRAMES.get(data[at + 1] << 8 | data[at + 2]) if data.startswith(b"\xff", at, -3) else None
        if frame is None:
            at = _mp3_synced(data, at + 1, parts)
            continue
        at += frame[0]
        if at <= len(data):
            ticks += frame[1]
        if ticks > ticks_max:
            raise _too_long("longer", duration_max_ms)
    return Length(ticks, TICKS)


def _mp3_begin(data: bytes, parts: Iterator[int]) -> int:
    """Where the tags before the sound end."""
    at = 0
    for _ in parts:
        if not data.startswith(b"ID3", at):
            break
        flags, a, b, c, d = struct.unpack_from("5B", data, at + 5)
        at += 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if flags & 0x10 else 0)
    return at


def _mp3_head(data: bytes, at: int) -> int:
    return int.from_bytes(data[at + 1 : at + 3]) if data.startswith(b"\xff", at) else 0


def _mp3_synced(data: bytes, at: int, parts: Iterator[int]) -> int:
    """The next place at which a frame is followed by another, or by the end."""
    for _ in parts:
        at = data.find(b"\xff", at)
        if at < 0:
            break
        if (frame := MP3_FRAMES.get(_mp3_head(data, at))) is not None:
            after = at + frame[0]
            if after == len(data) or data.startswith(b"TAG", after) or _mp3_head(data, after) in MP3_FRAMES:
                return at
        at += 1
    return len(data)


def _mp3_is_list(data: bytes, at: int) -> bool:
    head = data[at + 4 : at + 48]
    return b"Xing" in head or b"Info" in head or b"VBRI" in head


# mp4


def _mp4(data: bytes, duration_max_ms: int) -> Length:
    """The first track that is sound."""
    parts = _parts()
    for track in _mp4_path(data, (0, len(data)), (b"moov", b"trak"), parts):
        for media in _mp4_path(data, track, (b"mdia",), parts):
            heads = {name: at for name, at, _ in _mp4_boxes(data, media, parts)}
            if data.startswith(b"soun", heads.get(b"hdlr", len(data)) + 8):
                return _mp4_length(data, media, heads.get(b"mdhd", len(data)), parts)
    raise damaged("it holds no sound")


def _mp4_length(data: bytes, media: tuple[int, int], head: int, parts: Iterator[int]) -> Length:
    [rate] = struct.unpack_from(">I", data, head + (20 if data[head] else 12))
    samples = 0
    for at, end in _mp4_path(data, media, (b"minf", b"stbl", b"stts"), parts):
        [entries] = struct.unpack_from(">I", data, at + 4)
        if end < at + 8 + 8 * entries:
            raise damaged("it ends too early")
        for number in range(entries):
            next(parts)
            count, each = struct.unpack_from(">II", data, at + 8 + 8 * number)
            samples += count * each
    return Length(samples, rate)


def _mp4_path(
    data: bytes, inside: tuple[int, int], names: tuple[bytes, ...], parts: Iterator[int]
) -> Iterator[tuple[int, int]]:
    """Where the boxes begin and end that lie inside one another by these names."""
    for name, at, end in _mp4_boxes(data, inside, parts):
        if name == names[0] and len(names) == 1:
            yield at, end
        elif name == names[0]:
            yield from _mp4_path(data, (at, end), names[1:], parts)


def _mp4_boxes(
    data: bytes, inside: tuple[int, int], parts: Iterator[int]
) -> Iterator[tuple[bytes, int, int]]:
    at, end = inside
    while at + 8 <= end:
        next(parts)
        length, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            [length], head = struct.unpack_from(">Q", data, at + 8), 16
        length = length or end - at
        if length < head or at + length > end:
            raise damaged("a part of it is larger than what it lies in")
        yield name, at + head, at + length
        at += length


#: Files that hold their sound themselves, by how they begin: where, how, what they are called, and who reads them.
KINDS: tuple[tuple[int, bytes, str, Callable[[bytes, int], Length]], ...] = (
    (8, b"WAVE", "audio/wav", _wav),
    (0, b"fLaC", "audio/flac", _flac),
    (0, b"OggS", "audio/ogg", _ogg),
    (0, b"ID3", "audio/mpeg", _mp3),
    (0, b"\xff\xfb", "audio/mpeg", _mp3),
    (0, b"\xff\xfa", "audio/mpeg", _mp3),
    (0, b"\xff\xf3", "audio/mpeg", _mp3),
    (0, b"\xff\xf2", "audio/mpeg", _mp3),
    (0, b"\xff\xe3", "audio/mpeg", _mp3),
    (0, b"\xff\xe2", "audio/mpeg", _mp3),
    (4, b"ftyp", "audio/mp4", _mp4),
    (8, b"AIFF", "audio/aiff", _aiff),
    (8, b"AIFC", "audio/aiff", _aiff),
)
