"""The text-to-speech runner: English text in, spoken by a Piper voice.

The voice's network runs on onnxruntime and its sounds come from a lexicon among the model's files, so that no
GPL-licensed phonemiser is needed.
"""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Awaitable
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from shoal.errors import Cancelled, Refused, TooLarge
from shoal.worker.pipelines.pronunciation import Entry, Speaker
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
from shoal.worker.pipelines.session import open_session

BODY_BYTES_MAX = 1 << 18
TEXT_CHARACTERS_MAX = 10_000
SENTENCE_PAUSE_MS = 200
#: How much chance there is in pitch and rhythm. None: the same text gives the same sound, so that one worker's
#: answer can be held against another's; and it is understood better (docs/why/006).
NOISE = 0.0
#: Lexicons by their weight: the first that knows a word decides.
LEXICONS = ("us_gold.json", "us_silver.json")

Samples = npt.NDArray[np.int16]


class Request(Struct, frozen=True):
    text: Annotated[str, Meta(max_length=BODY_BYTES_MAX)] = ""
    model_id: str = ""
    #: Part of the contract; this model has one voice, which no description changes.
    description: str = ""


class Sampling(Struct, frozen=True):
    sample_rate: int


class Inference(Struct, frozen=True):
    length_scale: float


class Voice(Struct, frozen=True):
    """The file that lies beside a Piper voice's network."""

    audio: Sampling
    inference: Inference
    phoneme_id_map: dict[str, tuple[int, ...]]


decoder = msgspec.json.Decoder(Request)


class TextToSpeech:
    """One voice; implements `server.Pipeline`."""

    name = "text-to-speech"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        [network] = settings.model_dir.glob("*.onnx")
        self._session = open_session(network, settings.threads)
        self._voice = msgspec.json.decode(network.with_suffix(".onnx.json").read_bytes(), type=Voice)
        lexicon: dict[str, Entry] = {}
        for name in reversed(LEXICONS):
            lexicon |= json.loads((settings.model_dir / name).read_bytes())
        self._speaker = Speaker(lexicon)
        self._model_id = settings.model_id
        self._speak("Ready.")  # the first run plans its memory; let no caller wait for that

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        request = read_request(call.body)
        require_model(request.model_id, self._model_id)
        return hands.run(lambda gone: self._answer(request.text, call.accept, gone))

    def _answer(self, text: str, accept: str, gone: Gone) -> Answer:
        sound = wav(self._speak(text, gone), self._voice.audio.sample_rate)
        if "application/json" not in accept:
            return Answer(sound, len(text), b"audio/wav")
        url = "data:audio/wav;base64," + base64.b64encode(sound).decode()
        return Answer(encode({"audio": {"url": url}}), len(text))

    def _speak(self, text: str, gone: Gone = lambda: False) -> Samples:
        """The whole text, sentence by sentence, so that a caller who leaves costs at most one."""
        pause = np.zeros(self._voice.audio.sample_rate * SENTENCE_PAUSE_MS // 1000, np.int16)
        spoken: list[Samples] = []
        for sounds in self._speaker.sentences(text):
            if gone():
                raise Cancelled
            spoken += [self._utter(sounds), pause]
        if not spoken:
            raise Refused("the text holds no word that can be spoken")
        return np.concatenate(spoken)

    def _utter(self, sounds: str) -> Samples:
        ids = self._ids(sounds)
        [audio] = self._session.run(
            None,
            {
                "input": np.array([ids], np.int64),
                "input_lengths": np.array([len(ids)], np.int64),
                "scales": np.array([NOISE, self._voice.inference.length_scale, NOISE], np.float32),
            },
        )
        loud = audio.squeeze() / max(0.01, float(np.abs(audio).max()))
        samples: Samples = (loud * 32767).astype(np.int16)
        return samples

    def _ids(self, sounds: str) -> list[int]:
        """Begin, then each sound and a blank, then end: as the voice was trained."""
        ids, blank = self._voice.phoneme_id_map, self._voice.phoneme_id_map["_"]
        known = (ids[sound] for sound in sounds if sound in ids)
        return [*ids["^"], *blank, *(number for sound in known for number in (*sound, *blank)), *ids["$"]]


def read_request(body: bytes) -> Request:
    try:
        request = decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Refused(f"the request is not valid: {error}") from error
    if not request.text.strip():
        raise Refused("Text input must be provided.")
    if len(request.text) > TEXT_CHARACTERS_MAX:
        raise TooLarge(f"the text is {len(request.text)} characters long, the limit is {TEXT_CHARACTERS_MAX}")
    return request


def wav(samples: Samples, sample_rate_hz: int) -> bytes:
    """A file of one 16-bit channel."""
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(samples.tobytes())
    return sound.getvalue()


if __name__ == "__main__":
    main(TextToSpeech())
