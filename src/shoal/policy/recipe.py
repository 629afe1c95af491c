"""A policy is a recipe: which nodes may be chosen, how they are ranked, how one is drawn.

Every number that a choice depends on stands here with its default, so that an
experiment sweeps the same numbers as a gateway uses. A recipe decides nothing.
"""

from __future__ import annotations

from shoal.machine import Value


class Policy(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, cache_hash=True):
    """One way to choose: names of `filters.FILTERS`, of `ranks.RANKS` and of `draws.DRAWS`, and their numbers."""

    name: str = ""
    about: str = ""
    #: Where the idea comes from.
    source: str = ""
    #: Beside the filters that every policy has.
    filters: tuple[str, ...] = ()
    rank: str = "cost"
    draw: str = "near"

    #: Draw `near`: whoever scores at most this much above the best is as good as the best.
    margin_ppm: int = 0
    #: ... and among those the best by this rank is taken, "" for luck alone.
    then: str = ""
    #: Draw `sample`, and `near` with `then`: so many are drawn, and the best of them is taken.
    choices: int = 2
    #: The part of first attempts that goes to anybody who passes: else nobody would notice who has become better.
    explore_ppm: int = 0

    #: A job waits past a slow free slot for a quick one that is busy, if that ends it sooner by this part; 0: never.
    patience_ppm: int = 0
    #: How much a millisecond of loading the model counts beside one of waiting: it also drives another model out.
    cold_ppm: int = 1_000_000
    #: The part of a run that is spared where the session's last job ran.
    home_ppm: int = 300_000
    #: What a run takes longer where every slot but ours is taken, beyond those of its batch.
    crowd_ppm: int = 200_000
    #: What joining a batch that has begun is worth, as a part of the run: other nodes stay free for other models.
    company_ppm: int = 150_000
    #: Rank `cost`: what the typical price adds to the expected time, as a part of it.
    price_ppm: int = 500_000

    #: Filter `reputation`: a node whose reputation is known has at least this.
    reputation_min: float = 0.5
    #: Filter `link`: what an answer may take beside the run.
    link_ms_max: int = 100

    #: Draw `stake`: the parts of the lots that are drawn by stake and by price; the rest falls on anybody.
    stake_ppm: int = 700_000
    stake_price_ppm: int = 0
    #: ... where a price of so many wei a unit weighs 1/e of none.
    stake_price_wei: int = 100

    #: Draw `hot-cold`: from so many of the latest answers, none older than this or used more often.
    answers_max: int = 16
    answer_age_ms: int = 10_000
    answer_uses_max: int = 4
    #: ... of whom those are hot that have more in flight than this part of the others.
    hot_ppm: int = 840_000
