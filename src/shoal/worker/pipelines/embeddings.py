"""The embeddings runner: texts in, one vector of length 1 for each out. Texts that are near in meaning lie near.

A text that is longer than the network reads is refused, never cut off in silence.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import tokenizers

from shoal.errors import Cancelled, Refused
from shoal.wire.requests import EmbeddingsRequest
from shoal.worker.pipelines.server import (
    Answer,
    Call,
    Gone,
    Hands,
    Reply,
    Settings,
    encode,
    main,
    require_model,
)
from shoal.worker.pipelines.wording import Reader, meaning

BODY_BYTES_MAX = 4 << 20
#: How many tokens of a text the model was made to read, its marks of beginning and end among them.
TOKENS_MAX = 256
#: Texts that go through the network together.
BATCH = 32

Vectors = npt.NDArray[np.float32]

decoder = msgspec.json.Decoder(EmbeddingsRequest)


class Embeddings:
    """One network; implements `server.Pipeline`."""

    name = "embeddings"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        self._reader = Reader(settings.model_dir, settings.threads, tokens_max=None)
        self._model_id = settings.model_id
        self._reader.read(["ready"])  # the first run plans its memory

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        try:
            request = decoder.decode(call.body)
        except msgspec.DecodeError as error:
            raise Refused(f"the request is not valid: {error}") from error
        require_model(request.model, self._model_id)
        texts = (request.input,) if isinstance(request.input, str) else request.input
        return hands.run(lambda gone: self._answer(texts, request.encoding_format == "base64", gone))

    def _answer(self, texts: Sequence[str], packed: bool, gone: Gone) -> Answer:
        read = self._reader.tokens(texts)
        for number, text in enumerate(read):
            if len(text.ids) > TOKENS_MAX:
                raise Refused(
                    f"text {number} is {len(text.ids)} tokens long, the model reads {TOKENS_MAX}; send it in parts"
                )
        data: list[object] = []
        for vector in self._in_batches(read, gone):
            values = base64.b64encode(vector.tobytes()).decode() if packed else vector.tolist()
            data.append({"object": "embedding", "index": len(data), "embedding": values})
        tokens = sum(len(text.ids) for text in read)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        value = {"object": "list", "data": data, "model": self._model_id, "usage": usage}
        return Answer(encode(value), sum(map(len, texts)))

    def _in_batches(self, read: Sequence[tokenizers.Encoding], gone: Gone) -> Iterator[Vectors]:
        """A vector for each text in its turn; texts of like length go through together."""
        order = sorted(range(len(read)), key=lambda index: len(read[index].ids))
        vectors: list[Vectors] = [np.empty(0, np.float32)] * len(read)
        for begin in range(0, len(order), BATCH):
            if gone():
                raise Cancelled
            batch = order[begin : begin + BATCH]
            for index, vector in zip(
                batch, meaning(*self._reader.vectors([read[index] for index in batch])), strict=True
            ):
                vectors[index] = vector
        yield from vectors


if __name__ == "__main__":
    main(Embeddings())
