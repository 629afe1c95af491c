"""The journal keeps every fact it said was on disk, in order, or says which one it cannot vouch for."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from journals import (
    LATER,
    NOW,
    Desk,
    commit_rows,
    facts_of,
    opened,
    replayed,
    snapshot_between,
    until,
    write,
)
from shoal.errors import Failed, Refused, TooLarge
from shoal.ids import digest
from shoal.runtime import blockstore
from shoal.runtime.haste import Company, Haste
from shoal.runtime.history import read_history
from shoal.runtime.journal import Config, Journal, Writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


# What is on disk when.


async def _on_disk_when_told(path: Path) -> None:
    seen = []

    def on_durable(number: int) -> None:
        seen.append((number, len(list(read_history(path)))))
        if number == 3:
            done.set_result(None)

    done = asyncio.get_running_loop().create_future()
    journal = Journal(path, on_durable=on_durable, on_failure=done.set_exception, now=lambda: NOW)
    with closing(journal):
        assert [journal.append(at, fact) for at, fact in facts_of(3)] == [1, 2, 3]
        assert journal.durable == 0
        await done
        assert journal.durable == 3
    assert all(number <= on_disk for number, on_disk in seen)


def test_a_fact_is_on_disk_when_it_is_said_to_be(path: Path) -> None:
    asyncio.run(_on_disk_when_told(path))


async def _one_turn(path: Path) -> None:
    with opened(path) as desk:
        for at, fact in facts_of(64):
            desk.journal.append(at, fact)
        await desk.settle()
        assert desk.durable == [64]


def test_what_one_turn_of_the_loop_queues_is_one_commit(path: Path) -> None:
    asyncio.run(_one_turn(path))
    assert commit_rows(path) == [(1, 64)]


async def _queue_behind_a_commit(path: Path) -> None:
    with (
        opened(path, Config(quick_ms=0)) as desk,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        for at, fact in facts_of(2):  # The first look for expired bodies comes between the two.
            desk.journal.append(at, fact)
            await desk.settle()
        other.execute("BEGIN IMMEDIATE")  # Now the disk is busy.
        for at, fact in facts_of(10, 3):
            desk.journal.append(at, fact)
            await asyncio.sleep(0)
            if at == NOW + 3:
                await until(desk.journal._writer.queue.empty)  # The writer has taken the first.
        other.execute("COMMIT")
        await desk.settle()


def test_what_queues_while_the_disk_is_busy_is_the_next_commit(path: Path) -> None:
    asyncio.run(_queue_behind_a_commit(path))
    assert commit_rows(path) == [(1, 1), (2, 1), (3, 1), (4, 9)]


def test_one_stall_does_not_make_a_slow_disk() -> None:
    haste = Haste(quick_ms=1, slow_commits=3)
    for _ in range(100):
        haste.learn(0.0002)
    haste.learn(0.5)
    assert haste
    for _ in range(20):
        haste.learn(0.005)
    assert not haste


def test_a_slow_disk_is_left_to_the_thread_for_a_while() -> None:
    haste = Haste(quick_ms=1, slow_commits=3)
    assert haste
    haste.learn(0.0002)
    assert haste, "one quick commit changes nothing"
    for _ in range(6):
        haste.learn(0.1)
    assert [bool(haste) for _ in range(4)] == [False, False, False, True]


def test_who_is_alone_seldom_waits_for_company() -> None:
    company = Company()
    waited = 0
    for _ in range(160):
        if company:
            waited += 1
            company.learn(came=False)
    assert waited == 10


def test_company_that_comes_is_waited_for_until_it_stays_away() -> None:
    company = Company()
    company.learn(came=True)
    for _ in range(100):
        assert company
        company.learn(came=True)
    while company:
        company.learn(came=False)
    assert not company


async def _two_turns(path: Path, *, in_company: bool) -> None:
    with opened(path) as desk:
        desk.journal._company.learn(came=in_company)
        desk.journal.append(NOW, b"of one turn")
        await asyncio.sleep(0)
        desk.journal.append(NOW, b"of the next")
        await desk.settle()


@pytest.mark.parametrize(("in_company", "rows"), [(False, [(1, 1), (2, 1)]), (True, [(1, 2)])])
def test_in_a_crowd_two_turns_share_a_commit(
    path: Path, in_company: bool, rows: list[tuple[int, int]]
) -> None:
    asyncio.run(_two_turns(path, in_company=in_company))
    assert commit_rows(path) == rows


async def _close_at_once(path: Path) -> None:
    with opened(path) as desk:
        for at, fact in facts_of(5):
            desk.journal.append(at, fact)
    assert desk.durable == [5]


def test_closing_commits_what_is_queued(path: Path) -> None:
    asyncio.run(_close_at_once(path))
    assert replayed(path) == (None, facts_of(5))


def test_closing_leaves_one_database_and_its_owner(path: Path) -> None:
    asyncio.run(_close_at_once(path))
    replayed(path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["journal.db", "journal.db.owner"]
    assert path.stat().st_mode & 0o077 == 0, "prompts are nobody else's business"


def test_numbers_go_on_after_a_restart(path: Path) -> None:
    asyncio.run(write(path, facts_of(3)))
    asyncio.run(write(path, facts_of(2, 4)))
    assert replayed(path) == (None, facts_of(5))


# Snapshots and history.


def test_a_snapshot_covers_what_was_appended_before_it_and_nothing_after(path: Path) -> None:
    asyncio.run(snapshot_between(path, Config()))
    assert replayed(path) == (b"state of 3", facts_of(2, 4))
    assert commit_rows(path) == [(4, 2)]
    with read_history(path) as history:
        assert history.snapshot == (3, b"state of 3")
        assert [number for number, _, _ in history] == [4, 5]


def test_history_is_kept_for_audits(path: Path) -> None:
    asyncio.run(snapshot_between(path, Config(keep_history=True)))
    assert replayed(path) == (b"state of 3", facts_of(2, 4))
    with read_history(path) as history:
        assert history.snapshot == (3, b"state of 3")
        assert [(at, fact) for _, at, fact in history] == facts_of(5)


async def _snapshot_alone(path: Path) -> None:
    with opened(path) as desk:
        desk.journal.snapshot(b"nothing yet")
    with opened(path) as desk:
        assert desk.journal.durable == 0
        for at, fact in facts_of(2):
            desk.journal.append(at, fact)
        await desk.settle()
        desk.journal.snapshot(b"two")
    with opened(path) as desk:
        assert desk.journal.durable == 2
        assert desk.journal.append(NOW, b"third") == 3


def test_a_snapshot_needs_no_fact_beside_it(path: Path) -> None:
    asyncio.run(_snapshot_alone(path))
    assert replayed(path) == (b"two", [(NOW, b"third")])


async def _read_while_written(path: Path) -> None:
    with opened(path) as desk:
        for at, fact in facts_of(2):
            desk.journal.append(at, fact)
        await desk.settle()
        history = iter(read_history(path))
        assert next(history)[0] == 1
        desk.journal.append(NOW, b"meanwhile")
        await desk.settle()
        assert [number for number, _, _ in history] == [2], "one moment, not two"
        assert len(list(read_history(path))) == 3


def test_an_audit_reads_one_moment_while_the_journal_goes_on(path: Path) -> None:
    asyncio.run(_read_while_written(path))


def test_an_audit_of_nothing_is_refused(path: Path) -> None:
    with pytest.raises(Refused, match="there is no journal"):
        read_history(path)


# Who may open it.


def test_two_never_open_one_journal(path: Path) -> None:
    with opened(path), pytest.raises(Refused, match=f"already open by pid {os.getpid()}"):
        Desk(path)
    with opened(path):
        pass


@pytest.mark.parametrize("found", [0, 1, 99])
def test_another_format_is_refused(path: Path, found: int) -> None:
    asyncio.run(write(path, facts_of(1)))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE meta SET value = ?", (found,))
        db.commit()
    with pytest.raises(Refused, match=f"has format {found}, this version reads format 2"):
        Desk(path)
    with pytest.raises(Refused, match=f"has format {found}"):
        read_history(path)


def test_another_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE something (else_)")
    with pytest.raises(Refused, match="is not a journal"):
        Desk(path)


# Failure.


async def _fail(path: Path) -> Desk:
    with opened(path) as desk:
        desk.journal.append(NOW, b"good")
        await desk.settle()
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TRIGGER t BEFORE INSERT ON commits BEGIN SELECT RAISE(ABORT, 'no room'); END")
        desk.journal.append(NOW, b"lost")
        await desk.settle()
        with pytest.raises(Failed, match=r"takes nothing more \(no room\): restart"):
            desk.journal.append(NOW, b"too late")
        with pytest.raises(Failed):
            desk.journal.keep(digest(b"body"), b"body", LATER)
        with pytest.raises(Failed):
            desk.journal.snapshot(b"state")
    return desk


async def _break(path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    def commit(self: Writer, batch: object) -> None:
        raise MemoryError("none left")

    with opened(path) as desk:
        monkeypatch.setattr(Writer, "commit", commit)
        desk.journal.append(NOW, b"fact")
        await desk.settle()
        with pytest.raises(Failed):
            desk.journal.append(NOW, b"another")
    return desk


def test_whatever_breaks_a_commit_ends_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = asyncio.run(_break(path, monkeypatch))
    assert [str(failure) for failure in desk.failures] == ["none left"]
    assert desk.durable == []


def test_a_commit_that_fails_is_the_last(path: Path) -> None:
    desk = asyncio.run(_fail(path))
    assert desk.durable == [1]
    assert [str(failure) for failure in desk.failures] == ["no room"]
    assert [fact for _, _, fact in read_history(path)] == [b"good"]


# The log goes over into the database.


def _log_begun(path: Path) -> int:
    """How often the write-ahead log has begun anew, as its own head says (https://sqlite.org/fileformat2.html)."""
    with Path(f"{path}-wal").open("rb") as log:
        return int.from_bytes(log.read(16)[12:], "big")


class SlowConnection:
    """What a checkpoint goes through, if it takes until it may `go_on`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.in_the_way = False
        self._db = db

    def execute(self, statement: str) -> sqlite3.Cursor:
        done = self._db.execute(statement)
        self.begun.set()
        self.in_the_way |= not self.go_on.wait(10)
        return done


async def _commit_beside_a_checkpoint(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = Config(checkpoint_bytes=1, bodies=blockstore.Config(sweep_interval_ms=60_000))
    with opened(path, at_once) as desk:
        writer = desk.journal._writer
        aside = SlowConnection(writer._aside)
        monkeypatch.setattr(writer, "_aside", aside)
        desk.journal.append(NOW, b"first")
        assert await asyncio.to_thread(aside.begun.wait, 10), "nobody woke the thread"
        desk.journal.append(NOW, b"second, while the log goes over")
        await desk.settle()
        assert desk.durable == [1, 2]
        before = _log_begun(path)
        aside.go_on.set()
        await until(lambda: not writer._unsaved)
        desk.journal.append(NOW, b"third")
        await desk.settle()
        assert _log_begun(path) == before + 1, "what was added meanwhile has gone over too"
    assert not aside.in_the_way, "the second waited for the log"


def test_commits_go_on_while_the_log_goes_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_commit_beside_a_checkpoint(path, monkeypatch))


# Bodies.


async def _bodies(path: Path, bodies: list[bytes]) -> None:
    with opened(path) as desk:
        for body in bodies:
            desk.journal.keep(digest(body), body, LATER)
            assert desk.journal.body(digest(body)) == body, "queued, not yet on disk"
        desk.journal.append(NOW, b"names them")
        await desk.settle()
    with opened(path, Config(bodies=blockstore.Config(recent_bytes_max=0))) as desk:
        assert [desk.journal.body(digest(body)) for body in bodies] == bodies
        assert desk.journal.body(digest(b"never kept")) is None


def test_bodies_come_back_by_their_digest(path: Path) -> None:
    asyncio.run(_bodies(path, [b"", b"small", bytes(64 * 1024), bytes(64 * 1024 + 1), bytes(3_000_000)]))


async def _queued_but_not_recent(path: Path) -> None:
    with opened(path, Config(bodies=blockstore.Config(recent_bytes_max=0))) as desk:
        desk.journal.keep(digest(b"body"), b"body", LATER)
        assert desk.journal.body(digest(b"body")) == b"body"
        await asyncio.sleep(0)  # Handed to the writer, perhaps written, not yet reported.
        assert desk.journal.body(digest(b"body")) == b"body"


def test_a_body_is_there_on_its_way_to_disk(path: Path) -> None:
    asyncio.run(_queued_but_not_recent(path))


def test_a_body_beyond_the_limit_is_refused(path: Path) -> None:
    with opened(path, Config(bodies=blockstore.Config(body_bytes_max=10))) as desk, pytest.raises(TooLarge):
        desk.journal.keep(digest(bytes(11)), bytes(11), LATER)
