"""Bodies under their digest: small ones as rows beside the journal, large ones as files.

A body is stored once however often it is kept, until the latest of its
expiries. What is read is checked against its digest: damage is a miss and a
loud line in the log, never wrong data. The caller owns every transaction.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from msgspec import Struct

from shoal.ids import Digest, digest
from shoal.units import KIB, MIB, Instant

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE bodies (
    digest  BLOB PRIMARY KEY,
    expires INTEGER NOT NULL,
    body    BLOB                -- NULL: it lies in a file
) STRICT;
CREATE INDEX bodies_by_expiry ON bodies (expires);
"""
KEEP = """
INSERT INTO bodies (digest, expires, body) VALUES {rows}
ON CONFLICT (digest) DO UPDATE SET expires = max(expires, excluded.expires), body = excluded.body
"""
READ = "SELECT body FROM bodies WHERE digest = ?"
IN_FILES = "SELECT digest FROM bodies WHERE digest BETWEEN ? AND ? AND body IS NULL"
EXPIRED = "SELECT digest, body IS NULL FROM bodies WHERE expires <= ? ORDER BY expires LIMIT ?"
FORGET = "DELETE FROM bodies WHERE digest = ?"

#: One statement stores this many bodies: every statement costs a change of threads.
ROWS_PER_STATEMENT = 64
FOLDERS = 256
DIGEST_BYTES = 32


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a block store."""

    #: Up to this size a body is a row, beyond it a file.
    row_bytes_max: int = 64 * KIB
    #: The largest body there is.
    body_bytes_max: int = 256 * MIB
    #: How much of what was kept or read last stays in memory.
    recent_bytes_max: int = 64 * MIB
    #: How often expired bodies are looked for, and how many go at a time.
    sweep_interval_ms: int = 1_000
    sweep_bodies_max: int = 64


class Recent:
    """The bodies used last, up to so many bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._bodies: OrderedDict[Digest, bytes] = OrderedDict()

    def get(self, name: Digest) -> bytes | None:
        """The body, now the most recent one."""
        body = self._bodies.get(name)
        if body is not None:
            self._bodies.move_to_end(name)
        return body

    def put(self, name: Digest, body: bytes) -> None:
        """Remember a body; those used longest ago give way."""
        if name in self._bodies or len(body) > self._bytes_max:
            return
        self._bodies[name] = body
        self._bytes += len(body)
        while self._bytes > self._bytes_max:
            _, oldest = self._bodies.popitem(last=False)
            self._bytes -= len(oldest)


class Blockstore:
    """Where bodies lie. `store`, `expire` and `sweep` belong to one writer, `read` to anybody."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.body_bytes_max = config.body_bytes_max
        self._folder = folder
        self._config = config
        self._unswept: Iterator[str] = iter([f"{number:02x}" for number in range(FOLDERS)])

    def store(self, db: sqlite3.Connection, bodies: Mapping[Digest, tuple[bytes, Instant]]) -> None:
        """Store bodies in the running transaction; large ones are on disk when this returns."""
        large = {name: body for name, (body, _) in bodies.items() if len(body) > self._config.row_bytes_max}
        self._write_files(large)
        rows = (
            (bytes.fromhex(name), expires, None if name in large else body)
            for name, (body, expires) in bodies.items()
        )
        while some := list(islice(rows, ROWS_PER_STATEMENT)):
            statement = KEEP.format(rows=", ".join(["(?, ?, ?)"] * len(some)))
            db.execute(statement, [value for row in some for value in row])

    def read(self, db: sqlite3.Connection, name: Digest) -> bytes | None:
        """The body of this name, or None if it is not here, or not what it was."""
        row = db.execute(READ, (bytes.fromhex(name),)).fetchone()
        if row is None:
            return None
        body: bytes | None = row[0] if row[0] is not None else self._read_file(name)
        if body is None or digest(body) != name:
            log.error("body %s is damaged on disk and counts as lost: check the disk", name)
            return None
        return body

    def expire(self, db: sqlite3.Connection, now: Instant) -> bool:
        """Forget a few bodies that nobody needs any more; True if there may be others."""
        expired = db.execute(EXPIRED, (now, self._config.sweep_bodies_max)).fetchall()
        for key, in_file in expired:
            if in_file:  # Before its row: a file without a row would never be found by its expiry.
                self._path(Digest(key.hex())).unlink(missing_ok=True)
        db.executemany(FORGET, [(key,) for key, _ in expired])
        return len(expired) == self._config.sweep_bodies_max

    def sweep(self, db: sqlite3.Connection) -> None:
        """Remove what a crash left in one folder, another at each call: files that no row names."""
        prefix = next(self._unswept, None)
        if prefix is None or not (folder := self._folder / prefix).is_dir():
            return
        first = bytes.fromhex(prefix)
        last = first + b"\xff" * (DIGEST_BYTES - len(first))
        named = {row[0].hex() for row in db.execute(IN_FILES, (first, last))}
        for path in folder.iterdir():
            if path.name not in named:
                path.unlink()

    def _write_files(self, bodies: Mapping[Digest, bytes]) -> None:
        missing = {name: body for name, body in bodies.items() if self._read_file(name) != body}
        for name, body in missing.items():
            self._write_file(self._path(name), body)
        for folder in {self._path(name).parent for name in missing}:
            sync_folder(folder)

    def _write_file(self, path: Path, body: bytes) -> None:
        """Write the whole file or none; its folder is not synced yet."""
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True)
            sync_folder(self._folder)
            sync_folder(self._folder.parent)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def _read_file(self, name: Digest) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except OSError:
            return None

    def _path(self, name: Digest) -> Path:
        return self._folder / name[:2] / name


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
