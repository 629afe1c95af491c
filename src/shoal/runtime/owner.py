"""Whose a journal is: the one process that may write it, and how far it says that it has come."""

from __future__ import annotations

import fcntl
import mmap
import os
import zlib
from pathlib import Path

from shoal.errors import Refused


class Owner:
    """The file beside a journal that says who writes it, and how far it has come.

    The lock keeps a second process out. The mark follows each commit and is
    never synced: after a crash it may lag behind the journal, but a journal
    that lags behind its mark has lost facts that somebody acted on.
    """

    _LINE = "pid {pid:>10} wrote facts up to {number:>20}"
    _LINE_BYTES = len(_LINE.format(pid=0, number=0)) + len(" 01234567\n")

    def __init__(self, path: Path) -> None:
        """Raises `Refused` if another process writes the journal at `path`."""
        self.path = path.with_name(path.name + ".owner")
        self._pid = os.getpid()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._file, self._LINE_BYTES, 0)[4:14].decode(errors="replace").strip()
            os.close(self._file)
            raise Refused(
                f"journal {path} is already open by pid {pid or '?'}: stop that process first"
            ) from None
        self.marked = self._read()
        # Written once as a file, so that its block is there on a full disk too; from then on it is memory.
        os.pwrite(self._file, self._line(self.marked), 0)
        self._memory = mmap.mmap(self._file, self._LINE_BYTES)

    def mark(self, number: int) -> None:
        """Facts up to this one are on disk."""
        self._memory[:] = self._line(number)

    def close(self) -> None:
        """Let another process write the journal."""
        self._memory.close()
        os.close(self._file)

    def _line(self, number: int) -> bytes:
        line = self._LINE.format(pid=self._pid, number=number).encode()
        return b"%s %08x\n" % (line, zlib.crc32(line))

    def _read(self) -> int:
        line, _, check = os.pread(self._file, self._LINE_BYTES, 0).rpartition(b" ")
        return int(line[-20:]) if check == b"%08x\n" % zlib.crc32(line) else 0
