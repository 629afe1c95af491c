"""Pictures into a film: an mp4 that browsers play while they still load it. The same pictures give the same bytes.

The film is VP9, which may be used freely; H.264 would need an encoder under the GPL (docs/why/012).
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import av
import numpy as np

from shoal.worker.pipelines.picture import Pixels

CODEC = "libvpx-vp9"
#: From 0, the best, to 63.
QUALITY = 24
OPTIONS = {
    "crf": str(QUALITY),
    "b": "0",  # let the quality decide, not a rate
    "deadline": "good",
    "cpu-used": "5",
    "row-mt": "1",
    "auto-alt-ref": "1",
}
#: The index comes first, so that a player need not wait for the end; and no clock and no version is written down.
MOVFLAGS = {"movflags": "+faststart", "fflags": "+bitexact"}


def encode(pictures: Iterable[Pixels], width: int, height: int, fps: int, threads: int) -> bytes:
    """The film of these pictures, each as large as the film."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options=MOVFLAGS) as container:
        stream = container.add_stream(CODEC, rate=fps, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = threads
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
