"""Ranks: what a node scores for a job, the least being the best, and the terms that the score is made of.

A score depends on the node, the policy's numbers and what is typical among all
that sell the same; of the job only on whether its session is at home there.
So it can be kept until the node changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor, frexp, ldexp

from shoal.machine import Value
from shoal.policy.recipe import Policy
from shoal.policy.views import Candidate

PPM = 1e-6
#: Nobody is thought to succeed less often than this: a score must not grow without end.
SUCCESS_MIN = 0.01
#: What a job is thought to take while nobody's time is known; `coarse` leaves it as it is.
RUN_MS_UNKNOWN = 1_024.0
#: Of typical times only so many steps to a doubling count: so they do not change with every answer.
STEPS = 4


class Scale(Value, frozen=True):
    """What is typical among those who sell the same: the middle price, the middle and the least run time."""

    price: float = 0.0
    run_ms: float = RUN_MS_UNKNOWN
    quick_ms: float = RUN_MS_UNKNOWN


class Term(Value, frozen=True):
    """One part of a score."""

    name: str
    value: float
    unit: str = ""


#: A node's score, and its terms; the last argument is true where the job's session is at home.
Score = Callable[[Candidate, Policy, Scale, bool], float]
Terms = Callable[[Candidate, Policy, Scale, bool], tuple[Term, ...]]


class Rank(Value, frozen=True, kw_only=True):
    """How nodes are compared. `formula` makes the score from the terms' names."""

    about: str
    formula: str
    score: Score
    terms: Terms
    #: Its score depends on what is typical.
    scaled: bool = False
    #: A session's home counts.
    homely: bool = False


def coarse(value: float) -> float:
    """The value rounded down to one of `STEPS` steps to a doubling."""
    part, power = frexp(value)
    return ldexp(floor(part * 2 * STEPS) / (2 * STEPS), power)


def unit_price(candidate: Candidate) -> float:
    """The wei that one work unit costs."""
    return candidate.price.wei / candidate.price.per_units


def run_ms(candidate: Candidate, scale: Scale) -> float:
    """What a run takes there. Who is untried is taken for the quickest while idle, and else for typical.

    So a newcomer gets its first job at once, and not many before it has answered one.
    """
    if candidate.run_ms:
        return candidate.run_ms
    return scale.quick_ms if candidate.free == candidate.slots else scale.run_ms


def answer_ms(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> float:
    """What an answer takes: the way, the loading, the run, less what the session's home spares."""
    run = run_ms(candidate, scale)
    spared = run * policy.home_ppm * PPM if home else 0.0
    return candidate.link_ms + candidate.cold_ms * policy.cold_ppm * PPM + run - spared


def crowd(candidate: Candidate, policy: Policy) -> float:
    """The part of a run that the others there add: those that no batch holds make it longer."""
    taken = candidate.slots - candidate.free
    over = taken + 1 - candidate.batch
    if over > 0:
        return policy.crowd_ppm * PPM * over / candidate.slots
    return -policy.company_ppm * PPM if taken else 0.0


def success(candidate: Candidate) -> float:
    """The share of attempts that end well there, at the least."""
    return max(candidate.success, SUCCESS_MIN)


def _none(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> float:
    return 0.0


def _no_terms(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> tuple[Term, ...]:
    return ()


def _turn(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> float:
    return float(candidate.turn)


def _turn_terms(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> tuple[Term, ...]:
    return (Term("turn", candidate.turn),)


def _load(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> float:
    return (candidate.slots - candidate.free) / candidate.slots


def _load_terms(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> tuple[Term, ...]:
    return (Term("taken", candidate.taken, "slots"), Term("slots", candidate.slots, "slots"))


def _time(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> float:
    return answer_ms(candidate, policy, scale, home) / success(candidate)


def _time_terms(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> tuple[Term, ...]:
    run = run_ms(candidate, scale)
    return (
        Term("link", candidate.link_ms, "ms"),
        Term("cold", candidate.cold_ms * policy.cold_ppm * PPM, "ms"),
        Term("run", run, "ms"),
        Term("home", run * policy.home_ppm * PPM if home else 0.0, "ms"),
        Term("success", success(candidate)),
    )


def _cost(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> float:
    run = run_ms(candidate, scale)
    extra = crowd(candidate, policy) - (policy.home_ppm * PPM if home else 0.0)
    time = candidate.link_ms + candidate.cold_ms * policy.cold_ppm * PPM + run * (1.0 + extra)
    return time / success(candidate) * (1.0 + _dear(candidate, policy, scale))


def _dear(candidate: Candidate, policy: Policy, scale: Scale) -> float:
    if not scale.price:
        return 0.0
    return policy.price_ppm * PPM * candidate.price.wei / candidate.price.per_units / scale.price


def _cost_terms(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> tuple[Term, ...]:
    *times, odds = _time_terms(candidate, policy, scale, home)
    return (
        *times,
        Term("crowd", run_ms(candidate, scale) * crowd(candidate, policy), "ms"),
        odds,
        Term("dear", _dear(candidate, policy, scale)),
    )


def _price(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> float:
    return unit_price(candidate)


def _price_terms(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> tuple[Term, ...]:
    return (Term("price", unit_price(candidate), "wei a unit"),)


def _stake(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> float:
    return -float(candidate.stake)


def _stake_terms(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> tuple[Term, ...]:
    return (Term("stake", candidate.stake, "wei"),)


def _link(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> float:
    return candidate.link_ms


def _link_terms(candidate: Candidate, policy: Policy, scale: Scale, home: bool) -> tuple[Term, ...]:
    return (Term("link", candidate.link_ms, "ms"),)


RANKS: Mapping[str, Rank] = {
    "none": Rank(about="all are alike", formula="0", score=_none, terms=_no_terms),
    "turn": Rank(about="whoever was chosen longest ago", formula="turn", score=_turn, terms=_turn_terms),
    "load": Rank(
        about="the part of its slots in use", formula="taken / slots", score=_load, terms=_load_terms
    ),
    "time": Rank(
        about="the expected time to an answer, tries that fail included",
        formula="(link + cold + run - home) / success",
        score=_time,
        terms=_time_terms,
        scaled=True,
        homely=True,
    ),
    "cost": Rank(
        about="the expected time to an answer, made longer by the price beside the typical one",
        formula="(link + cold + run - home + crowd) / success * (1 + dear)",
        score=_cost,
        terms=_cost_terms,
        scaled=True,
        homely=True,
    ),
    "price": Rank(about="the price of a work unit", formula="price", score=_price, terms=_price_terms),
    "stake": Rank(about="the largest stake", formula="-stake", score=_stake, terms=_stake_terms),
    "link": Rank(about="what an answer takes beside the run", formula="link", score=_link, terms=_link_terms),
}
