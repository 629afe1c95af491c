"""Ranks: every score is what its formula makes of its terms, and orders as it says."""

from __future__ import annotations

import ast
import re

import pytest

from candidates import node
from shoal.money.wei import Price
from shoal.policy.ranks import RANKS, RUN_MS_UNKNOWN, Scale, coarse, run_ms
from shoal.policy.recipe import Policy
from shoal.policy.views import Candidate

SCALE = Scale(price=4.0, run_ms=800.0, quick_ms=100.0)
POLICY = Policy(cold_ppm=2_000_000)
NODES = (
    node("plain", run_ms=500.0),
    node("cold", run_ms=500.0, cold_ms=3_000, price=Price(9, 2)),
    node("far", run_ms=500.0, link_ms=80.0, stake=70),
    node("shaky", run_ms=500.0, success=0.5, turn=9),
    node("hopeless", run_ms=500.0, success=0.0),
    node("crowded", run_ms=500.0, free=1),
    node("in company", run_ms=500.0, free=2, batch=4),
    node("untried"),
    node("free of charge", price=Price(0)),
)


def value(formula: str, terms: dict[str, float]) -> float:
    """What the formula makes of the terms: names, numbers, and the four operations."""

    def of(part: ast.expr) -> float:
        match part:
            case ast.Name(id=name):
                return terms[name]
            case ast.Constant(value=int() as number):
                return number
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -of(operand)
            case ast.BinOp(left=left, op=operator, right=right):
                operations = {
                    ast.Add: lambda a, b: a + b,
                    ast.Sub: lambda a, b: a - b,
                    ast.Mult: lambda a, b: a * b,
                    ast.Div: lambda a, b: a / b,
                }
                return float(operations[type(operator)](of(left), of(right)))
        raise AssertionError(ast.dump(part))

    return of(ast.parse(formula, mode="eval").body)


@pytest.mark.parametrize("home", [False, True])
@pytest.mark.parametrize("candidate", NODES, ids=lambda candidate: candidate.node)
@pytest.mark.parametrize("name", RANKS)
def test_the_formula_makes_the_score_of_the_terms(name: str, candidate: Candidate, home: bool) -> None:
    rank = RANKS[name]
    terms = {term.name: term.value for term in rank.terms(candidate, POLICY, SCALE, home)}
    score = rank.score(candidate, POLICY, SCALE, home)
    assert score == pytest.approx(value(rank.formula, terms))
    assert set(re.findall("[a-z]+", rank.formula)) == set(terms), "a term that does not count"


@pytest.mark.parametrize("name", RANKS)
def test_what_a_rank_says_of_itself_is_so(name: str) -> None:
    rank = RANKS[name]
    others = (Scale(8.0, 800.0, 100.0), Scale(4.0, 900.0, 100.0), Scale(4.0, 800.0, 50.0))

    def score(candidate: Candidate, scale: Scale, home: bool) -> float:
        return rank.score(candidate, POLICY, scale, home)

    scaled = any(score(c, SCALE, False) != score(c, other, False) for c in NODES for other in others)
    homely = any(score(c, SCALE, False) != score(c, SCALE, True) for c in NODES)
    assert (rank.scaled, rank.homely) == (scaled, homely)


@pytest.mark.parametrize("name", RANKS)
def test_only_the_untried_depend_on_typical_times(name: str) -> None:
    """The pool relies on it: when those change it looks at nobody else."""
    other = Scale(price=4.0, run_ms=900.0, quick_ms=50.0)
    for candidate in NODES:
        if candidate.run_ms:
            scores = {RANKS[name].score(candidate, POLICY, scale, False) for scale in (SCALE, other)}
            assert len(scores) == 1


def test_a_newcomer_counts_as_the_quickest_until_it_has_work() -> None:
    assert run_ms(node("idle"), SCALE) == SCALE.quick_ms
    assert run_ms(node("at work", free=3), SCALE) == SCALE.run_ms
    assert run_ms(node("tried", run_ms=7.0, free=3), SCALE) == 7.0
    assert run_ms(node("first of all"), Scale()) == RUN_MS_UNKNOWN


def cost(candidate: Candidate, *, home: bool = False) -> float:
    return RANKS["cost"].score(candidate, Policy(), SCALE, home)


def test_cost_weighs_speed_success_and_price() -> None:
    plain = node("plain", run_ms=500.0, price=Price(4))
    assert cost(plain) < cost(node("slower", run_ms=600.0, price=Price(4)))
    assert cost(plain) < cost(node("shakier", run_ms=500.0, price=Price(4), success=0.9))
    assert cost(plain) < cost(node("dearer", run_ms=500.0, price=Price(5)))
    assert cost(plain) < cost(node("colder", run_ms=500.0, price=Price(4), cold_ms=10))
    assert cost(plain, home=True) < cost(plain)


def test_cost_does_not_depend_on_what_a_wei_is_worth() -> None:
    cheap, dear = (node("n", run_ms=500.0, price=Price(wei)) for wei in (4, 4_000_000))
    rich = Scale(price=4_000_000.0, run_ms=800.0, quick_ms=100.0)
    assert RANKS["cost"].score(dear, POLICY, rich, False) == pytest.approx(
        RANKS["cost"].score(cheap, POLICY, SCALE, False)
    )


def test_at_twice_the_typical_price_a_node_must_take_a_quarter_less_time() -> None:
    typical = cost(node("typical", run_ms=1_000.0, price=Price(4)))
    assert cost(node("dear and quick", run_ms=740.0, price=Price(8))) < typical
    assert cost(node("dear and not so quick", run_ms=760.0, price=Price(8))) > typical


def test_where_nobody_asks_anything_time_decides() -> None:
    free = Scale(price=0.0, run_ms=800.0, quick_ms=100.0)
    assert RANKS["cost"].score(node("n", run_ms=500.0, price=Price(0)), POLICY, free, False) > 0


def test_company_is_sought_up_to_the_batch_and_shunned_beyond() -> None:
    alone, joined, full = (node("n", run_ms=500.0, batch=2, free=free) for free in (4, 3, 1))
    assert cost(joined) < cost(alone) < cost(full)


def test_coarse_numbers_are_a_little_less_and_few() -> None:
    values = [1.0 + step / 1_000 for step in range(1_000)]
    assert all(0.8 * value <= coarse(value) <= value for value in values)
    assert len({coarse(value) for value in values}) == 4
    assert coarse(0.0) == 0.0
    assert coarse(2.0**70 * 1.3) == 2.0**70 * 1.25
