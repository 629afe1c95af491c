"""The image-to-text runner: a picture in, a plain statement out, composed from a tagger and OCR.

No captioning model speaks here, and the answer says so. A prompt that asks for text gets the text alone; any other
prompt changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable

from shoal.wire.requests import ImageToTextRequest
from shoal.worker.pipelines import picture
from shoal.worker.pipelines.form import read_request
from shoal.worker.pipelines.reading import Reader
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
from shoal.worker.pipelines.tagging import Tagger

BODY_BYTES_MAX = 12 << 20
ASKS_FOR_TEXT = re.compile(
    r"\b(ocr|reads?|text|say|says|said|written|words?|letters?|spell|spells|transcribe|transcription)\b",
    re.IGNORECASE,
)
HOW_IT_WAS_MADE = "(Composed from a tagger and OCR; no captioning model.)"
NOTHING_SEEN = "The tagger recognises nothing in it."
NOTHING_READ = "No text was found."


class ImageToText:
    """A tagger and a reader; implements `server.Pipeline`."""

    name = "image-to-text"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        self._tagger = Tagger(settings.model_dir, settings.threads)
        self._reader = Reader(settings.model_dir, settings.threads)
        self._model_id = settings.model_id

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        request, files = read_request(call.content_type, call.body, ImageToTextRequest, files=("image",))
        require_model(request.model_id, self._model_id)
        return hands.steps(call, lambda step: self._tell(request.prompt, files["image"], step))

    def _tell(self, prompt: str, image: bytes, step: Step) -> Answer:
        pixels = picture.decode(image)
        text = self._reader.read(pixels, step)
        if not ASKS_FOR_TEXT.search(prompt):
            text = statement(self._tagger.describe(pixels), text)
        return Answer(encode({"text": text}), pixels.shape[0] * pixels.shape[1])


def statement(seen: str, text: str) -> str:
    """What was seen, what was read (more than a single sign), and how this came about."""
    read = f"Text in the picture: {quoted(text)}." if sum(map(str.isalnum, text)) > 1 else NOTHING_READ
    return f"{seen or NOTHING_SEEN} {read} {HOW_IT_WAS_MADE}"


def quoted(text: str) -> str:
    return "'" + " / ".join(text.splitlines()) + "'"


if __name__ == "__main__":
    main(ImageToText())
