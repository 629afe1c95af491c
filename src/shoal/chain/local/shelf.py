"""Where a local chain is kept: one SQLite file, in which every change is whole or not there.

A process that is killed loses nothing that it has answered for. A power cut may take the last blocks, never half of
one: a chain for trying things out does not wait for the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from weakref import finalize

import msgspec
from msgspec import Struct

from shoal.chain.local.blocks import Block, Receipt
from shoal.errors import Failed, Refused

#: What is written here; a file of another version is refused.
VERSION = 1
#: Parts of the state that are kept at hand.
NODES_AT_HAND = 50_000

_SCHEMA = """
    CREATE TABLE node (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE block (number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, body BLOB NOT NULL);
    CREATE TABLE entry (
        number INTEGER NOT NULL, position INTEGER NOT NULL,
        hash BLOB NOT NULL UNIQUE, raw BLOB NOT NULL, receipt BLOB NOT NULL,
        PRIMARY KEY (number, position)
    ) WITHOUT ROWID;
    CREATE TABLE waiting (arrival INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, raw BLOB NOT NULL);
    CREATE TABLE note (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

_encode = msgspec.json.Encoder().encode
_read_block = msgspec.json.Decoder(Block).decode
_read_receipt = msgspec.json.Decoder(Receipt).decode


class Entry(Struct, frozen=True):
    """A transaction in its block."""

    number: int
    raw: bytes
    receipt: Receipt


class Nodes(MutableMapping[bytes, bytes]):
    """The parts of all states there ever were, by their hashes: none is changed, none is taken away."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._at_hand: dict[bytes, bytes] = {}

    def __getitem__(self, key: bytes) -> bytes:
        value = self._at_hand.get(key)
        if value is None:
            row = self._database.execute("SELECT value FROM node WHERE key = ?", (key,)).fetchone()
            if row is None:
                raise KeyError(key)
            value = self._hold(key, row[0])
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        key, value = bytes(key), bytes(value)
        self._database.execute("INSERT OR IGNORE INTO node VALUES (?, ?)", (key, value))
        self._hold(key, value)

    def __delitem__(self, key: bytes) -> None:
        """Nothing: an older state may stand on it."""

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, bytes):
            return False
        try:
            self[key]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[bytes]:
        return (key for (key,) in self._database.execute("SELECT key FROM node"))

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM node").fetchone()[0])

    def forget(self) -> None:
        """What is at hand may not be on disk."""
        self._at_hand.clear()

    def _hold(self, key: bytes, value: bytes) -> bytes:
        if len(self._at_hand) >= NODES_AT_HAND:
            self._at_hand.clear()
        self._at_hand[key] = value
        return value


class Shelf:
    """Blocks, states, waiting transactions and a few numbers."""

    def __init__(self, path: Path | None = None) -> None:
        """Without a path it lasts as long as this object. Raises `Refused` for a file of another version, `Failed` if
        the disk takes or gives nothing."""
        self._name = path or ":memory:"
        with self._disk_named():
            self._database = sqlite3.connect(self._name, isolation_level=None)
            self._prepare()
        self.nodes = Nodes(self._database)
        #: Let go of the file; at the latest when nobody has this shelf any more.
        self.close = finalize(self, self._database.close)

    @contextmanager
    def change(self) -> Iterator[None]:
        """All that is written inside is kept at its end; nothing of it is if an error comes out of there."""
        with self._disk_named():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # a full disk has ended it
                    self._database.execute("ROLLBACK")
                self.nodes.forget()
                raise

    def head(self) -> Block | None:
        """The last block."""
        return self._block("SELECT body FROM block ORDER BY number DESC LIMIT 1", ())

    def block(self, number: int) -> Block | None:
        """A block by its number."""
        return self._block("SELECT body FROM block WHERE number = ?", (number,))

    def block_of(self, digest: bytes) -> Block | None:
        """A block by its hash."""
        return self._block("SELECT body FROM block WHERE hash = ?", (digest,))

    def hashes_before(self, number: int, count: int) -> Iterator[bytes]:
        """The hashes of the blocks before, the newest first."""
        rows = self._database.execute(
            "SELECT hash FROM block WHERE number < ? ORDER BY number DESC LIMIT ?", (number, count)
        )
        return (digest for (digest,) in rows)

    def entry(self, digest: bytes) -> Entry | None:
        """A transaction that is in a block."""
        row = self._database.execute(
            "SELECT number, raw, receipt FROM entry WHERE hash = ?", (digest,)
        ).fetchone()
        return None if row is None else Entry(row[0], row[1], _read_receipt(row[2]))

    def entries(self, first: int, last: int) -> Iterator[Entry]:
        """All transactions of these blocks, in their order."""
        rows = self._database.execute(
            "SELECT number, raw, receipt FROM entry WHERE number BETWEEN ? AND ? ORDER BY number, position",
            (first, last),
        )
        return (Entry(number, raw, _read_receipt(receipt)) for number, raw, receipt in rows)

    def waiting(self) -> list[bytes]:
        """The transactions that are in no block yet, in the order in which they came."""
        return [raw for (raw,) in self._database.execute("SELECT raw FROM waiting ORDER BY arrival")]

    def note(self, name: str, default: int) -> int:
        """A number that was noted."""
        row = self._database.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return default if row is None else int(row[0])

    # Only inside of `change`:

    def put_block(self, block: Block, raws: Sequence[bytes], receipts: Sequence[Receipt]) -> None:
        """A new last block."""
        execute = self._database.execute
        execute("INSERT INTO block VALUES (?, ?, ?)", (block.number, block.hash, _encode(block)))
        self._database.executemany(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?)",
            [
                (block.number, receipt.position, receipt.transaction, raw, _encode(receipt))
                for raw, receipt in zip(raws, receipts, strict=True)
            ],
        )

    def cut(self, number: int) -> None:
        """Forget every block after this one."""
        self._database.execute("DELETE FROM block WHERE number > ?", (number,))
        self._database.execute("DELETE FROM entry WHERE number > ?", (number,))

    def put_waiting(self, digest: bytes, raw: bytes) -> None:
        """A transaction for a later block."""
        self._database.execute("INSERT INTO waiting (hash, raw) VALUES (?, ?)", (digest, raw))

    def drop_waiting(self, digests: Sequence[bytes]) -> None:
        """These wait no more."""
        self._database.executemany("DELETE FROM waiting WHERE hash = ?", [(digest,) for digest in digests])

    def put_note(self, name: str, value: int) -> None:
        """Note a number."""
        self._database.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))

    def _prepare(self) -> None:
        execute = self._database.execute
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        version = execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise Refused(
                f"{self._name} was written by another version ({version}); move it away for a new chain"
            )
        if not version:
            self._database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")

    @contextmanager
    def _disk_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Failed(
                f"{self._name} cannot be used ({error}): see that its disk is well and has room"
            ) from error

    def _block(self, query: str, values: tuple[object, ...]) -> Block | None:
        row = self._database.execute(query, values).fetchone()
        return None if row is None else _read_block(row[0])
