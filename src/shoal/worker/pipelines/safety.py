"""Whether a picture is indecent, by Yahoo's open_nsfw network. A probability, and only an opinion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from shoal.worker.pipelines.picture import Pixels, resize

NETWORK = "open-nsfw.onnx"
#: From here on a picture is called indecent: the network's authors take 0.8 for sure.
NSFW_FROM = 0.8
SIDE = 256
MARGIN = 16
#: What the network takes away first: the means of blue, green and red.
MEANS = np.array([104, 117, 123], np.float32)


class Safety:
    """The network, for any number of pictures."""

    def __init__(self, model_dir: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            model_dir / NETWORK, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def nsfw(self, picture: Pixels) -> float:
        """How likely a picture is indecent, from 0 to 1."""
        middle = resize(picture, SIDE, SIDE)[MARGIN:-MARGIN, MARGIN:-MARGIN, ::-1]
        [found] = self._session.run(None, {self._input: (middle - MEANS)[None]})
        return float(found[0][1])
