"""Selection: which of the nodes with a free slot gets a job.

Pure functions over views: gateways choose orchestrators and orchestrators
choose workers by the same ones, and so does the simulator. The same policy,
candidates and wish always give the same choice, and `explain` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec.structs import replace

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.machine import Value
from shoal.money.wei import MILLION
from shoal.policy.draws import DRAWS, Passes, drawn
from shoal.policy.filters import FILTERS, HARD, Excludes, available, fits
from shoal.policy.luck import Luck
from shoal.policy.pool import Pool
from shoal.policy.presets import POLICIES
from shoal.policy.ranks import RANKS, Scale, Term
from shoal.policy.recipe import Policy
from shoal.policy.views import Candidate, Wish

__all__ = [
    "POLICIES",
    "Excluded",
    "Explanation",
    "Policy",
    "Standing",
    "choose",
    "explain",
    "own_policies",
    "policy",
]

#: So many of the best an explanation shows with all their terms.
SHOWN_MAX = 20


# The choice


def choose(policy: Policy, pool: Pool, wish: Wish) -> Candidate | None:
    """Who gets the job; None if nobody may have it now."""
    chosen = _choose(policy, pool, wish, lifted=False)
    if chosen is None and any(FILTERS[name].gives_way for name in policy.filters):
        return _choose(policy, pool, wish, lifted=True)
    return chosen


def _choose(policy: Policy, pool: Pool, wish: Wish, *, lifted: bool) -> Candidate | None:
    passes = _passes(policy, wish, lifted=lifted)
    if (only := pool.only()) is not None:
        return only if available(only) and passes(only) else None
    luck = Luck(wish.job, wish.attempt)
    if _explores(policy, wish, luck):
        return drawn(pool.by_node(), passes, luck)
    return DRAWS[policy.draw].choose(policy, pool, wish, passes, luck)


def _explores(policy: Policy, wish: Wish, luck: Luck) -> bool:
    """True for the few jobs that go to anybody; never for one that has failed, or has a home to go to."""
    return (
        policy.explore_ppm > 0
        and wish.attempt == 1
        and not wish.home
        and luck.below(MILLION) < policy.explore_ppm
    )


def _passes(policy: Policy, wish: Wish, *, lifted: bool) -> Passes:
    """Whether an available candidate passes every filter; `lifted` are those that give way."""
    excludes = _excludes(policy, lifted)
    if not excludes:
        return lambda candidate: fits(candidate, wish)
    if len(excludes) == 1:  # said apart, because it is asked of every candidate
        (excluded,) = excludes
        return lambda candidate: fits(candidate, wish) and not excluded(candidate, wish, policy)
    return lambda candidate: (
        fits(candidate, wish) and not any(test(candidate, wish, policy) for test in excludes)
    )


@lru_cache
def _excludes(policy: Policy, lifted: bool) -> tuple[Excludes, ...]:
    """What a policy's own filters exclude; looked up once, because every choice asks."""
    filters = [FILTERS[name] for name in policy.filters]
    return tuple(filter_.excludes for filter_ in filters if not (lifted and filter_.gives_way))


# Why


class Standing(Value, frozen=True):
    """How one candidate stood: its score, the least being the best, and what made it."""

    node: NodeId
    score: float
    terms: tuple[Term, ...] = ()


class Excluded(Value, frozen=True):
    """So many were left out by one filter; one of them as an example."""

    filter: str
    why: str
    count: int
    example: NodeId


class Explanation(Value, frozen=True, kw_only=True):
    """A choice with what it was made of."""

    policy: str
    chosen: NodeId | None
    #: How the score is made of the terms.
    formula: str
    #: How one of those who passed was taken; `explored` if it was one of the few that anybody may get.
    draw: str
    explored: bool
    #: Who passed every filter, in all and the best of them; the chosen one is always among these.
    passed: int
    best: tuple[Standing, ...]
    excluded: tuple[Excluded, ...]
    #: Filters that gave way because they left nobody.
    lifted: tuple[str, ...] = ()
    scale: Scale = Scale()


def explain(policy: Policy, candidates: Sequence[Candidate], wish: Wish) -> Explanation:
    """What `choose` chooses among these, and why."""
    pool = Pool(candidates)
    chosen = choose(policy, pool, wish)
    names = (*HARD, *policy.filters)
    lifted: tuple[str, ...] = ()
    passing, excluded = _sorted_out(policy, candidates, wish, names)
    if not passing and chosen is not None:
        lifted = tuple(name for name in policy.filters if FILTERS[name].gives_way)
        passing, excluded = _sorted_out(policy, candidates, wish, [n for n in names if n not in lifted])
    rank = RANKS[policy.rank]
    scores = sorted((rank.score(c, policy, pool.scale, c.node == wish.home), c.node, c) for c in passing)
    shown = scores[:SHOWN_MAX]
    shown += [entry for entry in scores[SHOWN_MAX:] if chosen is not None and entry[1] == chosen.node]
    return Explanation(
        policy=policy.name,
        chosen=chosen.node if chosen is not None else None,
        formula=rank.formula,
        draw=DRAWS[policy.draw].about,
        explored=len(pool) > 1 and _explores(policy, wish, Luck(wish.job, wish.attempt)),
        passed=len(passing),
        best=tuple(
            Standing(node, score, rank.terms(candidate, policy, pool.scale, node == wish.home))
            for score, node, candidate in shown
        ),
        excluded=excluded,
        lifted=lifted,
        scale=pool.scale,
    )


def _sorted_out(
    policy: Policy, candidates: Sequence[Candidate], wish: Wish, names: Sequence[str]
) -> tuple[list[Candidate], tuple[Excluded, ...]]:
    """Those who pass, and the rest by the first filter that leaves each out."""
    passing: list[Candidate] = []
    out: dict[str, list[NodeId]] = {}
    for candidate in candidates:
        reason = next((n for n in names if FILTERS[n].excludes(candidate, wish, policy)), None)
        if reason is None:
            passing.append(candidate)
        else:
            out.setdefault(reason, []).append(candidate.node)
    return passing, tuple(
        Excluded(name, FILTERS[name].why, len(out[name]), min(out[name])) for name in names if name in out
    )


# By name


def policy(name: str, own: Mapping[str, Policy]) -> Policy:
    """The policy of this name, one's own or one of ours. Raises `Refused` with the names that there are."""
    found = own.get(name) or POLICIES.get(name)
    if found is None:
        raise Refused(f"no policy is called {name!r}; there is {', '.join(sorted({*own, *POLICIES}))}")
    return found


def own_policies(composed: Mapping[str, Policy]) -> dict[str, Policy]:
    """One's own policies, named and found sound. Raises `Refused` with the first thing that is wrong."""
    return {name: replace(_sound(name, recipe), name=name) for name, recipe in composed.items()}


def _sound(name: str, recipe: Policy) -> Policy:
    """The recipe, if all it names exists and every number makes sense."""
    if name in POLICIES:
        raise Refused(f"policies.{name}: we have a policy of this name; choose another")
    _one_of(f"policies.{name}.rank", recipe.rank, RANKS)
    _one_of(f"policies.{name}.draw", recipe.draw, DRAWS)
    if recipe.then:
        _one_of(f"policies.{name}.then", recipe.then, RANKS)
    for filter_ in recipe.filters:
        _one_of(f"policies.{name}.filters", filter_, FILTERS)
    for key, most in _PARTS.items():
        if not 0 <= getattr(recipe, key) <= most:
            raise Refused(f"policies.{name}.{key} is {getattr(recipe, key)}; it can be 0 to {most}")
    for key in _COUNTS:
        if getattr(recipe, key) < 1:
            raise Refused(f"policies.{name}.{key} is {getattr(recipe, key)}; it is at least 1")
    if recipe.stake_ppm + recipe.stake_price_ppm > MILLION:
        raise Refused(f"policies.{name}: stake_ppm and stake_price_ppm make more than {MILLION} together")
    return recipe


#: What each number can be at the most; the least is 0.
_PARTS: Mapping[str, int] = {
    "margin_ppm": 10 * MILLION,
    "explore_ppm": MILLION,
    "patience_ppm": MILLION - 1,
    "cold_ppm": 1_000 * MILLION,
    "home_ppm": MILLION,
    "crowd_ppm": 10 * MILLION,
    "company_ppm": MILLION,
    "price_ppm": 1_000 * MILLION,
    "reputation_min": 1,
    "stake_ppm": MILLION,
    "stake_price_ppm": MILLION,
    "hot_ppm": MILLION,
}
_COUNTS = ("choices", "link_ms_max", "stake_price_wei", "answers_max", "answer_age_ms", "answer_uses_max")


def _one_of(key: str, value: str, known: Mapping[str, object]) -> None:
    if value not in known:
        raise Refused(f"{key} names {value!r}; there is {', '.join(known)}")
