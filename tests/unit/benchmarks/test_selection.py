"""The benchmark of selection measures every policy, and beside the same scan."""

from __future__ import annotations

import pytest
from benchmarks import selection

from shoal.policy.selection import POLICIES


def test_every_policy_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "CHOICES", 20)
    costs = selection.measure(30, 2)
    assert [cost.policy for cost in costs] == list(POLICIES)
    assert all(cost.us > 0 and cost.scan_us > 0 and cost.ratio_low <= cost.ratio for cost in costs)


def test_the_aim_is_judged_by_the_far_end_of_the_interval() -> None:
    def cost(us: float, high: float, candidates: int = 1_000) -> selection.Cost:
        return selection.Cost("p", candidates, us, 50.0, 0.5, 0.4, high)

    verdicts = [
        selection.line(one)[-1] for one in (cost(9, 0.6), cost(9, 1.2), cost(201, 0.6), cost(9, 9, 10))
    ]
    assert verdicts == ["met", "not met", "not met", ""]
