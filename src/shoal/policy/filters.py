"""Filters: who may be chosen at all for a job, and what is said of those who may not.

`HARD` hold whatever the policy. A policy adds others by name; of those some
give way rather than leave a job without anybody (`gives_way`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shoal.machine import Value
from shoal.policy.recipe import Policy
from shoal.policy.views import Candidate, Wish

#: True for a candidate that this job must not go to.
Excludes = Callable[[Candidate, Wish, Policy], bool]


class Filter(Value, frozen=True, kw_only=True):
    """One reason not to choose a node; `why` says it of a node that was left out."""

    why: str
    excludes: Excludes
    #: It is lifted when it would leave nobody.
    gives_way: bool = False


def available(candidate: Candidate) -> bool:
    """True if it could take a job now, whichever it is."""
    return candidate.free > 0 and not candidate.barred and not candidate.short


def fits(candidate: Candidate, wish: Wish) -> bool:
    """True if an available candidate passes every hard filter: said at once, because every choice asks."""
    price, limit = candidate.price, wish.limit
    return (
        price.wei * limit.per_units <= limit.wei * price.per_units
        and (not wish.region or candidate.region == wish.region)
        and (not wish.avoid or candidate.node not in wish.avoid)
    )


def _late(candidate: Candidate, wish: Wish, policy: Policy) -> bool:
    return candidate.link_ms + candidate.cold_ms + candidate.run_ms > wish.left_ms


def _disreputable(candidate: Candidate, wish: Wish, policy: Policy) -> bool:
    return candidate.reputation is not None and candidate.reputation < policy.reputation_min


HARD: Mapping[str, Filter] = {
    "free": Filter(why="no slot is free", excludes=lambda candidate, wish, policy: candidate.free <= 0),
    "breaker": Filter(
        why="it failed lately and is left alone for a while",
        excludes=lambda candidate, wish, policy: candidate.barred,
    ),
    "credit": Filter(
        why="it wants to be paid ahead, and that is under way",
        excludes=lambda candidate, wish, policy: candidate.short,
    ),
    "limit": Filter(
        why="it asks more than the job's limit",
        excludes=lambda candidate, wish, policy: not candidate.price.within(wish.limit),
    ),
    "region": Filter(
        why="it is not in the region asked for",
        excludes=lambda candidate, wish, policy: wish.region not in ("", candidate.region),
    ),
    "avoid": Filter(
        why="the job has failed there before",
        excludes=lambda candidate, wish, policy: candidate.node in wish.avoid,
    ),
}

FILTERS: Mapping[str, Filter] = {
    **HARD,
    "in-time": Filter(why="it would answer after the deadline", excludes=_late, gives_way=True),
    "warm": Filter(
        why="the model is not loaded there",
        excludes=lambda candidate, wish, policy: candidate.cold_ms > 0,
    ),
    "reputation": Filter(why="its reputation is below the policy's floor", excludes=_disreputable),
    "known": Filter(
        why="nobody knows it yet",
        excludes=lambda candidate, wish, policy: candidate.reputation is None,
    ),
    "link": Filter(
        why="it is farther away than the policy allows",
        excludes=lambda candidate, wish, policy: candidate.link_ms > policy.link_ms_max,
    ),
}
