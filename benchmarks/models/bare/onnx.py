"""A network of onnxruntime, opened as every script opens it."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def session(network: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
