"""Whole networks under faults: the auditor finds nothing, whatever the seed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.sim.__main__ import main
from shoal.sim.economy import SCALE, is_prepaid
from shoal.sim.world import Faults, Outcome, Plan, World, run_seed

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))
SOURCE = Path(__file__).parents[2] / "src"
#: Everything at once, and hard.
TEMPEST = Faults(
    loss_ppm=300_000,
    duplicate_ppm=50_000,
    reorder=True,
    breaks=4,
    cuts=3,
    crashes=4,
    pauses=3,
    disk_failure_ppm=10_000,
    commit_max_ms=200,
    skew_ms=600_000,
    drift_ppm=1_000,
    jump_ms=30_000,
    runner_fail_ppm=200_000,
    runner_crash_ppm=100_000,
    client_loss_ppm=200_000,
)


@pytest.mark.parametrize("seed", range(25))
def test_nothing_is_found(seed: int) -> None:
    outcome = run_seed(seed)
    assert outcome.findings == ()
    assert outcome.jobs > 0


@pytest.mark.parametrize("prepaid", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_in_a_tempest(seed: int, prepaid: bool) -> None:
    assert run_seed(seed, Plan(faults=TEMPEST, prepaid=prepaid)).findings == ()


@pytest.mark.parametrize("prepaid", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_without_faults_no_job_fails_that_pays_enough_and_can_wait(seed: int, prepaid: bool) -> None:
    world = World(seed, Plan(faults=Faults(), prepaid=prepaid))
    assert world.run().findings == ()
    ends = [
        job.phase.value
        for node in world.gateways
        for job in node.state.jobs.values()
        if job.deadline - job.accepted_at > 20_000 and job.limit.wei > (500 * SCALE if prepaid else 500)
    ]
    assert len(ends) >= 30
    assert set(ends) <= {"done", "cancelled"}


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_a_seed_that_once_found_a_bug_finds_it_no_more(path: Path) -> None:
    found = json.loads(path.read_text())
    assert run_seed(found["seed"], Plan(prepaid=found.get("prepaid", False))).findings == ()


def test_a_seed_is_the_same_world_in_every_process() -> None:
    seeds = range(20)
    here = {str(seed): run_seed(seed, Plan(jobs=40)).trace for seed in reversed(seeds)}
    assert len(set(here.values())) == len(seeds)
    lines = (
        "import json; from shoal.sim.world import Plan, run_seed;"
        f"print(json.dumps({{str(s): run_seed(s, Plan(jobs=40)).trace for s in range({len(seeds)})}}))"
    )
    for hash_seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(SOURCE)}
        there = subprocess.run(
            [sys.executable, "-c", lines], env=environment, capture_output=True, text=True, check=True
        )
        assert json.loads(there.stdout) == here


def test_money_changes_nothing_where_there_is_none() -> None:
    seeds = range(30)
    assert {is_prepaid(seed) for seed in seeds} == {True, False}
    for seed in seeds:
        if not is_prepaid(seed):
            assert run_seed(seed, Plan(jobs=5)).trace == run_seed(seed, Plan(jobs=5, prepaid=False)).trace


def test_a_world_with_money_has_all_of_it() -> None:
    """Payments, winners, reorganisations, and payouts: what is not there cannot go wrong."""
    worlds = [World(seed, Plan(prepaid=True)) for seed in range(10)]
    for world in worlds:
        assert world.run().findings == ()
    economies = [world.economy for world in worlds if world.economy is not None]
    assert len(economies) == len(worlds)
    truths = [economy.truth() for economy in economies]
    assert sum(len(truth.redeemed) for truth in truths) > 20
    assert sum(len(truth.batches) for truth in truths) > 20
    assert sum(economy.chain.reorgs for economy in economies) > 5


def test_writing_the_trace_down_changes_nothing() -> None:
    file = io.StringIO()
    assert run_seed(3, Plan(jobs=20), file).trace == run_seed(3, Plan(jobs=20)).trace
    assert "Submitted" in file.getvalue()


def test_the_command_says_what_it_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2", "--jobs", "10", "--processes", "1", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["seeds"] == 2
    assert summary["findings"] == []


def test_the_command_exits_with_1_on_a_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Outcome(0, "", 1, 1, 1, 1, ("I1 job: lost",))
    monkeypatch.setattr("shoal.sim.__main__.run_seed", lambda *_, **__: bad)
    assert main(["--seeds", "1", "--processes", "1"]) == 1
    assert "seed 0: I1 job: lost" in capsys.readouterr().out
