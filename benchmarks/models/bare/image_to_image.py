"""onnxruntime: a picture in one of the network's styles, and the judgement whether it is decent.

Which style a prompt names, and the judge, are our own pure parts. The model's two other networks, which take a style
from a picture, are not loaded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.models.bare.onnx import session
from benchmarks.models.bare.script import Job, Work, run
from shoal.worker.pipelines.picture import decode, encode, resize
from shoal.worker.pipelines.safety import Safety
from shoal.worker.pipelines.styles import mixture

GRAIN, STRIDE = 0.06, 4


def load(folder: Path, threads: int) -> Work:
    network = session(folder / "multistyle26.onnx", threads)
    safety = Safety(folder / "safety", threads)

    def work(job: Job) -> bytes:
        picture = decode(job.file.read_bytes())
        high, wide = (round(side / STRIDE) * STRIDE for side in picture.shape[:2])
        canvas = floats(resize(picture, wide, high))
        grain = np.random.default_rng(job.params["seed"]).standard_normal(canvas.shape, np.float32)
        rough = (canvas + GRAIN * grain).clip(0, 1)
        style = np.array(mixture(job.params["prompt"]), np.float32)
        [[plain]] = network.run(None, {"image": rough.transpose(2, 0, 1)[None], "style_weights": style})
        painted = resize(pixels(plain.transpose(1, 2, 0)), picture.shape[1], picture.shape[0])
        strength = np.float32(job.params["strength"])
        blended = pixels(floats(picture) * (1 - strength) + floats(painted) * strength)
        safety.nsfw(blended)
        return encode(blended)

    return work


def floats(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.float32) / np.float32(255)


def pixels(picture: np.ndarray) -> np.ndarray:
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)


if __name__ == "__main__":
    run(load)
