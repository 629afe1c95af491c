"""Sounds are known by their bytes and measured; what is none is refused, and never takes long to see."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import WrongMedia
from shoal.units import HOUR_MS, MIB
from shoal.wire import sound
from shoal.wire.sound import KINDS, Sound
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
