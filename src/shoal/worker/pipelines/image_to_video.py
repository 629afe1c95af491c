"""The image-to-video runner: a still picture becomes a film, by a camera that moves over it.

A few keyframes are drawn from the picture itself; the frames between them come from a network that has learned how
pictures move. Nothing in the picture comes to life: it is the camera that moves, and no model here could do more.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Iterator

import numpy as np
from PIL import Image

from shoal.wire.requests import ImageToVideoRequest
from shoal.worker.pipelines import film
from shoal.worker.pipelines.camera import View, camera
from shoal.worker.pipelines.form import read_request
from shoal.worker.pipelines.motion_network import Interpolator
from shoal.worker.pipelines.picture import Pixels, data_url, decode
from shoal.worker.pipelines.safety import Safety
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

BODY_BYTES_MAX = 12 << 20
#: How many frames apart keyframes are at most: a power of two, for the network halves.
GAP_MAX = 4
SEED_BITS = 31


class ImageToVideo:
    """A camera and a network for what it passes by; implements `server.Pipeline`."""

    name = "image-to-video"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        self._interpolator = Interpolator(settings.model_dir / "flownet.pkl", settings.threads)
        self._safety = Safety(settings.model_dir, settings.threads)
        self._threads = settings.threads
        self._model_id = settings.model_id

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        request, files = read_request(call.content_type, call.body, ImageToVideoRequest, files=("image",))
        require_model(request.model_id, self._model_id)
        return hands.steps(call, lambda step: self._answer(request, files["image"], step))

    def _answer(self, request: ImageToVideoRequest, image: bytes, step: Step) -> Answer:
        picture = framed(decode(image), request.width, request.height)
        seed = secrets.randbits(SEED_BITS) if request.seed is None else request.seed
        nsfw = request.safety_check and self._safety.indecent(picture)
        frames = told(self._frames(request, picture, seed), request.num_frames, step)
        data = film.encode(frames, request.width, request.height, request.fps, self._threads)
        answer = {"images": [{"url": data_url(data, "video/mp4"), "seed": seed, "nsfw": nsfw}]}
        return Answer(encode(answer), request.width * request.height * request.num_frames)

    def _frames(self, request: ImageToVideoRequest, picture: Pixels, seed: int) -> Iterator[Pixels]:
        """All frames in their order. Without motion there is one frame, and nothing to guess."""
        height, width, _ = picture.shape
        path = camera(width, height, request.motion_bucket_id, seed)
        last = request.num_frames - 1

        def keyframe(number: int) -> Pixels:
            return seen(picture, path.view(number / last), request.width, request.height)

        here = keyframe(0)
        yield here
        if not request.motion_bucket_id:
            yield from (here for _ in range(last))
            return
        for number, gap in keyframes(last):
            there = keyframe(number)
            yield from self._between(here, there, gap)
            yield there
            here = there

    def _between(self, before: Pixels, after: Pixels, gap: int) -> Iterator[Pixels]:
        """The frames between two that are this many apart: the middle one, and so on to both sides."""
        if gap > 1:
            middle = self._interpolator.between(before, after)
            yield from self._between(before, middle, gap // 2)
            yield middle
            yield from self._between(middle, after, gap // 2)


def keyframes(last: int) -> Iterator[tuple[int, int]]:
    """After the first: each keyframe's number and how far it is from the one before, until the last frame."""
    number, gap = 0, GAP_MAX
    while number < last:
        while number + gap > last:
            gap //= 2
        number += gap
        yield number, gap


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
