"""Whatever came and went in a pool, the choice is the one that a fresh look at its candidates explains."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.ids import JobId, NodeId
from shoal.money.wei import Price
from shoal.policy.filters import FILTERS, HARD
from shoal.policy.pool import Pool
from shoal.policy.ranks import RANKS
from shoal.policy.recipe import Policy
from shoal.policy.selection import POLICIES, choose, explain
from shoal.policy.views import Candidate, Wish
from shoal.units import Instant

#: One's own beside ours: parts that no preset combines.
RECIPES = (
    *POLICIES.values(),
    Policy(name="a", rank="cost", draw="hot-cold", filters=("warm", "known")),
    Policy(name="b", rank="load", draw="near", then="cost", choices=2, filters=("link",), margin_ppm=500_000),
    Policy(name="c", rank="time", draw="sample", choices=3, filters=("in-time", "reputation")),
    Policy(name="d", rank="price", draw="stake", stake_ppm=300_000, stake_price_ppm=300_000),
    Policy(name="e", rank="stake", draw="near", margin_ppm=300_000),
)
NODES = [NodeId(f"0x{number}") for number in range(12)]
REGIONS = ("", "eu", "us")
TIMES_MS = (0.0, 80.0, 100.0, 104.0, 150.0, 1_000.0)


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    slots = draw(st.integers(1, 4))
    barred = draw(st.sampled_from([False, False, False, True]))
    return Candidate(
        node=draw(st.sampled_from(NODES)),
        slots=slots,
        free=draw(st.integers(-1, slots)),
        price=draw(st.builds(Price, st.integers(0, 4), st.integers(1, 2))),
        run_ms=draw(st.sampled_from(TIMES_MS)),
        success=draw(st.sampled_from([0.0, 0.5, 0.95, 1.0])),
        cold_ms=draw(st.sampled_from([0, 0, 500])),
        batch=draw(st.integers(1, 4)),
        link_ms=draw(st.sampled_from([0.0, 10.0, 120.0])),
        region=draw(st.sampled_from(REGIONS)),
        stake=draw(st.integers(0, 3)) * 10**20,
        reputation=draw(st.sampled_from([None, 0.1, 0.9])),
        on_trial=barred,
        barred=barred,
        turn=draw(st.integers(0, 5)),
        heard_at=Instant(draw(st.sampled_from([0, 5_000, 9_000]))),
        uses=draw(st.integers(0, 5)),
    )


WISHES = st.builds(
    Wish,
    job=st.integers(0, 10**6).map(lambda number: JobId(f"job_{number}")),
    attempt=st.integers(1, 3),
    now=st.sampled_from([Instant(10_000), Instant(14_000)]),
    limit=st.builds(Price, st.integers(0, 4)),
    left_ms=st.sampled_from([90, 60_000]),
    home=st.sampled_from([NodeId(""), *NODES]),
    avoid=st.lists(st.sampled_from(NODES), max_size=3).map(tuple),
    region=st.sampled_from(REGIONS),
)
#: Something comes or changes, goes, or is asked of the pool.
STEPS = st.lists(st.one_of(candidates(), candidates(), st.sampled_from(NODES), WISHES), max_size=40)


def passing(policy: Policy, pool: Sequence[Candidate], wish: Wish, *, lifted: bool = False) -> set[NodeId]:
    names = [*HARD, *(n for n in policy.filters if not (lifted and FILTERS[n].gives_way))]
    return {c.node for c in pool if not any(FILTERS[n].excludes(c, wish, policy) for n in names)}


@pytest.mark.parametrize("policy", RECIPES, ids=lambda policy: policy.name)
@settings(max_examples=60)
@given(steps=STEPS, wish=WISHES)
def test_the_choice_is_the_explained_one(
    policy: Policy, steps: list[Candidate | NodeId | Wish], wish: Wish
) -> None:
    pool, held = Pool(), dict[NodeId, Candidate]()
    for step in [*steps, wish]:
        if isinstance(step, Candidate):
            pool.put(step)
            held[step.node] = step
        elif isinstance(step, Wish):
            chosen = choose(policy, pool, step)
            assert (chosen.node if chosen else None) == explain(policy, list(held.values()), step).chosen
        else:
            pool.drop(step)
            held.pop(step, None)
    assert {candidate.node: candidate for candidate in pool} == held


def churned(rng: Random) -> Candidate:
    slots = rng.randint(1, 4)
    return Candidate(
        node=NodeId(f"0x{rng.randrange(60):02}"),
        slots=slots,
        free=rng.randint(0, slots),
        price=Price(rng.randint(1, 9)),
        run_ms=rng.choice((0.0, rng.uniform(50.0, 500.0))),
        success=rng.choice((1.0, 0.8)),
        stake=rng.randint(0, 99),
        barred=rng.random() < 0.05,
        turn=rng.randint(0, 99),
        heard_at=Instant(rng.randint(0, 9_000)),
    )


@pytest.mark.parametrize("policy", RECIPES, ids=lambda policy: policy.name)
def test_it_is_so_after_thousands_of_changes(policy: Policy) -> None:
    """One pool asked after one to many changes, and by two policies, so that orders fall behind by all lengths."""
    rng, pool = Random(4), Pool()
    for number in range(400):
        for _ in range(rng.choice((1, 1, 2, 3, 30))):
            pool.put(churned(rng))
            if rng.random() < 0.1:
                pool.drop(churned(rng).node)
        wish = Wish(job=JobId(f"job_{number}"), now=Instant(9_000), limit=Price(7), left_ms=300)
        for one in (policy, POLICIES["balanced"]) if number % 7 == 0 else (policy,):
            chosen = choose(one, pool, wish)
            assert (chosen.node if chosen else None) == explain(one, list(pool), wish).chosen


@pytest.mark.parametrize("policy", RECIPES, ids=lambda policy: policy.name)
@settings(max_examples=60)
@given(known=st.lists(candidates(), max_size=12, unique_by=lambda candidate: candidate.node), wish=WISHES)
def test_whoever_passes_the_filters_can_be_chosen_and_nobody_else(
    policy: Policy, known: list[Candidate], wish: Wish
) -> None:
    chosen = choose(policy, Pool(known), wish)
    allowed = passing(policy, known, wish) or passing(policy, known, wish, lifted=True)
    assert (chosen is None) == (not allowed)
    assert chosen is None or chosen.node in allowed


@pytest.mark.parametrize("name", ["round-robin", "least-loaded", "fastest", "warm-first", "balanced"])
@given(known=st.lists(candidates(), max_size=12, unique_by=lambda candidate: candidate.node), wish=WISHES)
def test_near_is_near_the_best(name: str, known: list[Candidate], wish: Wish) -> None:
    """Against every score worked out by hand: the chosen one is within the margin, or at home."""
    policy, pool = POLICIES[name], Pool(known)
    rank = RANKS[policy.rank]
    why = explain(policy, known, wish)
    if why.chosen is None or why.explored:
        return
    allowed = passing(policy, known, wish, lifted=bool(why.lifted))
    scores = {c.node: rank.score(c, policy, pool.scale, False) for c in known if c.node in allowed}
    best = min(scores.values())
    at_home = rank.homely and why.chosen == wish.home
    assert at_home or scores[why.chosen] <= best * (1 + policy.margin_ppm / 1e6)


@given(
    known=st.lists(candidates(), max_size=12, unique_by=lambda candidate: candidate.node),
    wish=WISHES,
)
def test_an_explanation_counts_everybody_once(known: list[Candidate], wish: Wish) -> None:
    for policy in RECIPES:
        why = explain(policy, known, wish)
        assert why.passed + sum(excluded.count for excluded in why.excluded) == len(known)
        assert why == explain(policy, list(reversed(known)), wish)
