"""Starts: how long loading each model took, so that a cold runner can say beforehand what the first job will wait.

Remembered beside the worker's key. What was never started here is guessed by the size of its files.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from shoal.errors import Refused
from shoal.units import MIB, SECOND_MS
from shoal.work.queue import Need
from shoal.worker.models import find, write_whole

#: A guess: what starting a process takes, and how much of a model is loaded in a second.
PROCESS_MS = 2 * SECOND_MS
LOAD_BYTES_PER_S = 100 * MIB


class Starts:
    """What the latest start of each runner took."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._took_ms = _read(path)

    def cold_ms(self, need: Need) -> int:
        """What a start would take."""
        return self._took_ms.get(_name(need)) or _guess_ms(need)

    def learn(self, need: Need, took_ms: int) -> None:
        """A start took so long."""
        self._took_ms[_name(need)] = max(1, took_ms)
        with contextlib.suppress(OSError):  # a full disk is no reason to stop: it is measured again
            write_whole(self._path, msgspec.json.encode(self._took_ms))


def _guess_ms(need: Need) -> int:
    try:
        size_bytes = find(*need).bytes
    except Refused:  # a runner of the operator's own
        size_bytes = 0
    return PROCESS_MS + size_bytes * SECOND_MS // LOAD_BYTES_PER_S


def _name(need: Need) -> str:
    return "/".join(need)


def _read(path: Path) -> dict[str, int]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.DecodeError):
        return {}
