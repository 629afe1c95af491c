"""Draws: which one of those who may be chosen is, by their ranks and by luck.

Nothing here looks at more candidates than it must; only what excludes many of
them (a low limit, a region) makes a draw look further.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import exp
from operator import itemgetter

from shoal.ids import NodeId
from shoal.machine import Value
from shoal.money.wei import MILLION
from shoal.policy.filters import available
from shoal.policy.luck import Luck
from shoal.policy.pool import Entry, Pool
from shoal.policy.ranks import PPM, RANKS, unit_price
from shoal.policy.recipe import Policy
from shoal.policy.views import Candidate, Wish

#: So often a lot that falls on somebody who is excluded is drawn again, before the excluded are sorted out.
TRIES = 8
#: ... and so often one that is weighed against a chance.
LOTS_MAX = 64

#: The order in which whoever weighs most comes first.
_BY_STAKE = Policy(name="stake", rank="stake")

#: True for a candidate that passes every filter.
Passes = Callable[[Candidate], bool]
Choose = Callable[[Policy, Pool, Wish, Passes, Luck], Candidate | None]


class Draw(Value, frozen=True, kw_only=True):
    """How one is taken."""

    about: str
    choose: Choose


def drawn(
    entries: Sequence[Entry], passes: Passes, luck: Luck, low: int = 0, high: int = -1
) -> Candidate | None:
    """One of the entries from `low` to before `high` that pass, each as likely as the other."""
    high = len(entries) if high < 0 else high
    for _ in range(TRIES if high > low else 0):
        candidate = entries[low + luck.below(high - low)][2]
        if passes(candidate):
            return candidate
    passing = [entry[2] for entry in entries[low:high] if passes(entry[2])]
    return passing[luck.below(len(passing))] if passing else None


def few(
    entries: Sequence[Entry], count: int, passes: Passes, luck: Luck, low: int = 0, high: int = -1
) -> list[Candidate]:
    """So many of the entries from `low` to before `high` that pass, or all if they are fewer, as they were drawn."""
    high = len(entries) if high < 0 else high
    picked: dict[NodeId, Candidate] = {}
    for _ in range(TRIES * count if high - low > count else 0):
        candidate = entries[low + luck.below(high - low)][2]
        if passes(candidate):
            picked[candidate.node] = candidate
            if len(picked) == count:
                return list(picked.values())
    passing = [entry[2] for entry in entries[low:high] if entry[1] not in picked and passes(entry[2])]
    while passing and len(picked) < count:
        candidate = passing.pop(luck.below(len(passing)))
        picked[candidate.node] = candidate
    return list(picked.values())


def near(policy: Policy, pool: Pool, wish: Wish, passes: Passes, luck: Luck) -> Candidate | None:
    """The best, or by luck one that is nearly as good; the session's home if it is nearly as good."""
    entries = pool.by_rank(policy)
    first = _first(entries, passes)
    if first < 0:
        return None
    best = entries[first][0]
    bound = best + abs(best) * policy.margin_ppm * PPM
    if wish.home and (home := _at_home(policy, pool, wish, passes, bound)) is not None:
        return home
    if first + 1 == len(entries) or entries[first + 1][0] > bound:
        return entries[first][2]
    end = bisect_right(entries, bound, lo=first, key=itemgetter(0))
    if policy.then:
        drawn_few = few(entries, policy.choices, passes, luck, first, end)
        return _best(policy.then, policy, pool, wish, drawn_few, luck)
    return drawn(entries, passes, luck, first, end)


def _first(entries: Sequence[Entry], passes: Passes) -> int:
    """The place of the first that passes, -1 if none does."""
    for place, entry in enumerate(entries):
        if passes(entry[2]):
            return place
    return -1


def _at_home(policy: Policy, pool: Pool, wish: Wish, passes: Passes, bound: float) -> Candidate | None:
    rank = RANKS[policy.rank]
    home = pool.get(wish.home)
    if not rank.homely or home is None or not available(home) or not passes(home):
        return None
    return home if rank.score(home, policy, pool.scale, True) <= bound else None


def anybody(policy: Policy, pool: Pool, wish: Wish, passes: Passes, luck: Luck) -> Candidate | None:
    """Anybody, each as likely as the other."""
    return drawn(pool.by_node(), passes, luck)


def sample(policy: Policy, pool: Pool, wish: Wish, passes: Passes, luck: Luck) -> Candidate | None:
    """The best of `choices` that are drawn."""
    return _best(policy.rank, policy, pool, wish, few(pool.by_node(), policy.choices, passes, luck), luck)


def _best(
    rank: str, policy: Policy, pool: Pool, wish: Wish, candidates: Sequence[Candidate], luck: Luck
) -> Candidate | None:
    """The best by this rank, by luck if there are several."""
    if not candidates:
        return None
    score, scale = RANKS[rank].score, pool.scale
    scores = [score(candidate, policy, scale, candidate.node == wish.home) for candidate in candidates]
    best = min(scores)
    equals = [candidate for candidate, found in zip(candidates, scores, strict=True) if found <= best]
    return equals[luck.below(len(equals))] if len(equals) > 1 else equals[0]


def by_stake(policy: Policy, pool: Pool, wish: Wish, passes: Passes, luck: Luck) -> Candidate | None:
    """One by the shares of stake, price and pure luck that the policy gives."""
    entries = pool.by_rank(_BY_STAKE)
    if not entries:
        return None
    lot = luck.below(MILLION)
    chosen: Candidate | None = None
    if lot < policy.stake_ppm:
        chosen = _weighted(entries, lambda c: float(c.stake), entries[0][2].stake, passes, luck)
    elif lot < policy.stake_ppm + policy.stake_price_ppm:
        chosen = _weighted(entries, lambda c: exp(-unit_price(c) / policy.stake_price_wei), 1, passes, luck)
    return chosen or drawn(entries, passes, luck)


def _weighted(
    entries: Sequence[Entry],
    weight: Callable[[Candidate], float],
    most: float,
    passes: Passes,
    luck: Luck,
) -> Candidate | None:
    """One that passes, each as likely as it weighs, which is at `most` so much; None if they weigh nothing.

    A lot that falls on somebody counts with the chance of their weight: so few need to be looked at.
    """
    for _ in range(LOTS_MAX if most > 0 else 0):
        candidate = entries[luck.below(len(entries))][2]
        if luck.share() * most < weight(candidate) and passes(candidate):
            return candidate
    passing = [entry[2] for entry in entries if passes(entry[2])]
    sums = list(accumulate(weight(candidate) for candidate in passing))
    return passing[bisect_right(sums, luck.share() * sums[-1])] if sums and sums[-1] > 0 else None


def hot_cold(policy: Policy, pool: Pool, wish: Wish, passes: Passes, luck: Luck) -> Candidate | None:
    """Of those heard of late, without the hot ones, the best; anybody if nobody was."""
    answers: list[Candidate] = []
    for _, _, candidate in pool.by_news():
        if wish.now - candidate.heard_at > policy.answer_age_ms or len(answers) == policy.answers_max:
            break
        if candidate.uses < policy.answer_uses_max and passes(candidate):
            answers.append(candidate)
    if not answers:
        return drawn(pool.by_node(), passes, luck)
    flights = sorted(candidate.taken for candidate in answers)
    hottest = flights[min(len(flights) - 1, len(flights) * policy.hot_ppm // MILLION)]
    cold = [candidate for candidate in answers if candidate.taken <= hottest]
    return _best(policy.rank, policy, pool, wish, cold, luck)


DRAWS: Mapping[str, Draw] = {
    "near": Draw(about="one of those that score within a margin of the best", choose=near),
    "any": Draw(about="anybody, each as likely as the other", choose=anybody),
    "sample": Draw(about="the best of a few that are drawn", choose=sample),
    "stake": Draw(about="by lots that are dealt out by stake, by price and evenly", choose=by_stake),
    "hot-cold": Draw(about="of those heard of late the best that is not hot", choose=hot_cold),
}
