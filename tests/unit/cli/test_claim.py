"""A folder has one holder at a time, and the next one is told which process it is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shoal.cli.claim import claim, holder
from shoal.cli.parent import on_end_of
from shoal.errors import Refused

HOLD = """
import sys
from pathlib import Path
from shoal.cli.claim import claim
with claim(Path(sys.argv[1]), "a test"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_claim_ends_with_its_holder_however_that_ends(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert holder(tmp_path) == other.pid
        with (
            pytest.raises(Refused, match=rf"a test is already running in .* \(process {other.pid}\)"),
            claim(tmp_path, "a test"),
        ):
            pass
        ended = threading.Event()
        on_end_of(other.pid, ended.set)
        other.kill()
        assert ended.wait(30)
    assert holder(tmp_path) is None
    with claim(tmp_path, "a test"):
        assert holder(tmp_path) == os.getpid()


def test_the_end_of_a_process_that_is_gone_is_told_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    ended = threading.Event()
    on_end_of(gone.pid, ended.set)
    assert ended.wait(30)


def test_a_folder_that_cannot_be_had_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(Refused, match=r"file/below cannot be used: .*; name another folder"),
        claim(tmp_path / "file" / "below", "a test"),
    ):
        pass
