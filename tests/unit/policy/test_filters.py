"""Filters: who may be chosen, and that every one of them is asked."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from candidates import node, wish
from shoal.ids import NodeId
from shoal.money.wei import Price
from shoal.policy.filters import FILTERS, HARD, available, fits
from shoal.policy.recipe import Policy

#: Filter, what a node must have to be left out by it, and what the job must wish.
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("free", {"free": 0}, {}),
    ("breaker", {"barred": True, "on_trial": True}, {}),
    ("credit", {"short": True}, {}),
    ("limit", {"price": Price(11, 2)}, {"limit": Price(5)}),
    ("region", {"region": "eu"}, {"region": "us"}),
    ("region", {}, {"region": "us"}),
    ("avoid", {}, {"avoid": (NodeId("other"), NodeId("n"))}),
    ("in-time", {"link_ms": 10.0, "cold_ms": 500, "run_ms": 500.0}, {"left_ms": 1_000}),
    ("warm", {"cold_ms": 1}, {}),
    ("reputation", {"reputation": 0.49}, {}),
    ("known", {"reputation": None}, {}),
    ("link", {"link_ms": 101.0}, {}),
]

#: The same, but it passes.
PASSING: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("free", {"free": 1}, {}),
    ("breaker", {"on_trial": True}, {}),
    ("credit", {}, {}),
    ("limit", {"price": Price(10, 2)}, {"limit": Price(5)}),
    ("region", {"region": "us"}, {"region": "us"}),
    ("region", {"region": "eu"}, {}),
    ("avoid", {}, {"avoid": (NodeId("other"),)}),
    ("in-time", {"link_ms": 0.0, "cold_ms": 500, "run_ms": 500.0}, {"left_ms": 1_000}),
    ("warm", {}, {}),
    ("reputation", {"reputation": 0.5}, {}),
    ("reputation", {"reputation": None}, {}),
    ("known", {"reputation": 0.1}, {}),
    ("link", {"link_ms": 100.0}, {}),
]


def test_every_filter_has_both_cases() -> None:
    assert {name for name, _, _ in CASES} == {name for name, _, _ in PASSING} == set(FILTERS)


@pytest.mark.parametrize(("name", "known", "wanted"), CASES)
def test_it_leaves_out(name: str, known: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert FILTERS[name].excludes(node("n", **known), wish(**wanted), Policy())


@pytest.mark.parametrize(("name", "known", "wanted"), PASSING)
def test_it_lets_pass(name: str, known: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert not FILTERS[name].excludes(node("n", **known), wish(**wanted), Policy())


def test_the_quick_question_asks_all_hard_filters() -> None:
    knowns = [known for name, known, _ in (*CASES, *PASSING) if name in HARD]
    wanteds = [wanted for name, _, wanted in (*CASES, *PASSING) if name in HARD]
    for known, wanted in product(knowns, wanteds):
        candidate, job = node("n", **known), wish(**wanted)
        slow = not any(filter_.excludes(candidate, job, Policy()) for filter_ in HARD.values())
        assert (available(candidate) and fits(candidate, job)) == slow
