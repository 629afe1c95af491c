"""Pictures into a film: an mp4 that browsers play while they still load it. The same pictures give the same bytes.

The film is VP9, which may be used freely; H.264 would need an encoder under the GPL (docs/why/015).
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import av
import numpy as np
from msgspec import Struct

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
#: Room for the index at the beginning, so that a player need not wait for the end: in all, and for each picture.
INDEX_BYTES = 4096
INDEX_BYTES_EACH = 64


class Form(Struct, frozen=True):
    """What a film is like."""

    width: int
    height: int
    fps: int
    frames: int


def encode(pictures: Iterable[Pixels], form: Form, threads: int) -> bytes:
    """The film of these pictures, each of them as large as the film."""
    file = io.BytesIO()
    # No clock and no version is written down.
    options = {"moov_size": str(INDEX_BYTES + INDEX_BYTES_EACH * form.frames), "fflags": "+bitexact"}
    with av.open(file, "w", format="mp4", options=options) as container:
        stream = container.add_stream(CODEC, rate=form.fps, options=OPTIONS)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = form.width, form.height, "yuv420p"
        stream.codec_context.thread_count = threads
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
