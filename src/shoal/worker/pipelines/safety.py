"""Whether a picture may be shown to anybody: Yahoo's open_nsfw, as it was published, on onnxruntime.

For every pipeline whose request has `safety_check`. It judges photographs of people; it knows nothing of drawings,
violence or the law, and its word is a probability.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from shoal.worker.pipelines.picture import Pixels
from shoal.worker.pipelines.session import open_session

WEIGHTS = "open-nsfw.onnx"
#: From here on a picture is called indecent. Its makers say: below 0.2 surely not, above 0.8 very likely.
THRESHOLD = 0.8
#: As the network was taught: the picture squeezed into one size, its middle, blue before green before red, less a mean.
SQUEEZED, SHOWN = 256, 224
MEAN = np.array([104, 117, 123], np.float32)
MARGIN = (SQUEEZED - SHOWN) // 2


class Safety:
    """One network; may be asked from several threads."""

    def __init__(self, model_dir: Path, threads: int) -> None:
        self._session = open_session(model_dir / WEIGHTS, threads)
        [given] = self._session.get_inputs()
        self._input = given.name

    def nsfw(self, pixels: Pixels) -> float:
        """How likely the picture is indecent, from 0 to 1; `THRESHOLD` is where we draw the line."""
        [[[_, likely]]] = self._session.run(None, {self._input: prepared(pixels)[None]})
        return float(likely)


def prepared(pixels: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The picture as the network saw its examples; they had all been JPEG files, and it can tell."""
    squeezed = Image.fromarray(pixels).resize((SQUEEZED, SQUEEZED), Image.Resampling.BILINEAR)
    shown = squeezed.crop((MARGIN, MARGIN, MARGIN + SHOWN, MARGIN + SHOWN))
    file = io.BytesIO()
    shown.save(file, "JPEG")
    seen = np.asarray(Image.open(file), np.float32)
    return np.ascontiguousarray(seen[:, :, ::-1] - MEAN)
