"""How a journal lies on disk, and how it is read back: verified, commit by commit.

A commit is one row: its facts, and a hash over them and the hash before. No
lock is needed to read, neither while another process writes the journal nor
after that was killed. Nothing here writes.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from shoal.errors import Broken, Failed, Refused, ShoalError
from shoal.units import KIB, MIB, SECOND_MS, Instant

FORMAT = 2
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE commits (
    first INTEGER PRIMARY KEY,  -- the number of its first fact
    count INTEGER NOT NULL,     -- how many facts it holds
    facts BLOB    NOT NULL,
    hash  BLOB    NOT NULL      -- over the hash before it and all of the above
) STRICT;
CREATE TABLE snapshots (
    number INTEGER PRIMARY KEY, -- the last fact it covers
    chain  BLOB    NOT NULL,    -- the hash of that fact's commit
    state  BLOB    NOT NULL,
    hash   BLOB    NOT NULL     -- over all of the above
) STRICT;
"""
FIND_FORMAT = "SELECT value FROM meta WHERE name = 'format'"
FIRST_FACT = "SELECT min(first) FROM commits"
COMMITS = "SELECT first, count, facts, hash FROM commits WHERE first >= ? ORDER BY first"
LAST_COMMIT = "SELECT first + count - 1, hash FROM commits ORDER BY first DESC LIMIT 1"
LAST_SNAPSHOT = "SELECT number, chain, state, hash FROM snapshots ORDER BY number DESC LIMIT 1"

#: The hash that the first commit follows.
GENESIS = hashlib.sha256(b"shoal journal").digest()
#: What precedes each fact in a commit: its instant, its length.
_FACT = struct.Struct(">qI")
_NUMBERS = struct.Struct(">QQ")


def lay_down(at: Instant, fact: bytes) -> tuple[bytes, bytes]:
    """A fact as it lies in its commit."""
    return _FACT.pack(at, len(fact)), fact


def take_up(facts: bytes) -> Iterator[tuple[Instant, bytes]]:
    """The facts of one commit."""
    offset = 0
    while offset < len(facts):
        at, length = _FACT.unpack_from(facts, offset)
        offset += _FACT.size
        yield Instant(at), facts[offset : offset + length]
        offset += length


def hash_commit(before: bytes, first: int, count: int, facts: bytes) -> bytes:
    """The hash of a commit that follows the hash `before`."""
    return hashlib.sha256(b"".join((b"commit", before, _NUMBERS.pack(first, count), facts))).digest()


def hash_snapshot(chain: bytes, number: int, state: bytes) -> bytes:
    """The hash of a snapshot taken where the chain had come to `chain`."""
    return hashlib.sha256(b"".join((b"snapshot", chain, _NUMBERS.pack(number, len(state)), state))).digest()


class Snapshot(NamedTuple):
    """All that happened up to a fact; the state is None where nothing has."""

    number: int
    chain: bytes
    state: bytes | None


class Commit(NamedTuple):
    """Facts that came to disk together."""

    first: int
    size: int
    facts: bytes
    hash: bytes

    @property
    def last(self) -> int:
        """The number of its last fact."""
        return self.first + self.size - 1


@contextmanager
def damage_named(path: Path, where: str) -> Iterator[None]:
    """Say in our words where SQLite found damage, or why it could not look."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Failed(f"journal {path} cannot be read {where} ({error}): see that its disk is well") from error
    except sqlite3.DatabaseError as error:
        raise Broken(f"journal {path} is damaged {where} ({error}): restore it from a copy") from error


def connect(
    path: Path, *, write: bool = False, cache_bytes: int = 2 * MIB, busy_timeout_ms: int = 5 * SECOND_MS
) -> sqlite3.Connection:
    """A connection to a journal that exists. Nothing is a transaction unless it says so."""
    mode = "rw" if write else "ro"
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=busy_timeout_ms / SECOND_MS,
        check_same_thread=False,
    )
    try:
        with damage_named(path, "at its beginning"):
            db.execute(f"PRAGMA cache_size = -{cache_bytes // KIB}")
    except ShoalError:
        db.close()
        raise
    return db


def check_format(db: sqlite3.Connection, path: Path) -> None:
    """Raise `Refused` unless this is a journal that this version reads."""
    try:
        row = db.execute(FIND_FORMAT).fetchone()
    except sqlite3.OperationalError as error:
        raise Refused(f"{path} is not a journal ({error}): name another file") from error
    if row is None or row[0] != FORMAT:
        found = "an unknown format" if row is None else f"format {row[0]}"
        raise Refused(f"journal {path} has {found}, this version reads format {FORMAT}: use another version")


def last_snapshot(db: sqlite3.Connection, path: Path) -> Snapshot:
    """The latest snapshot, or the one of nothing. Raises `Broken` if it is not what was written."""
    with damage_named(path, "in its snapshot"):
        row = db.execute(LAST_SNAPSHOT).fetchone()
    if row is None:
        return Snapshot(0, GENESIS, None)
    number, chain, state, stored = row
    try:
        intact = hash_snapshot(chain, number, state) == stored
    except (TypeError, struct.error):
        intact = False
    if not intact:
        raise Broken(f"journal {path} is damaged in its snapshot of fact {number}: restore it from a copy")
    return Snapshot(number, chain, state)


def commits_after(db: sqlite3.Connection, path: Path, number: int, chain: bytes) -> Iterator[Commit]:
    """The commits after fact `number`. Raises `Broken` at one that does not follow from the one before it."""
    with damage_named(path, f"after fact {number}"):
        rows = db.execute(COMMITS, (number + 1,))
    while True:
        with damage_named(path, f"after fact {number}"):
            row = rows.fetchone()
        if row is None:
            return
        commit = Commit(*row)
        if not _follows(commit, number, chain):
            raise Broken(f"journal {path} is damaged at fact {number + 1}: restore it from a copy")
        yield commit
        number, chain = commit.last, commit.hash


def _follows(commit: Commit, number: int, chain: bytes) -> bool:
    try:
        expected = hash_commit(chain, number + 1, commit.size, commit.facts)
    except (TypeError, struct.error):  # Damage may change even the type of a column.
        return False
    return commit.first == number + 1 and commit.hash == expected


class History:
    """One moment of a journal: its snapshot, and every fact that it still holds."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise Refused(f"there is no journal {path}: name one that exists")
        self._path = path
        self._db = connect(path)
        try:
            with damage_named(path, "at its beginning"):
                self._db.execute("BEGIN")
                check_format(self._db, path)
            self._snapshot = last_snapshot(self._db, path)
        except ShoalError:
            self.close()
            raise

    @property
    def snapshot(self) -> tuple[int, bytes] | None:
        """The last fact that the snapshot covers, and the state; None if there is no snapshot."""
        number, _, state = self._snapshot
        return None if state is None else (number, state)

    def __iter__(self) -> Iterator[tuple[int, Instant, bytes]]:
        """Number, instant and bytes of each fact, once. Raises `Broken` at damage."""
        for commit in self._commits():
            for place, (at, fact) in enumerate(take_up(commit.facts)):
                yield commit.first + place, at, fact

    def after_snapshot(self) -> Iterator[tuple[Instant, bytes]]:
        """The facts that the snapshot does not cover, once. Raises `Broken` at damage."""
        number, chain, _ = self._snapshot
        with closing(self):
            for commit in commits_after(self._db, self._path, number, chain):
                yield from take_up(commit.facts)

    def _commits(self) -> Iterator[Commit]:
        number, chain, _ = self._snapshot
        with damage_named(self._path, "at its first fact"):
            if self._db.execute(FIRST_FACT).fetchone()[0] == 1:  # What the snapshot covers was kept.
                number, chain = 0, GENESIS
        with closing(self):
            for commit in commits_after(self._db, self._path, number, chain):
                if commit.last == self._snapshot.number and commit.hash != self._snapshot.chain:
                    raise Broken(
                        f"journal {self._path}: its snapshot is of other facts: restore it from a copy"
                    )
                yield commit

    def close(self) -> None:
        """End the moment: as long as it lasts, the journal's write-ahead log cannot shrink."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_history(path: Path) -> History:
    """The facts of a journal, for audits: `for number, at, fact in read_history(path)`."""
    return History(path)
