"""Goals are judged by what rounds say, and a missed one is said to be missed."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from shoal.sim.load.figures import Figures, figures
from shoal.sim.load.goals import summary, verdicts
from shoal.sim.load.oracle import Best
from shoal.sim.load.runs import Mark, Round, Task
from shoal.sim.load.tables import page

NOTHING = figures([], 0, 1_000)


def round_of(scenario: str, policy: str, rate: float = 1.0, able: int = 100, **changes: Any) -> Round:
    """A round of a hundred jobs in which only what is given is other than perfect."""
    its: Figures = replace(NOTHING, jobs=100, **changes)
    best = Best(jobs=100, most=able, planned=able, in_turn=able)
    parts = {"image-to-video": its} if scenario in ("load-test", "event") else {}
    return Round(
        task=Task(scenario, rate, 0, policy),
        figures=its,
        pipelines=parts,
        best=best,
        best_of=dict.fromkeys(parts, best),
        virtual_ms=1_000,
    )


def judged(*rounds: Round) -> list[bool]:
    """Which of the goals are met."""
    return [verdict.met for verdict in verdicts(rounds)]


def test_what_an_oracle_can_serve_must_be_served() -> None:
    assert judged(round_of("crowd", "balanced")) == [True]
    assert judged(round_of("crowd", "balanced", success_share=0.99)) == [False]
    assert judged(round_of("crowd", "balanced", able=99, success_share=0.5)) == []


def test_full_orchestrators_are_counted() -> None:
    assert judged(round_of("half-full", "balanced", full_share=0.01)) == [True]
    assert judged(round_of("half-full", "balanced", full_share=0.02)) == [False]
    assert judged(round_of("half-full", "random", full_share=0.02)) == []


def test_tails_are_compared_seed_by_seed() -> None:
    ours = round_of("uneven", "balanced", total_p99_ms=10.0)
    assert judged(ours, round_of("uneven", "bound-random", total_p99_ms=20.0)) == [True]
    assert judged(ours, round_of("uneven", "random", total_p99_ms=19.0)) == [False]


def test_overload_is_measured_against_the_peak() -> None:
    peak = round_of("overload", "balanced", 1.0, goodput_per_s=10.0)
    assert judged(peak, round_of("overload", "balanced", 3.0, goodput_per_s=9.1)) == [True] * 6
    assert judged(
        peak, round_of("overload", "balanced", 3.0, goodput_per_s=8.9, jain=0.9, broken_share=0.1)
    ) == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_mark_compares_with_the_oracle_at_its_rate() -> None:
    mark = Mark(
        scenario="event",
        policy="livepeer-early",
        pipeline="image-to-video",
        reported=0.3,
        rate=4.0,
        failed=0.3,
    )
    rounds = [round_of("event", "balanced", 4.0, able=90, success_share=0.9)]
    assert [verdict.met for verdict in verdicts(rounds, [mark])] == [True]
    text = "\n".join([*summary(rounds, [mark]), *page(rounds, [mark])])
    assert "**4 times as fast as in one hour**" in text
    assert "| yes |" in text
