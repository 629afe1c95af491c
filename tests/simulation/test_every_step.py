"""A process dies before and after each fact and each effect, once for each: the auditor finds nothing."""

from __future__ import annotations

import pytest

from shoal.ids import NodeId
from shoal.sim.world import Faults, Outcome, Plan, run_seed

#: Without money, and with: the second one has payments, winners, redemptions and payouts.
SEEDS = {False: 2, True: 46}
#: Every so many steps, in turn, make a test.
PARTS = 8
#: What has to be died at where money is at stake.
MONEY_FACTS = ("Tendered", "Booked", "Paid", "Taken", "Signed", "Confirmed", "WinnerSettled", "PayoutPlanned")
MONEY_EFFECTS = ("SignTickets", "Watch", "Look", "Weigh", "Broadcast", "Post")


def run(prepaid: bool, die_at: int) -> tuple[Outcome, int, set[str]]:
    """One small calm world, in which the process that takes step `die_at` dies there. Also: what steps there were."""
    steps = 0
    taken: set[str] = set()

    def step(node: NodeId, what: str) -> bool:
        nonlocal steps
        steps += 1
        taken.add(what)
        return steps == die_at

    plan = Plan(jobs=8, faults=Faults(commit_max_ms=50), stormy_ms=12_000, prepaid=prepaid, on_step=step)
    return run_seed(SEEDS[prepaid], plan), steps, taken


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("prepaid", [False, True])
def test_whoever_dies_wherever(prepaid: bool, part: int) -> None:
    calm, steps, taken = run(prepaid, 0)
    assert calm.findings == ()
    assert steps > 300
    if prepaid:
        assert taken >= {f"{when} {what}" for when in ("append", "appended") for what in MONEY_FACTS}
        assert taken >= {f"{when} {what}" for when in ("do", "did") for what in MONEY_EFFECTS}
    found = {n: run(prepaid, n)[0].findings for n in range(1 + part, steps + 1, PARTS)}
    assert {n: findings for n, findings in found.items() if findings} == {}
