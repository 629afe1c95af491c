"""What every bare script does beside its work: load the model, do the job for each line that comes in, say how long.

No server, no socket: the job is named on the command line, and its answer leaves as a hash. Holds nothing but the
standard library, so that what a bare script weighs is the library that it calls.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Job:
    """What the network is asked, too: the same parameters, and the same file if there is one."""

    params: dict[str, Any]
    file: Path


#: Answers a job; what it gives is what the job's `read` takes out of the network's answer.
Work = Callable[[Job], bytes]
#: Makes a model ready: its folder, and how many threads it may compute with.
Load = Callable[[Path, int], Work]


def run(load: Load) -> None:
    """One line in, one job done, one line out; until there are no more lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--params", type=json.loads, required=True)
    parser.add_argument("--file", type=Path, default=Path())
    asked = parser.parse_args()
    job = Job(asked.params, asked.file)
    work = load(asked.model_dir, asked.threads)
    for _ in sys.stdin:
        began = time.monotonic_ns()
        answer = work(job)
        told = {"ns": time.monotonic_ns() - began, "sha256": hashlib.sha256(answer).hexdigest()}
        print(json.dumps(told), flush=True)
