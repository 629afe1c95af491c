"""Words as a network understands them: a vector for every token of a text, by MiniLM.

The picture model was trained on exactly these vectors, so whoever trains it reads texts by this file too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime
import tokenizers

Floats: TypeAlias = npt.NDArray[np.float32]

NETWORK = "model.onnx"
VOCABULARY = "tokenizer.json"
#: What follows is not read. The longest name in the training set has 16 tokens.
TOKENS_MAX = 32


class Reader:
    """Reads texts; holds the network and its vocabulary."""

    def __init__(self, folder: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            folder / NETWORK, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / VOCABULARY))
        self._tokenizer.enable_truncation(TOKENS_MAX)
        self._tokenizer.enable_padding()

    def read(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """A vector for each token of each text, and a mask: 1 where a token is, 0 after the text's end."""
        encodings = self._tokenizer.encode_batch(list(texts))
        ids = np.array([encoding.ids for encoding in encodings], np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        [states] = self._session.run(None, {name: given[name] for name in self._inputs})
        told = mask.astype(np.float32)
        words: Floats = states.astype(np.float32) * told[:, :, None]
        return words, told


def meaning(words: Floats, mask: Floats) -> Floats:
    """One vector of length 1 for each text: the mean of its tokens."""
    mean = words.sum(axis=1) / np.maximum(mask.sum(axis=1, keepdims=True), 1)
    directions: Floats = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    return directions
