"""A folder that one process at a time may use; the claim ends with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.errors import Refused

LOCK = "lock"


@contextmanager
def claim(folder: Path, what: str) -> Iterator[None]:
    """Hold the folder. Raises `Refused` if it cannot be had, or with the process that holds it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise Refused(f"{folder} cannot be used: {error.strerror}; name another folder") from error
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{what} is already running in {folder} (process {_read(lock.fileno())})") from None
        os.truncate(lock.fileno(), 0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def holder(folder: Path) -> int | None:
    """The process that holds the folder now; None if nobody does."""
    try:
        with (folder / LOCK).open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(lock.fileno())
    except FileNotFoundError:
        pass
    return None


def _read(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0).strip()
    return int(text) if text.isdigit() else None
