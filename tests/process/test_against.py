"""Two versions side by side are two networks of real processes; leaving ends every one of them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.against import SIDES, Version
from benchmarks.peers.peer import REPOSITORY
from benchmarks.processes import family
from benchmarks.sides import window


def test_both_versions_answer_in_turns_and_are_gone_afterwards(tmp_path: Path) -> None:
    with ExitStack() as up:
        sides = {name: up.enter_context(Version(REPOSITORY / "src", tmp_path / name)) for name in SIDES}
        pids = {pid for side in sides.values() for pid in side.pids()}
        for name, side in sides.items():
            found = window(sides, "run", 0, name, 4, 0.3)
            assert found.answered > 0, found
            assert found.errors == 0, found.examples
            assert set(found.cpu_us) == {"orchestrator", "worker", "gateway"}
            assert all(us > 0 for us in found.cpu_us.values()), found.cpu_us
            assert {side.address for side in sides.values()} > {side.address}
        assert len(pids) >= 8, "three roles and a runner on each side"
    assert not pids & set(family()[0])
