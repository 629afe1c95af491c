"""Sounds are known by their bytes and measured; what is none is refused, and never takes long to see."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import ShoalError, TooLarge, WrongMedia
from shoal.units import HOUR_MS, MIB
from shoal.wire import sound
from shoal.wire.sound import KINDS, Sound
from shoal.worker.pipelines.audio_to_text import decode
from stage import wav


def measure(data: bytes) -> Sound:
    return sound.measure(data, HOUR_MS)


@pytest.mark.parametrize("duration_ms", [1, 999, 61_000])
def test_a_sound_is_measured(duration_ms: int) -> None:
    assert measure(wav(duration_ms)) == Sound("audio/wav", duration_ms)


def test_a_sound_written_as_a_stream_lasts_as_long_as_its_bytes() -> None:
    file = bytearray(wav(2_000))
    at = file.index(b"data") + 4
    file[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    assert measure(bytes(file)).duration_ms == pytest.approx(2_000, abs=5)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"A text that says it is a sound. " * 100,
        b"RIFF\x00\x00\x00\x00WAVE",
        wav(1_000)[:30],
        wav(0),
        b"#EXTM3U\nhttp://example.org/x.mp3\n",
        b"ID3" + bytes(1_000),
    ],
)
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(WrongMedia):
        measure(data)


@pytest.mark.parametrize("mark", [mark for at, mark, *_ in KINDS if at == 0])
def test_a_large_file_of_nothing_is_seen_through(mark: bytes) -> None:
    with pytest.raises(WrongMedia):
        measure(mark + bytes(8 * MIB))


@given(st.sampled_from([kind[:3] for kind in KINDS]), st.binary(max_size=500))
def test_anything_is_measured_or_refused(kind: tuple[int, bytes, str], rest: bytes) -> None:
    at, mark, _ = kind
    try:
        assert measure(b"RIFF0000"[:at] + mark + rest).duration_ms > 0
    except WrongMedia:
        pass


PACKED = [
    ("wav", "pcm_s16le", 8_000),
    ("wav", "pcm_u8", 8_000),
    ("wav", "pcm_s24le", 48_000),
    ("wav", "pcm_f32le", 16_000),
    ("wav", "pcm_mulaw", 8_000),
    ("aiff", "pcm_s16be", 44_100),
    ("aiff", "pcm_s24be", 48_000),
    ("aiff", "pcm_s16le", 44_100),
    ("flac", "flac", 44_100),
    ("ogg", "flac", 44_100),
    ("ogg", "libopus", 48_000),
    ("ogg", "libopus", 16_000),
    ("ogg", "vorbis", 44_100),
    *(
        ("mp3", "libmp3lame", rate)
        for rate in (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
    ),
    ("ipod", "aac", 16_000),
    ("mp4", "aac", 44_100),
    ("mov", "aac", 48_000),
    ("mp4", "libmp3lame", 44_100),
    ("ipod", "alac", 44_100),
]
#: What an encoder puts before a sound, and after it to fill its last packet: of mp3 up to some 1,700 samples.
FILLED_MS = 220
#: Where a file does not say how much of its last packet is sound.
SHORT_MS = 3


def written(container: str, codec: str, rate_hz: int, duration_ms: int, layout: str) -> bytes:
    """A tone in noise, packed by a real encoder."""
    count = rate_hz * duration_ms // 1_000
    wave = 8_000 * np.sin(np.arange(count) / 20) + np.random.default_rng(1).normal(0, 500, count)
    channels = 2 if layout == "stereo" else 1
    samples = np.repeat(wave.astype(np.int16), channels).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
    frame.sample_rate, frame.pts = rate_hz, 0
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate_hz, layout=layout, options={"strict": "experimental"})
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize(("container", "codec", "rate_hz"), PACKED)
@pytest.mark.parametrize("duration_ms", [300, 5_370])
def test_a_packed_sound_is_as_long_as_its_decoder_finds_it(
    container: str, codec: str, rate_hz: int, duration_ms: int
) -> None:
    for layout in ("mono", "stereo") if codec != "vorbis" else ("stereo",):
        data = written(container, codec, rate_hz, duration_ms, layout)
        heard_ms = len(decode(data)) * 1_000 / 16_000
        assert heard_ms - SHORT_MS <= measure(data).duration_ms <= heard_ms + FILLED_MS


def test_frames_are_counted_and_not_believed() -> None:
    """What an mp3 says of its length in its first frame is no matter; nor is a picture before, or a tag behind."""
    whole = written("mp3", "libmp3lame", 24_000, 4_000, "mono")
    duration_ms = measure(whole).duration_ms
    at = max(whole.find(b"Xing"), whole.find(b"Info"))
    lying = whole[: at + 8] + struct.pack(">I", 2) + whole[at + 12 :]
    assert measure(lying).duration_ms == duration_ms
    tagged = (
        b"ID3\x03\x00\x00" + bytes((0, 0, 7, 104)) + b"\xff\xfb\x90\x00" * 250 + whole + b"TAG" + bytes(125)
    )
    assert measure(tagged).duration_ms == duration_ms
    first = whole.find(b"\xff\xf3")
    assert measure(whole[first:] * 3).duration_ms == pytest.approx(3 * duration_ms, abs=60)


@pytest.mark.parametrize("codec", ["libmp3lame", "libopus", "flac", "aac", "pcm_s16be"])
def test_what_is_garbled_is_measured_or_refused_but_never_a_bug(codec: str) -> None:
    container = {"libmp3lame": "mp3", "libopus": "ogg", "flac": "flac", "aac": "mp4", "pcm_s16be": "aiff"}[
        codec
    ]
    data = written(container, codec, 48_000 if codec == "libopus" else 16_000, 400, "mono")
    for at in range(min(len(data), 700)):
        for value in (0x00, 0x01, 0xFF, data[at] ^ 0x55):
            try:
                found = measure(data[:at] + bytes((value,)) + data[at + 1 :])
            except ShoalError:
                continue
            assert 0 < found.duration_ms <= HOUR_MS
    for length in range(0, len(data), max(1, len(data) // 100)):
        try:
            assert measure(data[:length]).duration_ms > 0
        except ShoalError:
            continue


def test_a_sound_above_the_limit_is_too_large() -> None:
    with pytest.raises(TooLarge, match="lasts 61 s, the limit is 60 s"):
        sound.measure(wav(61_000), 60_000)
    frames = bytes((0xFF, 0xF3, 0x14, 0)) + bytes(20)
    with pytest.raises(TooLarge, match="the limit is 60 s"):
        sound.measure(frames * 10_000, 60_000)


JUNK = bytes((0xFF, 0xF3, 0x14, 0)) + bytes(20)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfb" + b"\xff" * 9 * MIB,
        (JUNK * 2 + b"\xff" * 30_000) * 300,
        (b"OggS" + bytes(22) + b"\x00") * 400_000,
        b"RIFF0000WAVE" + bytes(9 * MIB),
        b"FORM0000AIFF" + bytes(9 * MIB),
        b"\0\0\0\x08ftyp" * MIB,
        b"\0\0\0\x08ftyp\0\0\0\0moov" + b"\0\0\0\x08trak" * MIB,
        b"ID3" + b"\0\0\0\0\0\0\0" + b"ID3\0\0\0\0\0\0\0" * MIB,
    ],
    ids=["sync", "junk", "pages", "chunks", "aiff", "boxes", "tracks", "tags"],
)
def test_a_file_of_too_many_parts_is_seen_through(data: bytes) -> None:
    with pytest.raises(WrongMedia, match=r"more than 50000 parts|calculate duration"):
        measure(data)
