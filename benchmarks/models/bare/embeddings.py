"""tokenizers and onnxruntime: a few texts in one batch, a vector of length 1 for each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tokenizers

from benchmarks.models.bare.onnx import session
from benchmarks.models.bare.script import Job, Work, run


def load(folder: Path, threads: int) -> Work:
    network = session(folder / "model.onnx", threads)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()

    def work(job: Job) -> bytes:
        read = tokenizer.encode_batch(job.params["input"])
        ids = np.array([text.ids for text in read], np.int64)
        mask = np.array([text.attention_mask for text in read], np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        [said, *_] = network.run(None, given)
        weights = mask[:, :, None].astype(np.float32)
        means = (said * weights).sum(axis=1) / weights.sum(axis=1)
        return bytes((means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32).tobytes())

    return work


if __name__ == "__main__":
    run(load)
