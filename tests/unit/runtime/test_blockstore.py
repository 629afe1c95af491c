"""A body comes back whole until it expires, and is never anything but what its digest says."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shoal.ids import Digest, digest
from shoal.runtime.blockstore import FOLDERS, SCHEMA, Blockstore, Config, Recent
from shoal.units import Instant

SMALL = b"a small body"
LARGE = b"a large body" * 1_000
LIMITS = Config(packed_bytes_max=1_000, sweep_max=10)
#: Everything that the tables hold.
ROWS = "SELECT (SELECT count(*) FROM packs) + (SELECT count(*) FROM places) + (SELECT count(*) FROM files)"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(SCHEMA)
        yield db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal.db.blocks"


@pytest.fixture
def blocks(folder: Path) -> Blockstore:
    return Blockstore(folder, LIMITS)


def keep(db: sqlite3.Connection, blocks: Blockstore, body: bytes, expires: int = 100) -> Digest:
    db.execute("BEGIN")
    blocks.store(db, {digest(body): (body, Instant(expires))})
    db.execute("COMMIT")
    return digest(body)


def expire(db: sqlite3.Connection, blocks: Blockstore, now: int) -> bool:
    db.execute("BEGIN")
    others = blocks.expire(db, Instant(now))
    db.execute("COMMIT")
    return others


def settle(db: sqlite3.Connection, blocks: Blockstore) -> None:
    while blocks.settle(db):
        pass


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("body", [b"", SMALL, bytes(1_000), bytes(1_001), LARGE])
def test_a_body_comes_back(db: sqlite3.Connection, blocks: Blockstore, body: bytes) -> None:
    assert blocks.read(db, digest(body)) is None
    assert blocks.read(db, keep(db, blocks, body)) == body


def test_many_bodies_at_once(db: sqlite3.Connection, blocks: Blockstore) -> None:
    bodies = [b"%d" % number for number in range(200)]
    db.execute("BEGIN")
    blocks.store(db, {digest(body): (body, Instant(1)) for body in bodies})
    db.execute("COMMIT")
    assert [blocks.read(db, digest(body)) for body in bodies] == bodies


def test_settled_bodies_come_back_and_only_the_others_are_read_at_open(
    db: sqlite3.Connection, folder: Path, blocks: Blockstore
) -> None:
    bodies = [b"%d" % number for number in range(2_500)]
    names = [keep(db, blocks, body) for body in bodies]
    assert blocks.settle(db), "some at a time"
    keep(db, blocks, b"kept while others settle")
    settle(db, blocks)
    late = keep(db, blocks, b"after all that")
    again = Blockstore(folder, LIMITS)
    again.open(db)
    for store in (blocks, again):
        assert [store.read(db, name) for name in names] == bodies
        assert store.read(db, digest(b"kept while others settle")) == b"kept while others settle"
        assert store.read(db, late) == b"after all that"
    assert db.execute("SELECT count(*) FROM places").fetchone() == (2_500,)


def test_a_body_that_expires_while_others_settle_leaves_nothing_behind(
    db: sqlite3.Connection, blocks: Blockstore
) -> None:
    for number in range(1_500):
        keep(db, blocks, b"%d" % number)
    assert blocks.settle(db)
    while expire(db, blocks, 100):
        pass
    settle(db, blocks)
    assert db.execute(ROWS).fetchone() == (0,)


def test_small_bodies_are_packed_and_large_ones_files(
    db: sqlite3.Connection, blocks: Blockstore, folder: Path
) -> None:
    keep(db, blocks, SMALL)
    assert not folder.exists()
    name = keep(db, blocks, LARGE)
    assert files(folder) == [f"{name[:2]}/{name}"]


@pytest.mark.parametrize("body", [SMALL, LARGE])
@pytest.mark.parametrize(("first", "second"), [(100, 300), (300, 100)])
@pytest.mark.parametrize("settled", ["never", "between", "after"])
def test_a_body_kept_twice_stays_until_the_later_expiry(
    db: sqlite3.Connection, blocks: Blockstore, body: bytes, first: int, second: int, settled: str
) -> None:
    keep(db, blocks, body, first)
    if settled == "between":
        settle(db, blocks)
    name = keep(db, blocks, body, second)
    if settled == "after":
        settle(db, blocks)
    expire(db, blocks, 299)
    assert blocks.read(db, name) == body
    expire(db, blocks, 300)
    assert blocks.read(db, name) is None
    assert db.execute(ROWS).fetchone() == (0,)


def test_an_expired_body_leaves_nothing_behind(
    db: sqlite3.Connection, blocks: Blockstore, folder: Path
) -> None:
    keep(db, blocks, LARGE, 100)
    keep(db, blocks, SMALL, 100)
    settle(db, blocks)
    expire(db, blocks, 100)
    assert files(folder) == []
    assert db.execute(ROWS).fetchone() == (0,)


def test_expired_bodies_go_a_few_at_a_time(db: sqlite3.Connection, blocks: Blockstore) -> None:
    for number in range(25):
        keep(db, blocks, b"%d" % number, number)
    assert [expire(db, blocks, 100) for _ in range(3)] == [True, True, False]
    assert db.execute(ROWS).fetchone() == (0,)


def test_a_body_can_come_back_after_it_expired(db: sqlite3.Connection, blocks: Blockstore) -> None:
    keep(db, blocks, LARGE, 100)
    expire(db, blocks, 100)
    assert blocks.read(db, keep(db, blocks, LARGE, 200)) == LARGE


# Damage.


def test_a_flipped_bit_in_a_pack_is_a_miss(
    db: sqlite3.Connection, blocks: Blockstore, caplog: pytest.LogCaptureFixture
) -> None:
    name = keep(db, blocks, SMALL)
    db.execute("UPDATE packs SET bodies = CAST(replace(bodies, 'small', 'smalm') AS BLOB)")
    with caplog.at_level(logging.ERROR):
        assert blocks.read(db, name) is None
    assert f"body {name} is damaged" in caplog.text
    assert blocks.read(db, keep(db, blocks, SMALL)) == SMALL, "kept again, it is whole again"


@pytest.mark.parametrize("damage", ["flipped", "shortened", "gone"])
def test_a_damaged_file_is_a_miss(
    db: sqlite3.Connection, blocks: Blockstore, folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = keep(db, blocks, LARGE)
    path = folder / name[:2] / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"A" + content[1:] if damage == "flipped" else content[:-1])
    with caplog.at_level(logging.ERROR):
        assert blocks.read(db, name) is None
    assert f"body {name} is damaged" in caplog.text
    assert blocks.read(db, keep(db, blocks, LARGE)) == LARGE


# What a crash leaves.


def test_a_file_that_no_row_names_is_swept_away(
    db: sqlite3.Connection, blocks: Blockstore, folder: Path
) -> None:
    kept = keep(db, blocks, LARGE)
    for body in (b"never committed" * 1_000, b"half written" * 1_000):
        db.execute("BEGIN")
        blocks.store(db, {digest(body): (body, Instant(100))})
        db.execute("ROLLBACK")  # The crash came between the file and the commit that names it.
    half = folder / digest(b"half written" * 1_000)[:2] / digest(b"half written" * 1_000)
    half.rename(half.with_suffix(".part"))
    assert len(files(folder)) == 3
    for _ in range(FOLDERS):
        blocks.sweep(db)
    assert files(folder) == [f"{kept[:2]}/{kept}"]
    blocks.sweep(db)  # Once is enough until the next start.


# What stays in memory.


def test_the_bodies_used_last_stay_in_memory() -> None:
    recent = Recent(bytes_max=10)
    names = [digest(body) for body in (b"aaaa", b"bbbb", b"cccc")]
    recent.put(names[0], b"aaaa")
    recent.put(names[1], b"bbbb")
    assert recent.get(names[0]) == b"aaaa"
    recent.put(names[2], b"cccc")
    assert [recent.get(name) for name in names] == [b"aaaa", None, b"cccc"]


def test_a_body_larger_than_the_memory_does_not_empty_it() -> None:
    recent = Recent(bytes_max=10)
    recent.put(digest(b"aaaa"), b"aaaa")
    recent.put(digest(bytes(11)), bytes(11))
    recent.put(digest(b"aaaa"), b"aaaa")
    assert recent.get(digest(b"aaaa")) == b"aaaa"
    assert recent.get(digest(bytes(11))) is None
