"""The policies that come with us, each by its name."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.policy.recipe import Policy

#: What is used where nobody says otherwise.
DEFAULT = "balanced"

_PRESETS = (
    Policy(
        name="balanced",
        about="quick, reliable and not dear: the expected time to an answer, weighed against the price",
        source="expected cost of success, with what is paid for answers only",
        filters=("in-time",),
        rank="cost",
        draw="near",
        patience_ppm=100_000,
        margin_ppm=100_000,
        explore_ppm=5_000,
    ),
    Policy(
        name="round-robin",
        about="each in its turn, whatever it is like",
        rank="turn",
        draw="near",
    ),
    Policy(
        name="random",
        about="anybody, each as likely as the other",
        rank="none",
        draw="any",
    ),
    Policy(
        name="least-loaded",
        about="whoever uses the smallest part of its slots",
        rank="load",
        draw="near",
    ),
    Policy(
        name="two-choices",
        about="the less loaded of two that are drawn",
        source="the power of two choices (Mitzenmacher 2001)",
        rank="load",
        draw="sample",
    ),
    Policy(
        name="fastest",
        about="the least expected time to an answer, whatever it costs",
        rank="time",
        draw="near",
        patience_ppm=100_000,
        margin_ppm=50_000,
    ),
    Policy(
        name="warm-first",
        about="as fastest, but loading a model counts three times: rather a slower node that has it loaded",
        rank="time",
        draw="near",
        patience_ppm=100_000,
        margin_ppm=50_000,
        cold_ppm=3_000_000,
    ),
    Policy(
        name="cheapest",
        about="the least price; of those who ask the same, the quickest",
        rank="price",
        draw="near",
        then="time",
        choices=8,
    ),
    Policy(
        name="stake-weighted",
        about="by lots: three parts in ten evenly, seven by stake",
        source="Livepeer's choice by stake, price and chance",
        rank="stake",
        draw="stake",
    ),
    Policy(
        name="prequal",
        about="of a few heard of late the quickest, those with most in flight left out",
        source="Prequal (Wydrowski, Kleinberg, Rumble and Archer, NSDI 2024)",
        rank="time",
        draw="hot-cold",
    ),
    Policy(
        name="reputable",
        about="as balanced, among those whose reputation is not bad",
        filters=("in-time", "reputation"),
        rank="cost",
        draw="near",
        patience_ppm=100_000,
        margin_ppm=100_000,
    ),
    Policy(
        name="local",
        about="the shortest way there and back; of those as near, the quickest",
        rank="link",
        draw="near",
        margin_ppm=200_000,
        then="time",
        choices=8,
    ),
)

POLICIES: Mapping[str, Policy] = {policy.name: policy for policy in _PRESETS}
