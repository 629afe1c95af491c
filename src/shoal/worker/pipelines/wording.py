"""Words as a network understands them: a vector for every token of a text, by MiniLM; their mean is what it means.

The picture model was trained on exactly these vectors, so whoever trains it reads texts by this file too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tokenizers

from shoal.worker.pipelines.session import open_session

Floats: TypeAlias = npt.NDArray[np.float32]

NETWORK = "model.onnx"
VOCABULARY = "tokenizer.json"
#: What follows is not read. The longest name in the training set has 16 tokens.
TOKENS_MAX = 32


class Reader:
    """Reads texts; holds the network and its vocabulary."""

    def __init__(self, folder: Path, threads: int, tokens_max: int | None = TOKENS_MAX) -> None:
        """What of a text lies beyond `tokens_max` is not read; None reads everything."""
        self._session = open_session(folder / NETWORK, threads)
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / VOCABULARY))
        self._tokenizer.no_padding()
        if tokens_max is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(tokens_max)

    def tokens(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        """Each text as the network's vocabulary has it."""
        return self._tokenizer.encode_batch(list(texts))

    def vectors(self, texts: Sequence[tokenizers.Encoding]) -> tuple[Floats, Floats]:
        """A vector for each token of each text, and a mask: 1 where a token is, 0 after the text's end."""
        longest = max(len(text.ids) for text in texts)
        ids = np.zeros((len(texts), longest), np.int64)
        mask = np.zeros((len(texts), longest), np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text.ids)] = text.ids
            mask[row, : len(text.ids)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        [states] = self._session.run(None, {name: given[name] for name in self._inputs})
        told = mask.astype(np.float32)
        words: Floats = states.astype(np.float32) * told[:, :, None]
        return words, told

    def read(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """The vectors and the mask of these texts."""
        return self.vectors(self.tokens(texts))


def meaning(words: Floats, mask: Floats) -> Floats:
    """One vector of length 1 for each text: the mean of its tokens."""
    mean = words.sum(axis=1) / np.maximum(mask.sum(axis=1, keepdims=True), 1)
    directions: Floats = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    return directions
