"""What kind of sound a file holds and how long it lasts, read off its bytes: never off its name or stated type."""

from __future__ import annotations

import io
import math

from msgspec import Struct
from tinytag import TinyTag, TinyTagException

from shoal.errors import WrongMedia
from shoal.units import SECOND_MS

#: Files that hold their sound themselves, by how they begin: (offset, bytes, media type).
KINDS: tuple[tuple[int, bytes, str], ...] = (
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xfa", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"\xff\xf2", "audio/mpeg"),
    (0, b"\xff\xe3", "audio/mpeg"),
    (4, b"ftyp", "audio/mp4"),
    (8, b"AIFF", "audio/aiff"),
    (8, b"AIFC", "audio/aiff"),
)
WANTED = "wav, flac, ogg, mp3, m4a or aiff"
#: A file that needs more looking at than this is not sound but mischief.
READS_MAX = 100_000


class Sound(Struct, frozen=True):
    """A file's media type and length."""

    content_type: str
    duration_ms: int


class _Bounded(io.BytesIO):
    """A file that is only looked at so often."""

    _reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self._reads += 1
        if self._reads > READS_MAX:
            raise WrongMedia
        return super().read(size)


def measure(data: bytes) -> Sound:
    """Kind and length of a sound. Raises `WrongMedia` if it is none, or has no length."""
    kind = next((kind for at, mark, kind in KINDS if data.startswith(mark, at)), None)
    if kind is None:
        raise WrongMedia(f"Unsupported audio format or malformed file; send {WANTED}")
    try:
        tag = TinyTag.get(file_obj=_Bounded(data), tags=False)
    except TinyTagException as error:
        raise WrongMedia(f"Unsupported audio format or malformed file; send {WANTED}") from error
    duration_s = tag.duration or 0.0
    if kind == "audio/wav" and tag.bitrate:
        # A sound that was written as a stream does not know its length, and claims the most there is.
        duration_s = min(duration_s, len(data) * 8 / (tag.bitrate * 1_000))
    if not math.isfinite(duration_s) or duration_s <= 0:
        raise WrongMedia(f"Unable to calculate duration of file; send {WANTED}")
    return Sound(kind, math.ceil(duration_s * SECOND_MS))
