"""The audio-to-text runner: speech in, words and their times out.

What a stranger sends is decoded as sound of a known kind and of bounded length, or refused; nothing in
a file can make the decoder open another.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Awaitable, Iterator
from typing import Literal

import av
import faster_whisper
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from shoal.errors import TooLarge, WrongMedia
from shoal.units import SECOND_MS
from shoal.wire.sound import measure
from shoal.worker.pipelines.form import read_request
from shoal.worker.pipelines.server import (
    Answer,
    Call,
    Gone,
    Hands,
    Reply,
    Settings,
    encode,
    main,
    require_model,
)

BODY_BYTES_MAX = 64 << 20
AUDIO_S_MAX = 3600
#: So much longer than was counted a sound may be: a packed one ends where its last packet does.
UNCOUNTED_S = 1
#: What the model listens to.
SAMPLE_RATE_HZ = 16_000
#: Kinds of file that hold their sound themselves: a playlist, which names other files, is not among them.
FORMATS = "aac,aiff,amr,caf,flac,matroska,webm,mov,mp4,m4a,mp3,ogg,wav"
BEAM_SIZE = 5

Sound = npt.NDArray[np.float32]


class Request(Struct, frozen=True):
    """The fields of the form, but for the sound."""

    model_id: str = ""
    return_timestamps: Literal["true", "false", "sentence", "word"] = "true"


class Chunk(Struct, frozen=True):
    timestamp: tuple[float, float]
    text: str


class Text(Struct, frozen=True):
    """TextResponse of the runner contract."""

    text: str
    chunks: tuple[Chunk, ...]


class AudioToText:
    """One speech model; implements `server.Pipeline`."""

    name = "audio-to-text"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        self._model = faster_whisper.WhisperModel(
            str(settings.model_dir),
            device="cpu",
            compute_type="int8",
            cpu_threads=settings.threads,
            num_workers=settings.slots,
            local_files_only=True,
        )
        self._model_id = settings.model_id

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        request, files = read_request(call.content_type, call.body, Request, files=("audio",))
        require_model(request.model_id, self._model_id)
        return hands.run(lambda gone: self._transcribe(request, files["audio"], gone))

    def _transcribe(self, request: Request, audio: bytes, gone: Gone) -> Answer:
        sound = decode(audio)
        by_word = request.return_timestamps == "word"
        segments, _ = self._model.transcribe(
            sound, beam_size=BEAM_SIZE, word_timestamps=by_word, vad_filter=True
        )
        heard = list(itertools.takewhile(lambda _: not gone(), segments))
        text = "".join(segment.text for segment in heard).strip()
        parts = (word for segment in heard for word in segment.words or ()) if by_word else heard
        chunks = () if request.return_timestamps == "false" else tuple(chunk(part) for part in parts)
        return Answer(encode(Text(text, chunks)), -(-len(sound) * 1000 // SAMPLE_RATE_HZ))


def chunk(part: faster_whisper.transcribe.Segment | faster_whisper.transcribe.Word) -> Chunk:
    text = part.word if isinstance(part, faster_whisper.transcribe.Word) else part.text
    return Chunk((round(float(part.start), 2), round(float(part.end), 2)), text)


def decode(audio: bytes) -> Sound:
    """A file's first sound track as the model wants it: mono, 16 kHz, from -1 to 1."""
    try:
        options = {"format_whitelist": FORMATS}
        with av.open(io.BytesIO(audio), mode="r", options=options, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise WrongMedia("the file holds no sound")
            return bounded(resample(container), paid_s(audio))
    except (av.FFmpegError, ValueError) as error:
        raise WrongMedia("Unsupported audio format or malformed file.") from error


def paid_s(audio: bytes) -> float:
    """How long a sound may be, by what it was counted as: one that lies about its length is not worked on."""
    try:
        return measure(audio, AUDIO_S_MAX * SECOND_MS).duration_ms / SECOND_MS + UNCOUNTED_S
    except (WrongMedia, TooLarge):  # none that an orchestrator of ours would send
        return AUDIO_S_MAX


def resample(container: av.container.InputContainer) -> Iterator[npt.NDArray[np.int16]]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
    for frame in itertools.chain(container.decode(audio=0), (None,)):
        for piece in resampler.resample(frame):
            yield piece.to_ndarray()[0]


def bounded(pieces: Iterator[npt.NDArray[np.int16]], seconds_max: float) -> Sound:
    """Join the pieces; stop as soon as they are too long, for a small file may hold days of silence."""
    taken: list[npt.NDArray[np.int16]] = []
    samples = 0
    for piece in pieces:
        taken.append(piece)
        samples += len(piece)
        if samples > seconds_max * SAMPLE_RATE_HZ:
            raise TooLarge(f"the sound is longer than {AUDIO_S_MAX} s, or than it says; send it in parts")
    if not samples:
        raise WrongMedia("Unable to calculate duration of file: it holds no sound")
    return np.concatenate(taken).astype(np.float32) / np.float32(32768)


if __name__ == "__main__":
    main(AudioToText())
