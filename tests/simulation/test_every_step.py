"""A process dies before and after each fact and each effect, once for each: the auditor finds nothing."""

from __future__ import annotations

from shoal.ids import NodeId
from shoal.sim.world import Faults, Outcome, Plan, run_seed

SEED = 2


def run(die_at: int) -> tuple[Outcome, int]:
    """One small calm world, in which the process that takes step `die_at` dies there."""
    steps = 0

    def step(node: NodeId, what: str) -> bool:
        nonlocal steps
        steps += 1
        return steps == die_at

    plan = Plan(jobs=8, faults=Faults(commit_max_ms=50), stormy_ms=12_000, on_step=step)
    return run_seed(SEED, plan), steps


def test_whoever_dies_wherever() -> None:
    calm, steps = run(0)
    assert calm.findings == ()
    assert steps > 300
    found = {n: run(n)[0].findings for n in range(1, steps + 1)}
    assert {n: findings for n, findings in found.items() if findings} == {}
