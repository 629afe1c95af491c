"""What was acknowledged is there after a kill, a full disk, and a power cut."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from shoal.ids import digest
from shoal.runtime.blockstore import Blockstore, Config
from shoal.runtime.history import connect, read_history

KILLS = 20
CUTS = 10

#: Writes facts with bodies from many clients, and prints the number of the last one on disk.
WRITER = """
import asyncio, os, resource, sys
from pathlib import Path
from shoal.ids import digest
from shoal.runtime import blockstore
from shoal.runtime.journal import Config, Journal

path, file_bytes_max, snapshots = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if file_bytes_max:
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

async def client(journal, name, failed):
    number = 0
    while not failed.done():
        fact = b"%d of client %d of process %d" % (number, name, os.getpid())
        body = fact * (1 if number % 50 else 8_000)
        journal.append(number, fact)
        journal.keep(digest(body), body, 10**15)
        if snapshots and number % 100 == 99 and name == 0:
            journal.snapshot(b"state")
        number += 1
        await asyncio.sleep(0)
        while journal.appended - journal.durable > 100 and not failed.done():
            await asyncio.sleep(0)

async def main():
    failed = asyncio.get_running_loop().create_future()
    journal = Journal(
        path,
        on_durable=lambda number: print(number, flush=True),
        on_failure=failed.set_result,
        now=lambda: 0,
        config=Config(
            keep_history=True, checkpoint_bytes=300_000, bodies=blockstore.Config(packed_bytes_max=20_000)
        ),
    )
    await asyncio.gather(*(client(journal, name, failed) for name in range(8)))
    print("failed", failed.result(), flush=True)

asyncio.run(main())
"""


@contextmanager
def writer(path: Path, file_bytes_max: int = 0, snapshots: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes a journal until it is killed."""
    arguments = [sys.executable, "-c", WRITER, str(path), str(file_bytes_max), str(snapshots)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged(process: subprocess.Popen[bytes], lines: int) -> int:
    """The last number of so many lines."""
    assert process.stdout is not None
    number = 0
    for _ in range(lines):
        number = int(process.stdout.readline())
    return number


def last_line(process: subprocess.Popen[bytes]) -> int:
    """The last number that the process could print at all."""
    assert process.stdout is not None
    numbers = [line for line in process.stdout if line.endswith(b"\n") and not line.startswith(b"failed")]
    return int(numbers[-1]) if numbers else 0


def check(path: Path, least: int) -> int:
    """Every acknowledged fact is there, each client's in order, with its body. How many there are."""
    following: dict[bytes, int] = {}
    count = 0
    blocks = Blockstore(path.with_name(path.name + ".blocks"), Config())
    with read_history(path) as history, closing(connect(path)) as db:
        blocks.open(db)  # After the history: every fact that is in there has its body here.
        for number, at, fact in history:
            count += 1
            assert number == count
            client = fact.partition(b" of ")[2]
            assert fact == b"%d of %s" % (at, client)
            assert at == following.get(client, 0)
            following[client] = at + 1
            body = fact * (1 if at % 50 else 8_000)
            assert blocks.read(db, digest(body)) == body
    assert count >= least, f"{least} facts were acknowledged, {count} are there"
    return count


def test_a_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path, rng, total = tmp_path / "journal.db", random.Random(1), 0
    for _ in range(KILLS):
        with writer(path) as process:
            number = acknowledged(process, rng.randrange(1, 15))
            process.send_signal(signal.SIGKILL)
            number = max(number, last_line(process))
        total = check(path, number)
    print(f"{KILLS} kills, {total} facts, 0 acknowledged lost")


def test_an_audit_reads_while_the_journal_is_written(tmp_path: Path) -> None:
    with writer(tmp_path / "journal.db") as process:
        for _ in range(5):
            check(tmp_path / "journal.db", acknowledged(process, 5))


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with writer(path) as first:
        acknowledged(first, 1)
        command = [sys.executable, "-c", WRITER, str(path), "0", "0"]
        second = subprocess.run(command, capture_output=True, check=False)
        assert f"already open by pid {first.pid}: stop that process first".encode() in second.stderr
        acknowledged(first, 1)


def test_a_full_disk_ends_the_journal_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with writer(path, file_bytes_max=1_000_000) as process:
        number = last_line(process)
        assert process.wait() == 0
    assert number > 0
    total = check(path, number)
    with writer(path) as process:  # There is room again.
        assert acknowledged(process, 1) > total


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@contextmanager
def mounted(*arguments: str | Path) -> Iterator[Path]:
    """A file system, if one may be mounted here at all."""
    point = Path(arguments[-1])
    point.mkdir(exist_ok=True)
    made = subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount here: {made.stderr.decode().strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


@needs_root
def test_a_full_file_system_ends_the_journal_and_loses_nothing(tmp_path: Path) -> None:
    with mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", tmp_path / "small") as folder:
        with writer(folder / "journal.db") as process:
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
            assert process.wait() == 0
        assert lines[-1].startswith(b"failed")
        check(folder / "journal.db", int(lines[-2]))


@needs_root
def test_a_power_cut_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """The backing file of a file system, copied while its writer stands still, is what the disk had got.

    It loses what was not synced; it does not reorder what the disk was writing.
    """
    disk, cut, rng, facts = tmp_path / "disk", tmp_path / "cut", random.Random(1), 0
    for _ in range(CUTS):
        with disk.open("wb") as file:
            file.truncate(64 * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(disk)], check=True)
        with mounted("-o", "loop", disk, tmp_path / "live") as live, writer(live / "journal.db") as process:
            acknowledged(process, rng.randrange(1, 30))
            process.send_signal(signal.SIGSTOP)
            shutil.copy(disk, cut)
            process.kill()
            number = last_line(process)
        with mounted("-o", "loop", cut, tmp_path / "after") as after:
            facts += check(after / "journal.db", number)
    print(f"{CUTS} power cuts, {facts} facts, 0 acknowledged lost")


def test_the_check_would_notice_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with writer(path) as process:
        acknowledged(process, 3)
    with pytest.raises(AssertionError, match="were acknowledged"):
        check(path, check(path, 0) + 1)
