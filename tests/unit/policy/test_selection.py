"""Selection: what each policy chooses, what is said of it, and how one's own is composed."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from math import exp

import msgspec
import pytest
from msgspec.structs import replace

from candidates import node, wish, wishes
from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.money.wei import Price
from shoal.policy.draws import DRAWS
from shoal.policy.filters import FILTERS, HARD
from shoal.policy.pool import Pool
from shoal.policy.presets import DEFAULT
from shoal.policy.ranks import RANKS
from shoal.policy.recipe import Policy
from shoal.policy.selection import POLICIES, SHOWN_MAX, choose, explain, own_policies, policy
from shoal.policy.views import Candidate, Wish

#: Chi-square with 3 degrees of freedom lies above this once in a thousand times.
CHI_SQUARE_3 = 16.27


def chosen(name: str, candidates: Sequence[Candidate], job: Wish | None = None) -> str | None:
    best = choose(POLICIES[name], Pool(candidates), job or wish())
    return best.node if best is not None else None


def counted(name: str, candidates: Sequence[Candidate], jobs: int = 1_000) -> Counter[str]:
    """How often each is chosen while nothing changes."""
    pool = Pool(candidates)
    picks = (choose(POLICIES[name], pool, job) for job in wishes(jobs))
    return Counter(pick.node for pick in picks if pick is not None)


def chi_square(counts: Counter[str], expected: dict[str, float]) -> float:
    assert set(counts) <= set(expected)
    return sum((counts[name] - due) ** 2 / due for name, due in expected.items())


# Every policy


def test_the_default_is_one_of_them_and_each_says_what_it_is() -> None:
    assert DEFAULT in POLICIES
    for name, recipe in POLICIES.items():
        assert recipe.name == name
        assert recipe.about
        assert own_policies({"copy": recipe}) == {"copy": replace(recipe, name="copy")}


@pytest.mark.parametrize("name", POLICIES)
def test_nobody_is_chosen_who_may_not(name: str) -> None:
    out = [
        node("full", free=0),
        node("barred", barred=True),
        node("dear", price=Price(3)),
        node("elsewhere", region="eu"),
        node("failed", region="us"),
    ]
    job = wish(limit=Price(2), region="us", avoid=(NodeId("failed"),), now=5_000)
    assert chosen(name, [], job) is None
    assert chosen(name, out, job) is None
    assert chosen(name, out[:1], job) is None
    assert chosen(name, [*out, node("good", region="us")], job) == "good"
    many = [replace(one, node=NodeId(f"{one.node}{copy}")) for one in out[2:4] for copy in range(50)]
    assert chosen(name, [*out, *many, node("good", region="us")], job) == "good"


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_question_has_the_same_answer(name: str) -> None:
    candidates = [node(f"{number:02}", run_ms=100.0, stake=number) for number in range(30)]
    turned = Pool(reversed(candidates))
    for job in wishes(50):
        assert chosen(name, candidates, job) == getattr(choose(POLICIES[name], turned, job), "node", None)


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"stake-weighted"}))
def test_alike_nodes_get_alike_shares(name: str) -> None:
    counts = counted(name, [node(letter, run_ms=100.0) for letter in "abcd"], 2_000)
    assert chi_square(counts, dict.fromkeys("abcd", 500.0)) < CHI_SQUARE_3


# Each of them


def test_round_robin_takes_turns() -> None:
    pool, order = Pool(node(letter) for letter in "abcde"), []
    for turn, job in enumerate(wishes(20), 1):
        pick = choose(POLICIES["round-robin"], pool, job)
        assert pick is not None
        order.append(pick.node)
        pool.put(replace(pick, turn=turn))
    assert sorted(order[:5]) == list("abcde")
    assert order[:5] == order[5:10] == order[10:15] == order[15:]


def test_random_does_not_care() -> None:
    candidates = [node("a", run_ms=1.0), node("b", run_ms=1e6), node("c", free=1), node("d", success=0.1)]
    assert chi_square(counted("random", candidates), dict.fromkeys("abcd", 250.0)) < CHI_SQUARE_3


def test_least_loaded_takes_the_freest() -> None:
    assert chosen("least-loaded", [node("a", free=2), node("b", slots=10, free=6), node("c", free=1)]) == "b"


def test_two_choices_is_the_less_loaded_of_two() -> None:
    """Of four nodes the i-th best is the better of two in (4 - i) of 6 pairs; the worst never is."""
    candidates = [node("a", free=4), node("b", free=3), node("c", free=2), node("d", free=1)]
    counts = counted("two-choices", candidates, 3_000)
    assert counts["d"] == 0
    assert chi_square(counts, {"a": 1_500.0, "b": 1_000.0, "c": 500.0}) < CHI_SQUARE_3


def test_fastest_counts_the_way_the_loading_and_the_failures() -> None:
    slow = node("slow", run_ms=300.0)
    assert chosen("fastest", [slow, node("far", run_ms=100.0, link_ms=250.0)]) == "slow"
    assert chosen("fastest", [slow, node("cold", run_ms=100.0, cold_ms=250)]) == "slow"
    assert chosen("fastest", [slow, node("shaky", run_ms=100.0, success=0.3)]) == "slow"
    assert chosen("fastest", [slow, node("quick", run_ms=100.0, cold_ms=50, price=Price(1_000))]) == "quick"


def test_warm_first_puts_a_price_on_loading_and_no_wall() -> None:
    warm = node("warm", run_ms=1_000.0)
    cold = node("cold", run_ms=100.0, cold_ms=400)
    assert chosen("fastest", [warm, cold]) == "cold"
    assert chosen("warm-first", [warm, cold]) == "warm"
    assert chosen("warm-first", [replace(warm, run_ms=1_500.0), cold]) == "cold"


def test_cheapest_takes_the_quickest_of_the_cheapest() -> None:
    candidates = [
        node("dear", run_ms=1.0, price=Price(5)),
        node("slow", run_ms=900.0, price=Price(8, 2)),
        node("quick", run_ms=100.0, price=Price(4)),
    ]
    assert chosen("cheapest", candidates) == "quick"


def test_balanced_prefers_the_quick_the_reliable_and_the_cheap() -> None:
    usual = node("usual", run_ms=1_000.0, price=Price(4))
    assert chosen("balanced", [usual, node("quick", run_ms=500.0, price=Price(4))]) == "quick"
    assert chosen("balanced", [usual, node("shaky", run_ms=900.0, price=Price(4), success=0.7)]) == "usual"
    assert chosen("balanced", [usual, node("cheap", run_ms=1_000.0, price=Price(1))]) == "cheap"
    assert chosen("balanced", [usual, node("dear", run_ms=900.0, price=Price(40))]) == "usual"


def test_balanced_herds_on_nobody() -> None:
    candidates = [node(f"{number:02}", run_ms=1_000.0 + 5 * number) for number in range(20)]
    counts = counted("balanced", candidates, 2_000)
    assert len(counts) == 20
    assert max(counts.values()) < 2 * 2_000 / 20


def test_balanced_explores_a_little() -> None:
    candidates = [node("quick", run_ms=10.0), node("slow", run_ms=10_000.0)]
    explored = counted("balanced", candidates, 20_000)["slow"]
    assert 20 < explored < 90  # a half of one in two hundred
    pool = Pool(candidates)
    retried = Counter(
        pick.node for job in wishes(20_000, attempt=2) if (pick := choose(POLICIES["balanced"], pool, job))
    )
    assert retried == {"quick": 20_000}


def test_balanced_takes_whom_it_can_if_all_are_late() -> None:
    late = [node("late", run_ms=5_000.0), node("later", run_ms=9_000.0)]
    assert chosen("balanced", late, wish(left_ms=1_000)) == "late"
    cheap_and_late = [
        node("late", run_ms=1_100.0, price=Price(1)),
        node("dear", run_ms=900.0, price=Price(9)),
    ]
    assert chosen("balanced", cheap_and_late, wish(left_ms=1_000)) == "dear"


@pytest.mark.parametrize("name", ["balanced", "fastest", "warm-first", "reputable"])
def test_a_newcomer_soon_gets_one_job_and_no_flood(name: str) -> None:
    known = [node(f"{number}", run_ms=100.0 + 50 * number, slots=8, free=8) for number in range(5)]
    pool = Pool([*known, node("new", slots=8, free=8)])
    given = 0
    for job in wishes(40):
        pick = choose(POLICIES[name], pool, job)
        assert pick is not None
        if pick.node == "new":
            given += 1
            pool.put(replace(pick, free=pick.free - 1))
    assert 1 <= given <= 2


def test_stake_weighted_gives_livepeers_shares() -> None:
    stakes = {"a": 0, "b": 10, "c": 30, "d": 60}
    candidates = [node(name, stake=stake) for name, stake in stakes.items()]
    expected = {name: 2_000 * (0.3 / 4 + 0.7 * stake / 100) for name, stake in stakes.items()}
    assert chi_square(counted("stake-weighted", candidates, 2_000), expected) < CHI_SQUARE_3
    barred = [*candidates, node("x", stake=10_000, free=0), node("y", stake=10_000, price=Price(2_000_000))]
    assert chi_square(counted("stake-weighted", barred, 2_000), expected) < CHI_SQUARE_3


def test_stake_weighted_without_stakes_is_even() -> None:
    counts = counted("stake-weighted", [node(name) for name in "abcd"], 2_000)
    assert chi_square(counts, dict.fromkeys("abcd", 500.0)) < CHI_SQUARE_3


def test_stake_weighted_may_weigh_prices() -> None:
    recipe = Policy(rank="stake", draw="stake", stake_ppm=0, stake_price_ppm=1_000_000)
    pool = Pool(node(name, price=Price(wei)) for name, wei in zip("abcd", (0, 50, 100, 200), strict=True))
    counts = Counter(pick.node for job in wishes(2_000) if (pick := choose(recipe, pool, job)))
    weights = {name: exp(-wei / 100) for name, wei in zip("abcd", (0, 50, 100, 200), strict=True)}
    expected = {name: 2_000 * weight / sum(weights.values()) for name, weight in weights.items()}
    assert chi_square(counts, expected) < CHI_SQUARE_3


def test_a_margin_lies_above_the_best_where_scores_are_below_nothing() -> None:
    recipe = Policy(rank="stake", draw="near", margin_ppm=100_000)
    pool = Pool(node(name, stake=stake) for name, stake in {"a": 100, "b": 95, "c": 80}.items())
    assert {pick.node for job in wishes(50) if (pick := choose(recipe, pool, job))} == {"a", "b"}


def test_prequal_takes_the_quickest_of_the_cold() -> None:
    cold = [node(f"{number}", slots=9, free=8, run_ms=200.0 + number, heard_at=900) for number in range(9)]
    hot = node("hot", slots=9, free=1, run_ms=1.0, heard_at=900)
    assert chosen("prequal", [*cold, hot], wish(now=1_000)) == "0"


def test_prequal_uses_an_answer_so_often_and_so_long() -> None:
    quick = node("quick", run_ms=1.0, heard_at=900)
    usual = node("usual", run_ms=200.0, heard_at=900)
    assert chosen("prequal", [quick, usual], wish(now=1_000)) == "quick"
    assert chosen("prequal", [replace(quick, uses=4), usual], wish(now=1_000)) == "usual"
    assert chosen("prequal", [quick, replace(usual, heard_at=9_000)], wish(now=12_000)) == "usual"


def test_prequal_looks_at_the_latest_answers_only() -> None:
    old = node("old", run_ms=1.0, heard_at=100)
    latest = [node(f"{number:02}", run_ms=200.0 + number, heard_at=200) for number in range(16)]
    assert chosen("prequal", [old, *latest], wish(now=1_000)) == "00"
    assert chosen("prequal", [old, *latest[1:]], wish(now=1_000)) == "old"


def test_prequal_without_answers_takes_anybody() -> None:
    silent = [node(letter, run_ms=1.0 + ord(letter)) for letter in "abcd"]
    pool = Pool(silent)
    counts = Counter(
        pick.node for job in wishes(2_000, now=60_000) if (pick := choose(POLICIES["prequal"], pool, job))
    )
    assert chi_square(counts, dict.fromkeys("abcd", 500.0)) < CHI_SQUARE_3


def test_reputable_has_a_floor() -> None:
    bad = node("bad", run_ms=1.0, reputation=0.2)
    assert chosen("reputable", [bad, node("good", run_ms=500.0, reputation=0.9)]) == "good"
    assert chosen("reputable", [bad, node("worse", reputation=0.1)]) is None


def test_local_takes_the_shortest_way() -> None:
    candidates = [
        node("far", run_ms=1.0, link_ms=80.0),
        node("near", run_ms=500.0, link_ms=10.0),
        node("as near", run_ms=400.0, link_ms=11.0),
    ]
    assert chosen("local", candidates) == "as near"


def test_a_session_goes_home_if_home_is_nearly_as_good() -> None:
    home, other = node("home", run_ms=130.0), node("other", run_ms=100.0)
    job = wish(home=NodeId("home"))
    for name in ("balanced", "fastest", "warm-first"):
        assert chosen(name, [home, other], job) == "home"
        assert chosen(name, [home, other]) == "other"
        assert chosen(name, [replace(home, run_ms=200.0), other], job) == "other"
        assert chosen(name, [replace(home, free=0), other], job) == "other"
        assert chosen(name, [replace(home, price=Price(2)), other], replace(job, limit=Price(1))) == "other"
        assert chosen(name, [other, node("another", run_ms=500.0)], job) == "other"


def test_home_is_nothing_to_those_who_do_not_count_time() -> None:
    pool = Pool(node(letter, run_ms=100.0) for letter in "abcd")
    for name in ("random", "round-robin", "least-loaded"):
        picks = [choose(POLICIES[name], pool, job) for job in wishes(50, home=NodeId("a"))]
        assert len({pick.node for pick in picks if pick is not None}) == 4


# Why


def test_an_explanation_shows_terms_and_counts_the_rest() -> None:
    candidates = [
        *(node(f"{number:02}", run_ms=100.0 + 100 * number) for number in range(30)),
        node("full", free=0, price=Price(9)),
        node("dear", price=Price(9)),
        node("dearer", price=Price(10)),
        node("failed"),
    ]
    why = explain(POLICIES["fastest"], candidates, wish(limit=Price(8), avoid=(NodeId("failed"),)))
    assert (why.policy, why.chosen, why.passed) == ("fastest", "00", 30)
    assert [standing.node for standing in why.best] == [f"{number:02}" for number in range(SHOWN_MAX)]
    assert [standing.score for standing in why.best][:2] == [100.0, 200.0]
    assert {term.name: term.value for term in why.best[1].terms}["run"] == 200.0
    found = {excluded.filter: (excluded.count, excluded.example) for excluded in why.excluded}
    assert found == {"free": (1, "full"), "limit": (2, "dear"), "avoid": (1, "failed")}
    assert why.scale.quick_ms == 96.0


def test_whoever_is_chosen_is_shown() -> None:
    candidates = [node(f"{number:02}", slots=40, free=40 - number) for number in range(30)]
    outside = [
        why
        for job in wishes(60)
        if (why := explain(POLICIES["random"], candidates, job)).chosen not in {f"{n:02}" for n in range(20)}
    ]
    assert outside
    assert all(why.best[-1].node == why.chosen and len(why.best) == SHOWN_MAX + 1 for why in outside)


def test_it_says_which_filters_gave_way() -> None:
    late = [node("late", run_ms=5_000.0), node("dear", price=Price(9))]
    why = explain(POLICIES["balanced"], late, wish(left_ms=1_000, limit=Price(5)))
    assert (why.chosen, why.lifted) == ("late", ("in-time",))
    assert [excluded.filter for excluded in why.excluded] == ["limit"]
    assert explain(POLICIES["balanced"], late, wish()).lifted == ()


def test_it_says_that_it_explored() -> None:
    candidates = [node("quick", run_ms=10.0), node("slow", run_ms=10_000.0)]
    whys = [explain(POLICIES["balanced"], candidates, job) for job in wishes(2_000)]
    assert any(why.explored for why in whys)
    assert all(why.explored for why in whys if why.chosen == "slow")


def test_nobody_is_explained_too() -> None:
    why = explain(POLICIES["balanced"], [node("full", free=0)], wish())
    assert (why.chosen, why.passed, why.best) == (None, 0, ())
    assert why.excluded[0].why == HARD["free"].why


# By name


def composed(text: str) -> dict[str, Policy]:
    tables = msgspec.convert(tomllib.loads(text)["rules"]["policies"], dict[str, Policy])
    return own_policies(tables)


def test_ones_own_is_composed_in_toml() -> None:
    own = composed(
        """
        [rules.policies.frugal]
        filters = ["warm", "reputation"]
        rank = "price"
        draw = "near"
        margin_ppm = 50_000
        reputation_min = 0.7
        """
    )
    recipe = policy("frugal", own)
    assert recipe.name == "frugal"
    candidates = [node("cold", cold_ms=5), node("bad", reputation=0.6), node("good", price=Price(3))]
    pick = choose(recipe, Pool(candidates), wish())
    assert pick is not None
    assert pick.node == "good"


def test_a_preset_is_found_by_its_name() -> None:
    assert policy("random", {}) is POLICIES["random"]


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        Refused, match=r"no policy is called 'fatsest'; there is balanced, .*, frugal, .*two-choices"
    ):
        policy("fatsest", {"frugal": Policy()})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("rank = 'speed'", "policies.mine.rank names 'speed'; there is none, turn, load"),
        ("draw = 'best'", "policies.mine.draw names 'best'; there is near, any"),
        ("then = 'speed'", "policies.mine.then names 'speed'; there is"),
        ("filters = ['warm', 'new']", "policies.mine.filters names 'new'; there is free, breaker"),
        ("choices = 0", "policies.mine.choices is 0; it is at least 1"),
        ("explore_ppm = 1_000_001", "policies.mine.explore_ppm is 1000001; it can be 0 to 1000000"),
        ("margin_ppm = -1", "policies.mine.margin_ppm is -1; it can be 0 to"),
        ("reputation_min = 1.5", "policies.mine.reputation_min is 1.5; it can be 0 to 1"),
        ("stake_ppm = 600_000\nstake_price_ppm = 500_000", "more than 1000000 together"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(line: str, complaint: str) -> None:
    with pytest.raises(Refused, match=complaint):
        composed(f"[rules.policies.mine]\n{line}")


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `margin`"):
        composed("[rules.policies.mine]\nmargin = 5")


def test_our_names_are_taken() -> None:
    with pytest.raises(Refused, match=r"policies\.random: we have a policy of this name"):
        own_policies({"random": Policy()})


def test_every_part_is_used_or_tested() -> None:
    """A rank, draw or filter that nobody names is dead."""
    recipes = POLICIES.values()
    assert {recipe.draw for recipe in recipes} == set(DRAWS)
    assert {recipe.rank for recipe in recipes} == set(RANKS)
    assert {name for recipe in recipes for name in recipe.filters} < set(FILTERS)
