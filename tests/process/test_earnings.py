"""Workers are paid on a real chain, see it there, and say so to the wei; who was left comes back when forgiven."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running import Up, shoal, until, up

JOBS = 12


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    for name, value in {"PAYOUT_MS": "2000", "PAYOUT_DUST_WEI": "1", "PAYOUT_LOOK_MS": "500"}.items():
        monkeypatch.setenv(f"SHOAL_ORCHESTRATOR_RULES_{name}", value)
    monkeypatch.setenv("SHOAL_WORKER_RULES_FIND_MS", "1000")
    monkeypatch.setenv("SHOAL_WORKER_RULES_RECEIPTS_EVERY", "2")
    with up(tmp_path) as running:
        yield running


def earnings(network: Up) -> list[dict[str, Any]]:
    """Every line of every worker."""
    ended = shoal("worker", "earnings", "--json", home=network.home)
    if ended.returncode:
        return []
    return [line for worker in json.loads(ended.stdout)["workers"] for line in worker["orchestrators"]]


def test_what_was_earned_is_paid_and_found_on_chain(network: Up) -> None:
    for number in range(JOBS):
        assert shoal("run", "echo", f"hello {number}", home=network.home).returncode == 0

    def paid() -> bool:
        lines = earnings(network)
        return sum(line["jobs"] for line in lines) == JOBS and all(line["on_chain"] for line in lines)

    def settled() -> bool:
        return paid() and not any(line["owed_wei"] for line in earnings(network))

    until(settled, "everything is paid, and found on chain")
    lines = earnings(network)
    assert all(line["earned_wei"] == line["paid_wei"] == line["confirmed_wei"] > 0 for line in lines)
    assert not any(line["left"] or line["unpaid_wei"] for line in lines)
    shown = shoal("worker", "earnings", home=network.home).stdout
    assert "(confirmed)" in shown
    refused = shoal("worker", "forgive", "orchestrator-1", home=network.home)
    assert (refused.returncode, "no worker here has left" in refused.stderr) == (1, True)
