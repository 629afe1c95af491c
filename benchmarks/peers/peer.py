"""What the laboratory has to know of a peer: how to start it and how to ask it.

A peer file holds one function that is given a `Room` and returns a `Peer`, or
raises `Skipped` with the reason; nothing is left out without a word.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Program

REPOSITORY = Path(__file__).resolve().parents[2]
PEERS_PYTHON = REPOSITORY / ".venvs" / "peers" / "bin" / "python"
PROGRAMS = Path(__file__).resolve().parent / "programs"
ECHO_BODY = '{"text": "the quick brown fox jumps over the lazy dog", "serial": "{serial}"}'


class Skipped(Exception):
    """A peer cannot be measured on this machine."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Programs to start in this order, and the request that each client repeats."""

    programs: tuple[Program, ...]
    address: str
    path: str
    body: str = ECHO_BODY
    headers: tuple[str, ...] = ()
    #: True: the answer is the request's very bytes. False: it only has to hold the serial number.
    echoed: bool = True


@dataclass(frozen=True, slots=True)
class Room:
    """An empty folder for one start of a peer."""

    folder: Path

    def port(self) -> int:
        """A port of loopback that was free a moment ago."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    def socket(self, name: str) -> Path:
        """A path for a unix socket; the kernel takes no more than 107 bytes."""
        path = self.folder / name
        if len(str(path).encode()) > 107:
            raise Skipped(f"the path of its unix socket is too long: {path}")
        return path


Start = Callable[[Room], Peer]


def peers_python(package: str) -> str:
    """The interpreter of the peers' environment, if it is there and holds the package."""
    if not PEERS_PYTHON.exists():
        raise Skipped("no .venvs/peers here: run `make .venvs/peers`")
    if not any((PEERS_PYTHON.parents[1] / "lib").glob(f"python3*/site-packages/{package}")):
        raise Skipped(f"{package} is not installed in .venvs/peers: run `make .venvs/peers`")
    return str(PEERS_PYTHON)
