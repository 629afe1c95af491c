"""A network made ready to run on a processor, by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

#: A graph of our own making names more than it uses, and onnxruntime would say so at every start.
ERRORS_ONLY = 3


def open_session(network: Path | bytes, threads: int) -> onnxruntime.InferenceSession:
    """The network in a file, or as bytes. May be run from several threads; idle ones sleep, they do not spin."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = network if isinstance(network, bytes) else str(network)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
