"""A runner with its model, in a process of its own behind a unix socket, as a worker starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from shoal.worker.models import Model, ensure, find, models_home
from shoal.worker.sources import sources


def quiet(model: Model, done: int, total: int) -> None:
    """Progress that nobody watches."""


def command(pipeline: str, path: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        f"shoal.worker.pipelines.{pipeline.replace('-', '_')}",
        "--socket",
        str(path),
        *more,
    ]


class Runner:
    """A runner's process and a client for its socket."""

    def __init__(self, pipeline: str, path: Path, *more: str) -> None:
        self.path = path
        self.process = subprocess.Popen(command(pipeline, path, *more), stderr=subprocess.PIPE, text=True)
        self.client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://runner", timeout=60
        )

    def await_word(self, word: str) -> str:
        """Read the runner's log until a line holds the word."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if word in line:
                return line
        pytest.fail(f"the runner ended without saying {word!r}")

    def llm(self, **request: Any) -> dict[str, Any]:
        answer = self.client.post("/llm", json=request)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def stop(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


def start(pipeline: str, folder: Path, model_id: str = "", **flags: int) -> Runner:
    more = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    if pipeline != "echo":
        model = find(pipeline, model_id)
        home = ensure(model, models_home(os.environ), quiet, sources(os.environ))
        more += ["--model-dir", str(home), "--model-id", model.id]
    runner = Runner(pipeline, folder / f"{pipeline}.sock", *more)
    runner.await_word("is ready")
    return runner
