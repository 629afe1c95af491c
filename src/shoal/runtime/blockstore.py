"""Bodies under their digest: small ones in packs beside the journal, large ones as files.

A body is here until the latest of its expiries, and may stay a little longer.
What is read is checked against its digest: damage is a miss and a loud line in
the log, never wrong data. The caller owns every transaction but that of `settle`.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from shoal.ids import Digest, digest
from shoal.runtime import packs
from shoal.runtime.packs import Packs
from shoal.units import KIB, MIB, Instant

log = logging.getLogger(__name__)

SCHEMA = f"""
CREATE TABLE files (
    digest  BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX files_by_expiry ON files (expires);
{packs.SCHEMA}
"""
KEEP = """
INSERT INTO files (digest, expires) VALUES (?, ?)
ON CONFLICT (digest) DO UPDATE SET expires = max(expires, excluded.expires)
"""
FIND = "SELECT 1 FROM files WHERE digest = ?"
IN_FOLDER = "SELECT digest FROM files WHERE digest BETWEEN ? AND ?"
EXPIRED = "SELECT digest FROM files WHERE expires <= ? ORDER BY expires LIMIT ?"
FORGET = "DELETE FROM files WHERE digest = ?"

FOLDERS = 256
DIGEST_BYTES = 32


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a block store."""

    #: Up to this size a body goes into its commit's pack, beyond it a file.
    packed_bytes_max: int = 64 * KIB
    #: The largest body there is.
    body_bytes_max: int = 256 * MIB
    #: How much of what was kept or read last stays in memory.
    recent_bytes_max: int = 64 * MIB
    #: How often expired bodies are looked for, and how many packs and files go at a time.
    sweep_interval_ms: int = 1_000
    sweep_max: int = 64


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
    """Where bodies lie. `read` belongs to anybody, the rest to one writer."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.body_bytes_max = config.body_bytes_max
        self._folder = folder
        self._config = config
        self._packs = Packs()
        self._unswept: Iterator[str] = iter([f"{number:02x}" for number in range(FOLDERS)])

    def open(self, db: sqlite3.Connection) -> None:
        """Take up what is there. Before anything else."""
        self._packs.open(db)

    def store(self, db: sqlite3.Connection, bodies: Mapping[Digest, tuple[bytes, Instant]]) -> None:
        """Store bodies in the running transaction; large ones are on disk when this returns."""
        small: dict[Digest, tuple[bytes, Instant]] = {}
        large: dict[Digest, tuple[bytes, Instant]] = {}
        for name, kept in bodies.items():
            (large if len(kept[0]) > self._config.packed_bytes_max else small)[name] = kept
        if small:
            self._packs.store(db, small)
        if large:
            self._write_files({name: body for name, (body, _) in large.items()})
            db.executemany(KEEP, [(bytes.fromhex(name), expires) for name, (_, expires) in large.items()])

    def read(self, db: sqlite3.Connection, name: Digest) -> bytes | None:
        """The body of this name, or None if it is not here, or not what it was."""
        key = bytes.fromhex(name)
        body = self._packs.find(db, key)
        if body is None:
            if db.execute(FIND, (key,)).fetchone() is None:
                return None
            body = self._read_file(name)
        if body is None or digest(body) != name:
            log.error("body %s is damaged on disk and counts as lost: check the disk", name)
            return None
        return body

    def settle(self, db: sqlite3.Connection) -> bool:
        """Note on disk where some of the latest small bodies lie; True if others are left."""
        return self._packs.settle(db)

    def expire(self, db: sqlite3.Connection, now: Instant) -> bool:
        """Forget a few bodies that nobody needs any more; True if there may be others."""
        most = self._config.sweep_max
        expired = db.execute(EXPIRED, (now, most)).fetchall()
        for (key,) in expired:  # Before its row: a file without a row would never be found by its expiry.
            self._path(Digest(key.hex())).unlink(missing_ok=True)
        db.executemany(FORGET, expired)
        return self._packs.expire(db, now, most) or len(expired) == most

    def sweep(self, db: sqlite3.Connection) -> None:
        """Remove what a crash left in one folder, another at each call: files that no row names."""
        prefix = next(self._unswept, None)
        if prefix is None or not (folder := self._folder / prefix).is_dir():
            return
        first = bytes.fromhex(prefix)
        last = first + b"\xff" * (DIGEST_BYTES - len(first))
        named = {row[0].hex() for row in db.execute(IN_FOLDER, (first, last))}
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
