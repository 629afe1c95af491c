"""What the gateway is to reach under load, and whether these rounds show it.

A goal is judged by the mean over the seeds. One that the rounds say nothing
about is left out; one that is missed is said as plainly as one that is met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from shoal.machine import Value
from shoal.policy.presets import DEFAULT
from shoal.sim.load.figures import interval, mean
from shoal.sim.load.runs import Mark, Round
from shoal.sim.load.tables import Read, percent, plain, rate_text, seconds, table

#: What is bound at arrival, and therefore waits behind its own node.
BOUND = ("bound-round-robin", "bound-random")


class Verdict(Value, frozen=True):
    """One goal: what is aimed at, what came of it, and whether that is enough."""

    goal: str
    found: str
    met: bool


Judge = Callable[[Sequence[Round]], Iterator[Verdict]]


def verdicts(rounds: Sequence[Round], marks: Sequence[Mark] = ()) -> list[Verdict]:
    """Every goal that these rounds say something about."""
    found: list[Verdict] = []
    for name, judge in _JUDGES.items():
        its = [round_ for round_ in rounds if round_.task.scenario == name]
        if any(round_.task.policy == DEFAULT for round_ in its):
            found += judge(its)
    return [*found, *_at_marks(rounds, marks)]


def summary(rounds: Sequence[Round], marks: Sequence[Mark] = ()) -> list[str]:
    """The verdicts as a table, if there are any."""
    rows = [(v.goal, v.found, "yes" if v.met else "**no**") for v in verdicts(rounds, marks)]
    return [*table([f"goal, for `{DEFAULT}`", "found", "met"], rows), ""] if rows else []


def _runs(rounds: Sequence[Round], policy: str = DEFAULT, rate: float | None = None) -> list[Round]:
    """A contender's rounds, by seed."""
    found = [r for r in rounds if r.task.policy == policy and rate in (None, r.task.rate)]
    return sorted(found, key=lambda r: (r.task.rate, r.task.seed))


def _mean(rounds: Sequence[Round], read: Read) -> float:
    return mean([read(round_.figures) for round_ in rounds])


def _all_that_can_be(rounds: Sequence[Round]) -> Iterator[Verdict]:
    """Where an oracle that serves in turn loses nothing, nothing is lost."""
    whole = [r for r in _runs(rounds) if r.best.in_turn_share == 1.0]
    if whole:
        title, count = whole[0].task.scenario, len(whole)
        lost = sum(round((1 - r.figures.success_share) * r.figures.jobs) for r in whole)
        jobs = sum(r.figures.jobs for r in whole)
        goal = f"{title}: every job in time wherever an oracle that serves in turn manages that"
        yield Verdict(goal, f"{lost} of {jobs:,} jobs lost in {count} such rounds", lost == 0)


def _full(rounds: Sequence[Round]) -> Iterator[Verdict]:
    found = interval([r.figures.full_share for r in _runs(rounds)])
    yield Verdict(
        "half-full: at most 1 % of orders meet a full orchestrator", percent(found), found.mean <= 0.01
    )


def _tail(rounds: Sequence[Round]) -> Iterator[Verdict]:
    ours = _runs(rounds)
    for rival in (*BOUND, "round-robin", "random"):
        theirs = _runs(rounds, rival)
        if len(theirs) == len(ours):
            ratios = [
                their.figures.total_p99_ms / our.figures.total_p99_ms
                for our, their in zip(ours, theirs, strict=True)
            ]
            goal = f"uneven: p99 at least 2 times better than {rival}"
            if rival not in BOUND:
                goal += ", which binds late too"
            yield Verdict(goal, f"{plain(interval(ratios))} times", mean(ratios) >= 2)


def _overload(rounds: Sequence[Round]) -> Iterator[Verdict]:
    rates = sorted({r.task.rate for r in _runs(rounds)})
    thrice = _runs(rounds, rate=3.0)
    if not thrice:
        return
    peak = max(_mean(_runs(rounds, rate=rate), lambda f: f.goodput_per_s) for rate in rates)
    kept = interval([r.figures.goodput_per_s / peak for r in thrice])
    if len(rates) > 1:
        yield Verdict(
            "overload: goodput at 3 times capacity is at least 90 % of the peak",
            percent(kept),
            kept.mean >= 0.9,
        )
    yield from _at_three(thrice)


def _at_three(thrice: Sequence[Round]) -> Iterator[Verdict]:
    def one(goal: str, read: Read, write: Callable[..., str], enough: Callable[[float], bool]) -> Verdict:
        found = interval([read(r.figures) for r in thrice])
        return Verdict(f"{thrice[0].task.scenario}: {goal}", write(found), enough(found.mean))

    yield one("Jain's index of the tenants at least 0.95", lambda f: f.jain, plain, lambda v: v >= 0.95)
    yield one("retries at most 10 % of first orders", lambda f: f.retry_share, percent, lambda v: v <= 0.1)
    yield one(
        "every refusal says when to come again", lambda f: f.retry_after_share, percent, lambda v: v == 1
    )
    yield one("refusals within 50 ms (p99)", lambda f: f.refused_p99_ms, seconds, lambda v: v <= 50)
    yield one(
        "at most 1 % of what was taken on is broken", lambda f: f.broken_share, percent, lambda v: v <= 0.01
    )


_JUDGES: dict[str, Judge] = {
    "load-test": _all_that_can_be,
    "event": _all_that_can_be,
    "half-full": _full,
    "uneven": _tail,
    "flapping": _all_that_can_be,
    "overload": _overload,
    "flood": _overload,
    "crowd": _all_that_can_be,
    "waves": _all_that_can_be,
    "city": _all_that_can_be,
}


def _at_marks(rounds: Sequence[Round], marks: Sequence[Mark]) -> Iterator[Verdict]:
    """Where Livepeer's early gateway fails as often as was reported: what ours does with the same jobs."""
    for mark in marks:
        its = [r for r in rounds if (r.task.scenario, r.task.rate) == (mark.scenario, mark.rate)]
        ours = _runs(its)
        if mark.rate is None or not ours:
            continue
        served = [r.pipelines[mark.pipeline].success_share for r in ours]
        able = [r.best_of[mark.pipeline].in_turn_share for r in ours]
        goal = (
            f"{mark.scenario} at rate {rate_text(mark.rate)}, where `{mark.policy}` fails at {mark.pipeline} "
            f"by {100 * mark.reported:.1f} %: as many in time as by an oracle that serves in turn"
        )
        found = f"{percent(interval(served))} of jobs, the oracle {percent(interval(able))}"
        yield Verdict(goal, found, mean(served) >= mean(able) - 1e-9)
