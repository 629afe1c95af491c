"""A real network of real processes, started by `shoal up` with the echo alone, and looked at from outside."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shoal.cli.buyer import Buyer
from shoal.cli.client import Client
from shoal.errors import Unreachable

WAIT_S = 60.0
LOOK_S = 0.05
READY = "Ctrl-C stops everything."


def shoal(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "shoal.cli.main", *arguments],
        env=os.environ | {"SHOAL_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


class Up:
    """A running `shoal up`. All its processes, and theirs, carry its home in their environment."""

    def __init__(self, home: Path, *flags: str) -> None:
        self.home = home
        self.lines: list[str] = []
        self._news = threading.Condition()
        note = home / "up.json"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "shoal.cli.main", "up", "--pipelines", "echo", "--any-ports"),
                *("--json", str(note), *flags),
            ],
            env=os.environ | {"SHOAL_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.said(READY)
        self.note = json.loads(note.read_text())
        self.buyer = Buyer(Client(self.note["gateway"]))

    def said(self, text: str) -> str:
        """Wait until it has printed a line with this text."""

        def found() -> str | None:
            return next((line for line in self.lines if text in line), None)

        with self._news:
            self._news.wait_for(lambda: found() or self.process.poll() is not None, WAIT_S)
            line = found()
        assert line is not None, f"{text!r} was not said, but:\n" + "".join(self.lines)
        return line

    def pid(self, name: str) -> int:
        """The process of a node."""
        return int((self.home / "networks" / "local" / name / "lock").read_text())

    def kill(self, name: str) -> None:
        """End a node without a word, and wait until it is gone."""
        pid = self.pid(name)
        watch = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        assert select.select([watch], [], [], WAIT_S)[0]
        os.close(watch)

    def status(self, name: str) -> dict[str, Any]:
        """What an orchestrator says of itself."""
        url = next(node["url"] for node in self.note["nodes"] if node["name"] == name)
        return dict(Client(url).get("/status").json())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop; its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        for pid in [self.process.pid, *living(self.home)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


@contextmanager
def up(home: Path, *flags: str) -> Iterator[Up]:
    """A network that is ready, and gone afterwards."""
    network = Up(home, *flags)
    try:
        yield network
        if network.process.poll() is None:
            assert network.stop() == 0
    finally:
        network.end()


def living(home: Path) -> list[int]:
    """Every process but ours with this home in its environment."""
    mark, found = f"SHOAL_HOME={home}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def until(holds: Callable[[], object], what: str) -> None:
    """Look again and again at what other processes do, until it is as it should be."""
    never, deadline = threading.Event(), time.monotonic() + WAIT_S
    while True:
        with suppress(Unreachable):
            if holds():
                return
        assert time.monotonic() < deadline, f"not within {WAIT_S:.0f} s: {what}"
        never.wait(LOOK_S)
