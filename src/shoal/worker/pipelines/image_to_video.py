"""The image-to-video runner: a still picture becomes a film, by a camera that moves over it.

A few keyframes are drawn from the picture itself, and a network that has learned how pictures move finds the frames
between them; or those between two pictures, if there are two. It brings nothing to life that neither picture shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from itertools import repeat

import numpy as np
from PIL import Image

from shoal.wire.requests import ImageToVideoRequest
from shoal.worker.pipelines import film
from shoal.worker.pipelines.camera import View, camera
from shoal.worker.pipelines.form import read_request
from shoal.worker.pipelines.motion_network import Interpolator
from shoal.worker.pipelines.picture import Pixels, data_url, decode, seeds
from shoal.worker.pipelines.safety import THRESHOLD, Safety
from shoal.worker.pipelines.server import (
    Answer,
    Call,
    Hands,
    Reply,
    Settings,
    Step,
    encode,
    main,
    require_model,
)

BODY_BYTES_MAX = 24 << 20
#: How many frames apart keyframes are at most, and so two pictures of which one guess must do for all between.
GAP_MAX = 4
#: Where a film begins and, if the client says so, where it ends.
FILES = ("image", "end_image")


class ImageToVideo:
    """A camera and a network for what it passes by; implements `server.Pipeline`."""

    name = "image-to-video"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        self._interpolator = Interpolator(settings.model_dir / "flownet.pkl", settings.threads)
        self._safety = Safety(settings.model_dir / "safety", settings.threads)
        self._threads = settings.threads
        self._model_id = settings.model_id

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        request, files = read_request(
            call.content_type, call.body, ImageToVideoRequest, files=("image",), optional=("end_image",)
        )
        require_model(request.model_id, self._model_id)
        return hands.steps(call, lambda step: self._answer(request, files, step))

    def _answer(self, request: ImageToVideoRequest, files: dict[str, bytes], step: Step) -> Answer:
        pictures = [
            framed(decode(files[name]), request.width, request.height) for name in FILES if name in files
        ]
        [seed] = seeds(request.seed, 1)
        nsfw = request.safety_check and any(self._safety.nsfw(picture) > THRESHOLD for picture in pictures)
        frames = told(self._frames(request, pictures, seed), request.num_frames, step)
        form = film.Form(request.width, request.height, request.fps, request.num_frames)
        data = film.encode(frames, form, self._threads)
        answer = {"images": [{"url": data_url(data, "video/mp4"), "seed": seed, "nsfw": nsfw}]}
        return Answer(encode(answer), request.width * request.height * request.num_frames)

    def _frames(self, request: ImageToVideoRequest, pictures: list[Pixels], seed: int) -> Iterator[Pixels]:
        """All frames in their order. Of a still camera over one picture there is one frame, and nothing to guess."""
        last = request.num_frames - 1

        def keyframe(number: int, picture: Pixels) -> Pixels:
            height, width, _ = picture.shape
            path = camera(width, height, request.motion_bucket_id, seed)
            return seen(picture, path.view(number / last), request.width, request.height)

        first, end = pictures[0], pictures[-1]
        here = keyframe(0, first)
        yield here
        if request.motion_bucket_id == 0 and first is end:
            yield from repeat(here, last)
            return
        gap = GAP_MAX if first is end else last
        for number in range(0, last, gap):
            until = min(number + gap, last)
            there = keyframe(until, end)
            moments = [(frame - number) / (until - number) for frame in range(number + 1, until)]
            yield from self._between(here, there, moments)
            yield there
            here = there

    def _between(self, before: Pixels, after: Pixels, moments: list[float]) -> Iterator[Pixels]:
        """The frames at these moments; where they are many, those of each half by way of the middle."""
        if len(moments) < GAP_MAX:
            yield from self._interpolator.between(before, after, moments)
            return
        [middle] = self._interpolator.between(before, after, [0.5])
        yield from self._between(before, middle, [2 * moment for moment in moments if moment < 0.5])
        yield from self._between(middle, after, [2 * moment - 1 for moment in moments if moment >= 0.5])


def told(frames: Iterator[Pixels], count: int, step: Step) -> Iterator[Pixels]:
    """The frames, each of them counted; a caller who leaves costs at most one more."""
    for number, frame in enumerate(frames, 1):
        step(number, count)
        yield frame


def framed(picture: Pixels, width: int, height: int) -> Pixels:
    """The largest part of a picture, about its middle, that has these proportions."""
    high, wide, _ = picture.shape
    across = min(wide, max(1, round(high * width / height)))
    down = min(high, max(1, round(wide * height / width)))
    top, left = (high - down) // 2, (wide - across) // 2
    return picture[top : top + down, left : left + across]


def seen(picture: Pixels, view: View, width: int, height: int) -> Pixels:
    """A part of a picture, drawn at this size; its edges need not lie between pixels."""
    drawn = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS, box=view)
    return np.asarray(drawn, dtype=np.uint8).copy()


if __name__ == "__main__":
    main(ImageToVideo())
