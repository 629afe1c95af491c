"""onnxruntime with a Piper voice; how the words sound is asked of our own lexicon reader."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path

import numpy as np

from benchmarks.models.bare.onnx import session
from benchmarks.models.bare.script import Job, Work, run
from shoal.worker.pipelines.pronunciation import Speaker

PAUSE_S = 0.2


def load(folder: Path, threads: int) -> Work:
    [network] = folder.glob("*.onnx")
    voice = session(network, threads)
    about = json.loads(network.with_suffix(".onnx.json").read_bytes())
    numbers, rate_hz = about["phoneme_id_map"], about["audio"]["sample_rate"]
    scales = np.array([0, about["inference"]["length_scale"], 0], np.float32)
    silver, gold = (json.loads((folder / f"us_{kind}.json").read_bytes()) for kind in ("silver", "gold"))
    speaker = Speaker(silver | gold)
    pause = np.zeros(int(rate_hz * PAUSE_S), np.int16)

    def utter(sounds: str) -> np.ndarray:
        ids = [*numbers["^"], *numbers["_"]]
        for sound in sounds:
            if sound in numbers:
                ids += [*numbers[sound], *numbers["_"]]
        ids += numbers["$"]
        given = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": scales,
        }
        [audio] = voice.run(None, given)
        loud = audio.squeeze() / max(0.01, float(np.abs(audio).max()))
        return np.asarray(loud * 32767).astype(np.int16)

    def work(job: Job) -> bytes:
        spoken = [part for sounds in speaker.sentences(job.params["text"]) for part in (utter(sounds), pause)]
        file = io.BytesIO()
        with wave.open(file, "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(rate_hz)
            wav.writeframes(np.concatenate(spoken).tobytes())
        return file.getvalue()

    return work


if __name__ == "__main__":
    run(load)
