"""A journal after a crash, a flipped bit, a cut file: whole, or refused by the name of what is damaged."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from journals import (
    LATER,
    NOW,
    Desk,
    Fact,
    facts_of,
    opened,
    replayed,
    snapshot_between,
    until,
    write,
)
from shoal.errors import Broken, Refused
from shoal.ids import digest
from shoal.runtime.history import read_history
from shoal.runtime.journal import Config
from shoal.units import Instant


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


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
    asyncio.run(snapshot_between(path, Config()))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE snapshots SET state = CAST('state of 4' AS BLOB)")
        db.commit()
    with pytest.raises(Broken, match="snapshot of fact 3"):
        Desk(path)
