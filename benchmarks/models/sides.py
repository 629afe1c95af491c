"""The two ways to an answer: a whole network of our own, or a bare script. Each is started, asked and ended alike.

A `Side` says how long one job took and what came out, as a hash; which of its processes holds the model; and who
belongs to it. Leaving it ends every process that it started.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from benchmarks.models.jobs import PipelineJob, form
from benchmarks.peers.peer import REPOSITORY, Room, Skipped
from benchmarks.peers.shoal import network
from benchmarks.processes import Crew

READY_S = 120.0
ANSWER_S = 120.0
STOP_S = 10.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Work:
    """A job, the model that does it, and how many threads it may use."""

    job: PipelineJob
    model: str
    folder: Path
    threads: int


@dataclass(frozen=True, slots=True)
class Told:
    """One job: what it took, and the hash of what came out."""

    ms: float
    sha256: str


class Side(Protocol):
    """A way to an answer."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def ask(self) -> Told:
        """Do the job once. Raises `Skipped` when it cannot be done."""

    def pids(self) -> list[int]:
        """Every process of this side."""

    def model_pid(self) -> int:
        """The process that holds the model."""


class Street:
    """Gateway, orchestrator, worker and runner: a network that has one pipeline; asked at the gateway, over HTTP."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.content_type, self.body = form(work.job)

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory(prefix="models-", ignore_cleanup_errors=True)
        room = Room(Path(self.folder.name))
        self.crew = Crew(room.folder)
        pipeline, model = self.work.job.pipeline, self.work.model
        programs, address = network(room, pipeline, model, slots=1, threads=self.work.threads)
        try:
            for program in programs:
                self.crew.start(program)
            host, _, port = address.rpartition(":")
            self.connection = http.client.HTTPConnection(host, int(port), timeout=ANSWER_S)
            self.await_offer(time.monotonic() + READY_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.crew.stop()
        self.folder.cleanup()

    def await_offer(self, deadline: float) -> None:
        """Until the gateway knows somebody with this pipeline; only then is it asked."""
        while self.work.job.pipeline not in self.offered():
            if fallen := self.crew.fallen():
                raise Skipped(fallen)
            if time.monotonic() > deadline:
                raise Skipped(f"nobody offers it after {READY_S:.0f} s:\n{self.crew.log_tail()}")
            time.sleep(POLL_S)

    def offered(self) -> set[str]:
        try:
            self.connection.request("GET", "/v1/models")
            answer = self.connection.getresponse().read()
            return {model["pipeline"] for model in json.loads(answer)["data"]}
        except OSError:
            self.connection.close()
            return set()

    def ask(self) -> Told:
        headers = {"Content-Type": self.content_type, "Accept": self.work.job.accept}
        began = time.monotonic_ns()
        self.connection.request("POST", f"/{self.work.job.pipeline}", self.body, headers)
        response = self.connection.getresponse()
        answer = response.read()
        ms = (time.monotonic_ns() - began) / 1e6
        if response.status != 200:
            raise Skipped(f"the network answered {response.status}: {answer[:300].decode(errors='replace')}")
        return Told(ms, hashlib.sha256(self.work.job.read(answer)).hexdigest())

    def pids(self) -> list[int]:
        return self.crew.pids()

    def model_pid(self) -> int:
        [runner] = [pid for pid in self.crew.pids() if b"--model-dir" in command_of(pid)]
        return runner


class Bare:
    """A script that loads the model and answers its job once for each line that it reads."""

    def __init__(self, work: Work) -> None:
        module = f"benchmarks.models.bare.{work.job.pipeline.replace('-', '_')}"
        self.command = [sys.executable, "-m", module, "--model-dir", str(work.folder)]
        self.command += ["--threads", str(work.threads), "--params", json.dumps(dict(work.job.params))]
        if work.job.file:
            self.command += ["--file", str(work.job.path)]

    def __enter__(self) -> Self:
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self.command,
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        try:
            self.process.stdin.close()  # no more lines: it ends by itself
            self.process.wait(STOP_S)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.log.close()

    def ask(self) -> Told:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Skipped(self.why()) from None
        if not select.select([self.process.stdout], [], [], ANSWER_S)[0]:
            raise Skipped(f"the bare script gave no answer within {ANSWER_S:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise Skipped(self.why())
        told = json.loads(line)
        return Told(told["ns"] / 1e6, told["sha256"])

    def why(self) -> str:
        """The last that it said before it fell."""
        self.process.wait(STOP_S)
        self.log.seek(0)
        said = self.log.read().decode(errors="replace").strip().splitlines()
        return f"the bare script ended with {self.process.returncode}: {said[-1] if said else ''}"

    def pids(self) -> list[int]:
        return [self.process.pid]

    def model_pid(self) -> int:
        return self.process.pid


#: The sides in the order of the first round.
SIDES: dict[str, Callable[[Work], Side]] = {"street": Street, "bare": Bare}


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def threads_here() -> int:
    """As many as there are processors."""
    return os.cpu_count() or 1
