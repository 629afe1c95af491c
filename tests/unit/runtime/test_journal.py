"""The journal keeps every fact it said was on disk, in order, or says which one it cannot vouch for."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.errors import Broken, Failed, Refused, TooLarge
from shoal.ids import digest
from shoal.runtime import blockstore
from shoal.runtime.history import read_history
from shoal.runtime.journal import DEFAULT, Config, Haste, Journal, Writer
from shoal.units import Instant

NOW = Instant(1_000_000)
LATER = Instant(NOW + 60_000)

Fact = tuple[Instant, bytes]


class Desk:
    """A journal, what it reported, and the wish to wait for it."""

    def __init__(self, path: Path, config: Config = DEFAULT) -> None:
        self.durable: list[int] = []
        self.failures: list[BaseException] = []
        self._heard: asyncio.Future[None] | None = None
        self.journal = Journal(
            path, on_durable=self._on_durable, on_failure=self._on_failure, now=lambda: NOW, config=config
        )

    async def settle(self) -> None:
        """Wait until every fact is on disk, or the journal has failed."""
        while self.journal.durable < self.journal.appended and not self.failures:
            self._heard = asyncio.get_running_loop().create_future()
            await self._heard

    def _on_durable(self, number: int) -> None:
        self.durable.append(number)
        self._wake()

    def _on_failure(self, failure: BaseException) -> None:
        self.failures.append(failure)
        self._wake()

    def _wake(self) -> None:
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(None)


@contextmanager
def opened(path: Path, config: Config = DEFAULT) -> Iterator[Desk]:
    desk = Desk(path, config)
    with closing(desk.journal):
        yield desk


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is true of the writing thread, which has no event for it."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def replayed(path: Path) -> tuple[bytes | None, list[Fact]]:
    with opened(path) as desk:
        state, facts = desk.journal.replay()
        return state, list(facts)


def facts_of(count: int, start: int = 1) -> list[Fact]:
    return [(Instant(NOW + number), b"fact %d" % number) for number in range(start, start + count)]


def commit_rows(path: Path) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT first, count FROM commits ORDER BY first").fetchall()


async def write(path: Path, facts: list[Fact], config: Config = DEFAULT) -> None:
    """Write facts, each a commit of its own."""
    with opened(path, config) as desk:
        for at, fact in facts:
            desk.journal.append(at, fact)
            await desk.settle()


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
    haste = Haste(Config(quick_ms=1, slow_commits=3))
    for _ in range(100):
        haste.learn(0.0002)
    haste.learn(0.5)
    assert haste
    for _ in range(20):
        haste.learn(0.005)
    assert not haste


def test_a_slow_disk_is_left_to_the_thread_for_a_while() -> None:
    haste = Haste(Config(quick_ms=1, slow_commits=3))
    assert haste
    haste.learn(0.0002)
    assert haste, "one quick commit changes nothing"
    for _ in range(6):
        haste.learn(0.1)
    assert [bool(haste) for _ in range(4)] == [False, False, False, True]


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


async def _snapshot_between(path: Path, config: Config) -> None:
    with opened(path, config) as desk:
        for at, fact in facts_of(3):
            desk.journal.append(at, fact)
        desk.journal.snapshot(b"state of 3")
        for at, fact in facts_of(2, 4):
            desk.journal.append(at, fact)
        await desk.settle()


def test_a_snapshot_covers_what_was_appended_before_it_and_nothing_after(path: Path) -> None:
    asyncio.run(_snapshot_between(path, Config()))
    assert replayed(path) == (b"state of 3", facts_of(2, 4))
    assert commit_rows(path) == [(4, 2)]
    with read_history(path) as history:
        assert history.snapshot == (3, b"state of 3")
        assert [number for number, _, _ in history] == [4, 5]


def test_history_is_kept_for_audits(path: Path) -> None:
    asyncio.run(_snapshot_between(path, Config(keep_history=True)))
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


# Crashes and damage.


def copy_of(path: Path, folder: Path) -> Path:
    """The journal's files as a crash leaves them: what the operating system had been told."""
    folder.mkdir()
    for file in path.parent.glob(path.name + "*"):
        if file.is_file() and not file.name.endswith("-shm"):
            shutil.copy(file, folder)
    return folder / path.name


async def _crash_at_each_step(path: Path) -> None:
    kept, config = facts_of(12), Config(checkpoint_bytes=20_000, log_bytes=60_000)
    with opened(path, config) as desk:
        for number, (at, fact) in enumerate(kept, 1):
            desk.journal.append(at, fact)
            desk.journal.keep(digest(fact), fact, LATER)
            await asyncio.sleep(0)
            crashed = [copy_of(path, path.parent / f"{number} before")]
            await desk.settle()
            crashed.append(copy_of(path, path.parent / f"{number} after"))
            for copy, least in zip(crashed, (number - 1, number), strict=True):
                state, facts = replayed(copy)
                assert state is None
                assert least <= len(facts)
                assert facts == kept[: len(facts)]


def test_a_crash_at_any_step_loses_nothing_that_was_on_disk(path: Path) -> None:
    asyncio.run(_crash_at_each_step(path))


async def _written_and_running(folder: Path, log_bytes: int = 0) -> tuple[Path, Path, list[Fact]]:
    """Two copies of one journal: one closed, one as a kill leaves it, with its write-ahead log."""
    path = folder / "journal.db"
    facts = [(Instant(NOW + n), random.Random(n).randbytes(60 + 40 * n)) for n in range(60)]
    with opened(path, Config(log_bytes=log_bytes)) as desk:
        for at, fact in facts:
            desk.journal.append(at, fact)
            await desk.settle()
        for number in range(20):
            body = b"body %d" % number * 50
            desk.journal.keep(digest(body), body, LATER)
        desk.journal.append(NOW, b"last")
        await desk.settle()
        await until(lambda: desk.journal._owner._read() == desk.journal.durable)  # It follows the commit.
        killed = copy_of(path, folder / "killed")
    return copy_of(path, folder / "closed"), killed, [*facts, (NOW, b"last")]


def survives(path: Path, expected: list[Fact]) -> bool:
    """True if nothing is lost; False if the damage is refused by name. Other facts are an error."""
    try:
        state, facts = replayed(path)
    except (Broken, Refused) as refusal:
        if path.name not in str(refusal):
            raise
        return False
    assert (state, facts) == (None, expected)
    return True


@pytest.mark.parametrize("kind", ["closed", "killed"])
def test_a_flipped_bit_is_harmless_or_named(tmp_path: Path, kind: str) -> None:
    closed, killed, expected = asyncio.run(_written_and_running(tmp_path))
    source = closed if kind == "closed" else killed
    survived = 0
    for seed in range(200):
        rng = random.Random(seed)
        path = copy_of(source, tmp_path / f"seed {seed}")
        files = sorted(file for file in path.parent.iterdir() if file.stat().st_size)
        (file,) = rng.choices(files, weights=[file.stat().st_size for file in files])
        content = bytearray(file.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
        survived += survives(path, expected)
        shutil.rmtree(path.parent)
    print(f"{kind}: {survived} of 200 flipped bits were harmless, {200 - survived} were refused")
    assert 0 < survived < 200


def test_a_shortened_log_is_noticed(tmp_path: Path) -> None:
    _, killed, expected = asyncio.run(_written_and_running(tmp_path))
    wal = Path(f"{killed}-wal").stat().st_size
    for seed in range(100):
        path = copy_of(killed, tmp_path / f"seed {seed}")
        os.truncate(f"{path}-wal", random.Random(seed).randrange(wal))
        assert not survives(path, expected)
        shutil.rmtree(path.parent)


def test_without_its_mark_a_shortened_log_is_a_shorter_journal(tmp_path: Path) -> None:
    _, killed, expected = asyncio.run(_written_and_running(tmp_path))
    wal = Path(f"{killed}-wal").stat().st_size
    lengths = set()
    for seed in range(50):
        path = copy_of(killed, tmp_path / f"seed {seed}")
        Path(f"{path}.owner").unlink()
        os.truncate(f"{path}-wal", random.Random(seed).randrange(wal))
        _, facts = replayed(path)
        assert facts == expected[: len(facts)]
        lengths.add(len(facts))
    assert len(lengths) > 10


@pytest.mark.parametrize("cut_bytes", [0, 1, 4096, 1_000_000])
def test_the_empty_end_of_a_log_says_nothing(tmp_path: Path, cut_bytes: int) -> None:
    _, killed, expected = asyncio.run(_written_and_running(tmp_path, 3_000_000))
    log = Path(f"{killed}-wal")
    assert log.stat().st_size == 3_000_000
    assert len(log.read_bytes().rstrip(b"\0")) < 2_000_000
    os.truncate(log, log.stat().st_size - cut_bytes)
    assert survives(killed, expected)


def test_damage_is_named_by_its_fact(path: Path) -> None:
    asyncio.run(write(path, facts_of(9)))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE commits SET facts = CAST(replace(facts, '5', '6') AS BLOB) WHERE first = 5")
        db.commit()
    with pytest.raises(Broken, match=r"journal .*journal.db is damaged at fact 5: restore it from a copy"):
        replayed(path)
    with pytest.raises(Broken, match="at fact 5"):
        list(read_history(path))


@pytest.mark.parametrize("row", [1, 4, 9])
def test_a_missing_commit_is_noticed(path: Path, row: int) -> None:
    asyncio.run(write(path, facts_of(9)))
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM commits WHERE first = ?", (row,))
        db.commit()
    with pytest.raises(Broken, match="ends at fact 8" if row == 9 else f"at fact {row}"):
        replayed(path)


def test_a_damaged_snapshot_is_noticed(path: Path) -> None:
    asyncio.run(_snapshot_between(path, Config()))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE snapshots SET state = CAST('state of 4' AS BLOB)")
        db.commit()
    with pytest.raises(Broken, match="snapshot of fact 3"):
        Desk(path)


# Any interleaving.

BODIES = [b"", b"a", b"b" * 300, b"c" * 5000, b"d" * 70_000]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(max_size=40)),
        st.tuples(st.just("keep"), st.sampled_from(BODIES)),
        st.sampled_from([("snapshot", b""), ("turn", b""), ("settle", b""), ("reopen", b"")]),
    ),
    max_size=40,
)


async def _walk(folder: Path, steps: list[tuple[str, bytes]], config: Config) -> None:
    path, facts, covered, kept = folder / "journal.db", list[Fact](), 0, set[bytes]()
    desk = Desk(path, config)
    for place, (step, content) in enumerate(steps):
        if step == "append":
            facts.append((Instant(NOW + place), content))
            assert desk.journal.append(*facts[-1]) == len(facts)
        elif step == "keep":
            desk.journal.keep(digest(content), content, LATER)
            kept.add(content)
        elif step == "snapshot":
            desk.journal.snapshot(b"state of %d" % len(facts))
            covered = len(facts)
        elif step == "turn":
            await asyncio.sleep(0)
        else:
            await desk.settle()
        if step == "reopen":
            desk.journal.close()
            desk = Desk(path, config)
        state, rest = desk.journal.replay()
        on_disk = list(rest)
        first = 0 if state is None else int(state.split()[-1])
        assert facts[first : first + len(on_disk)] == on_disk
        assert first + len(on_disk) >= desk.journal.durable
        assert all(desk.journal.body(digest(body)) == body for body in kept)
    desk.journal.close()
    assert replayed(path) == (
        b"state of %d" % covered if ("snapshot", b"") in steps else None,
        facts[covered:],
    )
    with read_history(path) as history:
        kept_from = 0 if config.keep_history else covered
        assert [(at, fact) for _, at, fact in history] == facts[kept_from:]


@settings(max_examples=150, deadline=None)
@given(
    steps=STEPS,
    config=st.sampled_from(
        [
            Config(),
            Config(keep_history=True),
            Config(commit_bytes_max=1, checkpoint_bytes=1, bodies=blockstore.Config(packed_bytes_max=256)),
            Config(bodies=blockstore.Config(recent_bytes_max=0)),
        ]
    ),
)
def test_any_interleaving_replays_exactly_what_was_appended(
    steps: list[tuple[str, bytes]], config: Config
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_walk(Path(folder), steps, config))
