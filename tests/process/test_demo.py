"""The tour with real models, as `make demo` shows it: every promise of it, read from what it wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FEES_WEI = 0
JOBS = 15


@pytest.mark.timeout(1_500)  # the first time, models are fetched
def test_the_tour_comes_to_its_end_and_adds_up(tmp_path: Path) -> None:
    report = tmp_path / "tour.json"
    ended = subprocess.run(
        [sys.executable, "-m", "shoal.cli.main", "up", "--demo", "--any-ports", "--json", str(report)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "\x1b" not in ended.stdout
    tour = json.loads(report.read_text())
    jobs, summary = tour["jobs"], tour["summary"]
    assert len(jobs) == len({job["id"] for job in jobs}) == JOBS
    assert {job["pipeline"] for job in jobs} == {"llm", "text-to-speech", "audio-to-text"}
    assert [job["state"] for job in jobs].count("cancelled") == 1
    assert {job["state"] for job in jobs} == {"done", "cancelled"}

    for job in jobs:
        assert job["charged_wei"] == job["orchestrator_wei"] + job["worker_wei"] > 0
        assert job["charged_wei"] == -(-job["units"] * job["price_wei"] // job["price_units"])
        assert job["failed_attempts_wei"] == 0
        assert re.fullmatch(r"worker-\d", job["worker"])
        assert re.fullmatch(r"orchestrator-\d", job["orchestrator"])
    assert summary["charged_wei"] == sum(job["charged_wei"] for job in jobs)
    assert summary["charged_wei"] == summary["earned_wei"] + summary["fees_wei"]
    assert summary["earned_wei"] == summary["own_wei"] + summary["worker_wei"]
    assert (summary["fees_wei"], summary["holds_wei"]) == (FEES_WEI, 0)

    assert [job["attempts"] for job in jobs].count(2) == 1, "the murdered worker's job, and no other"
    crowd = jobs[3:11]
    assert {job["worker"] for job in crowd} == {"worker-1", "worker-2", "worker-3"}
    assert "19 of 19 words are those that were said" in ended.stdout
    assert "gets SIGKILL" in ended.stdout
    assert "refused: nobody offers 'gpt-17'" in ended.stdout
