"""The upscale runner: a picture in, the same one larger out. The prompt and the number of steps change nothing.

It makes no picture up out of a prompt: what it adds to an edge is what the network learned that edges look like.
"""

from __future__ import annotations

from collections.abc import Awaitable

from shoal.wire.requests import UpscaleRequest
from shoal.worker.pipelines import picture
from shoal.worker.pipelines.enlargement import Enlarger
from shoal.worker.pipelines.form import read_request
from shoal.worker.pipelines.picture import Drawn, Pixels
from shoal.worker.pipelines.safety import THRESHOLD, Safety
from shoal.worker.pipelines.server import Answer, Call, Hands, Reply, Settings, Step, main, require_model

BODY_BYTES_MAX = 12 << 20
#: Of the picture that comes in; what goes out has up to sixteen times as many.
PIXELS_MAX = 1 << 20


class Upscale:
    """One network; implements `server.Pipeline`."""

    name = "upscale"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        self._enlarger = Enlarger(settings.model_dir, settings.threads)
        self._safety = Safety(settings.model_dir / "safety", settings.threads)
        self._model_id = settings.model_id

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        request, files = read_request(call.content_type, call.body, UpscaleRequest, files=("image",))
        require_model(request.model_id, self._model_id)
        return hands.steps(call, lambda step: self._enlarge(request, files["image"], step))

    def _enlarge(self, request: UpscaleRequest, image: bytes, step: Step) -> Answer:
        small = picture.decode(image, pixels_max=PIXELS_MAX)
        large: Pixels = self._enlarger.enlarge(small, request.factor, step)
        nsfw = request.safety_check and self._safety.nsfw(small) > THRESHOLD
        return picture.answer([Drawn(large, request.seed or 0, nsfw)], small.shape[0] * small.shape[1])


if __name__ == "__main__":
    main(Upscale())
