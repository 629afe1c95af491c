"""The journal: what happened, in order, on disk before anybody acts on it.

Facts that queue while the disk is busy are the next commit: one row, one sync,
no waiting. Rows are chained by hash, so that damage is found at replay and
named. A commit that fails is never tried again: the journal ends there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from shoal.errors import Broken, Failed, ShoalError, TooLarge
from shoal.ids import Digest
from shoal.runtime import blockstore, history
from shoal.runtime.blockstore import Blockstore, Recent, sync_folder
from shoal.runtime.clock import stopwatch_s
from shoal.runtime.haste import Company, Haste
from shoal.runtime.history import damage_named, hash_commit, hash_snapshot, lay_down
from shoal.runtime.owner import Owner
from shoal.units import KIB, MIB, SECOND_MS, Instant, later

log = logging.getLogger(__name__)

ADD_COMMIT = "INSERT INTO commits (first, count, facts, hash) VALUES (?, ?, ?, ?)"
ADD_SNAPSHOT = "INSERT INTO snapshots (number, chain, state, hash) VALUES (?, ?, ?, ?)"
ADD_FORMAT = "INSERT INTO meta (name, value) VALUES ('format', ?)"
FORGET_SNAPSHOTS = "DELETE FROM snapshots"
FORGET_COMMITS = "DELETE FROM commits WHERE first <= ?"
CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"

PAGE_BYTES = 4 * KIB
#: So many pages of the log go to a small commit: the ends of two tables, and what it adds to them.
COMMIT_PAGES = 3
#: While the log is due to go over, commits have the disk to themselves for so long between one step of it and the next.
PAUSE_MS = 5


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a journal."""

    bodies: blockstore.Config = blockstore.Config()
    #: Keep facts that a snapshot covers, so that an audit sees them all.
    keep_history: bool = False
    #: One commit holds at most about this much; what is beyond it waits for the next.
    commit_bytes_max: int = 8 * MIB
    #: The write-ahead log goes over into the database when about this much was written to it.
    checkpoint_bytes: int = 16 * MIB
    #: The size that the write-ahead log has from the beginning.
    log_bytes: int = 20 * MIB
    #: What is left of the write-ahead log on disk after it has gone over.
    wal_bytes_max: int = 64 * MIB
    cache_bytes: int = 16 * MIB
    #: Up to this size the whole database is looked through for damage when it is opened.
    check_bytes_max: int = 64 * MIB
    #: While commits take less than this on the whole, the loop waits for them itself (0: never) ...
    quick_ms: float = 2.0
    #: ... and after they took longer, this many go to the writing thread before that is tried again.
    slow_commits: int = 1_000
    #: How long to wait for a reader that stands in the way.
    busy_timeout_ms: int = 5 * SECOND_MS


DEFAULT = Config()


@dataclass(slots=True)
class Batch:
    """What goes to disk in one commit: facts as they are laid down, bodies, and perhaps a snapshot."""

    count: int = 0
    size_bytes: int = 0
    parts: list[bytes] = field(default_factory=list)
    bodies: dict[Digest, tuple[bytes, Instant]] = field(default_factory=dict)
    state: bytes | None = None

    def add(self, at: Instant, fact: bytes) -> None:
        """One fact more."""
        self.parts += lay_down(at, fact)
        self.count += 1
        self.size_bytes += len(fact)

    def keep(self, name: Digest, body: bytes, expires: Instant) -> None:
        """One body more, or a later expiry of one that is here."""
        known = self.bodies.get(name)
        self.bodies[name] = (body, expires if known is None else max(known[1], expires))
        self.size_bytes += len(body)

    def join(self, other: Batch) -> None:
        """Take in the batch that follows."""
        self.count += other.count
        self.size_bytes += other.size_bytes
        self.parts += other.parts
        self.state = other.state
        for name, (body, expires) in other.bodies.items():
            self.keep(name, body, expires)

    def __bool__(self) -> bool:
        return bool(self.count or self.bodies or self.state is not None)


def _open(path: Path, config: Config) -> sqlite3.Connection:
    """The connection that writes. Makes the journal if there is none."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        sync_folder(path.absolute().parent)
    db = history.connect(
        path, write=True, cache_bytes=config.cache_bytes, busy_timeout_ms=config.busy_timeout_ms
    )
    try:
        with damage_named(path, "at its beginning"):
            _prepare(db, path, config)
        _lay_out(path.with_name(path.name + "-wal"), config.log_bytes)
    except ShoalError:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path, config: Config) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute(f"PRAGMA journal_size_limit = {config.wal_bytes_max}")
    if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
        db.executescript(f"BEGIN IMMEDIATE; {history.SCHEMA} {blockstore.SCHEMA}")
        db.execute(ADD_FORMAT, (history.FORMAT,))
        db.execute("COMMIT")
    history.check_format(db, path)
    if path.stat().st_size <= config.check_bytes_max:
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise Broken(f"journal {path} is damaged ({found}): restore it from a copy")


def _lay_out(log_path: Path, size_bytes: int) -> None:
    """Give the write-ahead log its size beforehand: a sync that need not note how a file grows takes two thirds.

    Zeros are no frames: where they begin the log ends, as it does at the file's end. Where there is no room it grows.
    """
    with log_path.open("ab", buffering=0) as log_file:
        length = log_file.tell()
        zeros = bytes(max(0, size_bytes - length))
        with suppress(OSError):
            if log_file.write(zeros) == len(zeros):
                os.fsync(log_file)
                return
        log_file.truncate(length)


class Writer:
    """The one thread that writes. It takes batches and reports how far it came, or why it ended."""

    def __init__(
        self, db: sqlite3.Connection, aside: sqlite3.Connection, blocks: Blockstore, config: Config
    ) -> None:
        """Commits go through `db`; what goes on beside them, through `aside`."""
        self.number, self.chain = 0, history.GENESIS
        self.queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        #: Held by whoever uses `db`.
        self.hands = threading.Lock()
        self._db = db
        self._aside = aside
        self._blocks = blocks
        self._config = config
        self._unsaved_bytes = 0

    def run(self, now: Callable[[], Instant], written: Callable[[int, int], None]) -> None:
        """Write until None comes; `written` hears the last fact on disk and how many batches that took."""
        sweep_at = now()
        more = True
        while more:
            batch = Batch()
            wait_ms = max(0, sweep_at - now())
            if self._unsaved:
                wait_ms = min(wait_ms, PAUSE_MS)
            taken, more = self._take(batch, wait_ms / SECOND_MS)
            with self.hands:
                if taken:
                    self.commit(batch)
                    written(self.number, taken)
                due = self._unsaved and not self._blocks.settle(self._db)
                if more and now() >= sweep_at:
                    others = self._sweep(now())
                    sweep_at = now() if others else later(now(), self._config.bodies.sweep_interval_ms)
            # What came meanwhile is this thread's to commit, and goes first: unless there is no end of it.
            if due and (self.queue.empty() or self._unsaved_bytes >= 2 * self._config.checkpoint_bytes):
                self._checkpoint()

    def _take(self, batch: Batch, timeout_s: float) -> tuple[int, bool]:
        """Gather what queued while the last commit ran: how many batches, and whether more may come."""
        taken = 0
        try:
            following = self.queue.get(timeout=timeout_s)
        except queue.Empty:
            return taken, True
        while following is not None:
            batch.join(following)
            taken += bool(following)
            full = batch.state is not None or batch.size_bytes >= self._config.commit_bytes_max
            if full or self.queue.empty():
                return taken, True
            following = self.queue.get()
        return taken, False

    def commit(self, batch: Batch) -> None:
        """Bring a batch to disk. Only for whoever has `hands`."""
        if batch.bodies or batch.state is not None:
            self._db.execute("BEGIN IMMEDIATE")
            self._blocks.store(self._db, batch.bodies)
            self._write(batch)
            self._db.execute("COMMIT")
        else:
            self._write(batch)  # One statement is its own transaction: fewer changes of threads.
        was_unsaved = self._unsaved
        self._unsaved_bytes += batch.size_bytes + len(batch.state or b"") + COMMIT_PAGES * PAGE_BYTES
        if self._unsaved and not was_unsaved:
            self.queue.put(Batch())  # Wakes the thread, which sees to it.

    def _write(self, batch: Batch) -> None:
        if batch.count:
            facts = b"".join(batch.parts)
            first = self.number + 1
            self.chain = hash_commit(self.chain, first, batch.count, facts)
            self.number += batch.count
            self._db.execute(ADD_COMMIT, (first, batch.count, facts, self.chain))
        if batch.state is not None:
            sealed = hash_snapshot(self.chain, self.number, batch.state)
            self._db.execute(FORGET_SNAPSHOTS)
            self._db.execute(ADD_SNAPSHOT, (self.number, self.chain, batch.state, sealed))
            if not self._config.keep_history:
                self._db.execute(FORGET_COMMITS, (self.number,))

    def _sweep(self, now: Instant) -> bool:
        self._db.execute("BEGIN IMMEDIATE")
        others = self._blocks.expire(self._db, now)
        self._blocks.sweep(self._db)
        self._db.execute("COMMIT")
        return others

    @property
    def _unsaved(self) -> bool:
        """True if the write-ahead log is due to go over into the database."""
        return self._unsaved_bytes >= self._config.checkpoint_bytes

    def _checkpoint(self) -> None:
        """Bring the log over: nearly all of it while commits go on, then, without any, what these added.

        Only a log of which nothing is left to bring over begins anew.
        """
        self._aside.execute(CHECKPOINT).fetchone()
        with self.hands:
            self._aside.execute(CHECKPOINT).fetchone()
            self._unsaved_bytes = 0


class Journal:
    """The journal of one process, used from its loop's thread; another thread does the writing."""

    def __init__(
        self,
        path: Path,
        *,
        on_durable: Callable[[int], None],
        on_failure: Callable[[BaseException], None],
        now: Callable[[], Instant],
        config: Config = DEFAULT,
    ) -> None:
        self._path = path
        self.on_durable = on_durable
        self.on_failure = on_failure
        self._blocks = Blockstore(path.with_name(path.name + ".blocks"), config.bodies)
        self._recent = Recent(config.bodies.recent_bytes_max)
        self._batch = Batch()
        self._handed: deque[Batch] = deque()
        self._reports: deque[tuple[int, int] | BaseException] = deque()
        self._failure: BaseException | None = None
        self._haste = Haste(config.quick_ms, config.slow_commits)
        self._company = Company()
        self._loop: asyncio.AbstractEventLoop | None = None
        with ExitStack() as opened:
            self._owner = Owner(path)
            opened.callback(self._owner.close)
            self._db = opened.enter_context(closing(_open(path, config)))
            self._reader = opened.enter_context(
                closing(history.connect(path, busy_timeout_ms=config.busy_timeout_ms))
            )
            aside = opened.enter_context(closing(history.connect(path, write=True)))
            self._writer = Writer(self._db, aside, self._blocks, config)
            self._writer.number, self._writer.chain = self._end()
            with damage_named(path, "in its bodies"):
                self._blocks.open(self._db)
            self.durable = self.appended = self._writer.number
            self._opened = opened.pop_all()
        self._thread = threading.Thread(
            target=self._write, args=(now,), name=f"journal {path.name}", daemon=True
        )
        self._thread.start()

    def append(self, at: Instant, fact: bytes) -> int:
        """Queue one fact for the next commit; its number."""
        self._schedule()
        self._batch.add(at, fact)
        self.appended += 1
        return self.appended

    def keep(self, name: Digest, body: bytes, expires: Instant) -> None:
        """Store a body under its digest in the same commit as the facts queued with it."""
        if len(body) > self._blocks.body_bytes_max:
            raise TooLarge(f"a body of {len(body)} bytes: at most {self._blocks.body_bytes_max} are stored")
        self._schedule()
        self._batch.keep(name, body, expires)
        self._recent.put(name, body)

    def snapshot(self, state: bytes) -> None:
        """Queue a state that covers every fact appended so far; their rows give way to it."""
        self._schedule()
        self._batch.state = state
        self._give_queued()

    def replay(self) -> tuple[bytes | None, Iterator[tuple[Instant, bytes]]]:
        """The latest snapshot and the facts after it, as they are on disk. Raises `Broken` at damage."""
        past = history.read_history(self._path)
        return past.snapshot and past.snapshot[1], past.after_snapshot()

    def body(self, name: Digest) -> bytes | None:
        """The body of this name, on disk or on its way there; None if there is none, or it is damaged."""
        body = self._recent.get(name)
        if body is not None:
            return body
        for batch in (self._batch, *self._handed):
            if name in batch.bodies:
                return batch.bodies[name][0]
        body = self._blocks.read(self._reader, name)
        if body is not None:
            self._recent.put(name, body)
        return body

    def close(self) -> None:
        """Commit what is queued, then let go of the files."""
        self._give_queued()
        self._writer.queue.put(None)
        self._thread.join()
        self._hear()
        self._opened.close()

    def _end(self) -> tuple[int, bytes]:
        """The number and hash of the last fact on disk."""
        number, chain, _ = history.last_snapshot(self._db, self._path)
        with damage_named(self._path, f"after fact {number}"):
            number, chain = self._db.execute(history.LAST_COMMIT).fetchone() or (number, chain)
        if number < self._owner.marked:
            raise Broken(
                f"journal {self._path} ends at fact {number}, but {self._owner.marked} facts were written: "
                f"restore it from a copy, or remove {self._owner.path} to go on without them"
            )
        return number, chain

    def _schedule(self) -> None:
        """What one turn of the loop queues shares a commit, and in a crowd what the next one does."""
        if self._failure is not None:
            raise Failed(f"journal {self._path} takes nothing more ({self._failure}): restart this process")
        if not self._batch:
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._wait_a_turn if self._company else self._hand_over)

    def _wait_a_turn(self) -> None:
        assert self._loop is not None
        self._loop.call_soon(self._hand_over_all, self._batch, self._batch.count)

    def _hand_over_all(self, batch: Batch, count: int) -> None:
        self._company.learn(came=batch.count > count)
        self._hand_over()

    def _hand_over(self) -> None:
        """Commit what is queued, here or in the thread. While that is at work for a quick disk, wait for its
        report: or else the thread, once it had something to do, would never run out of it."""
        if not self._batch or ((quick := bool(self._haste)) and self._handed):
            return
        if quick and self._writer.hands.acquire(timeout=self._haste.quick_s):
            batch, self._batch = self._batch, Batch()
            self._commit_here(batch)
        else:
            self._give_queued()

    def _give_queued(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, Batch()
            self._handed.append(batch)
            self._writer.queue.put(batch)

    def _commit_here(self, batch: Batch) -> None:
        began_s = stopwatch_s()
        try:
            self._writer.commit(batch)
        except BaseException as failure:  # noqa: BLE001  (as in the thread: nothing is written after it)
            self._fail(failure)
            return
        finally:
            self._writer.hands.release()
        self._haste.learn(stopwatch_s() - began_s)
        self._owner.mark(self._writer.number)
        self._advance(self._writer.number)

    def _write(self, now: Callable[[], Instant]) -> None:
        """The writing thread."""
        try:
            self._writer.run(now, self._written)
        except BaseException as failure:  # noqa: BLE001  (whatever it was, nothing is written after it)
            self._report(failure)

    def _written(self, number: int, batches: int) -> None:
        self._report((number, batches))
        self._owner.mark(number)

    def _report(self, report: tuple[int, int] | BaseException) -> None:
        self._reports.append(report)
        if self._loop is not None:
            with suppress(RuntimeError):  # The loop has ended: `close` will hear it.
                self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        """Pass on what the writing thread reported."""
        while self._reports:
            report = self._reports.popleft()
            if isinstance(report, BaseException):
                self._fail(report)
                continue
            number, batches = report
            for _ in range(batches):
                self._handed.popleft()
            self._advance(number)
        if not self._handed and self._failure is None:
            self._hand_over()

    def _advance(self, number: int) -> None:
        if number > self.durable:
            self.durable = number
            self.on_durable(number)

    def _fail(self, failure: BaseException) -> None:
        log.critical("journal %s could not be written and ends here: %s", self._path, failure)
        self._failure = failure
        self.on_failure(failure)
