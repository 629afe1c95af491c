"""The pool: its orders, what is typical, and that changes cost little."""

from __future__ import annotations

from candidates import node
from shoal.ids import NodeId
from shoal.money.wei import Price
from shoal.policy.pool import LOG_MAX, ORDERS_MAX, Entry, Pool
from shoal.policy.presets import POLICIES
from shoal.policy.ranks import RUN_MS_UNKNOWN, Scale
from shoal.policy.recipe import Policy

FASTEST = POLICIES["fastest"]


def names(entries: list[Entry]) -> list[str]:
    return [entry[1] for entry in entries]


def test_it_holds_what_was_put_last() -> None:
    pool = Pool([node("a"), node("b")])
    pool.put(node("a", free=1))
    pool.drop(NodeId("b"))
    pool.drop(NodeId("never there"))
    assert list(pool) == [node("a", free=1)]
    assert len(pool) == 1
    assert pool.get(NodeId("a")) == pool.only() == node("a", free=1)
    assert pool.get(NodeId("b")) is None


def test_only_is_nobody_among_many() -> None:
    assert Pool().only() is None
    assert Pool([node("a"), node("b")]).only() is None


def test_orders_leave_out_who_cannot_take_a_job() -> None:
    pool = Pool([node("a", free=0), node("b", barred=True), node("c"), node("d", on_trial=True)])
    assert names(pool.by_node()) == ["c", "d"]
    assert names(pool.by_rank(FASTEST)) == ["c", "d"]


def test_an_order_follows_every_change() -> None:
    pool = Pool(node(f"{number:02}", run_ms=100.0 + number) for number in range(20))
    assert names(pool.by_rank(FASTEST))[0] == "00"
    pool.put(node("00", run_ms=500.0))
    pool.put(node("07", run_ms=1.0))
    assert names(pool.by_rank(FASTEST))[:2] == ["07", "01"]
    assert names(pool.by_rank(FASTEST))[-1] == "00"
    pool.put(node("07", run_ms=1.0, free=0))
    pool.drop(NodeId("01"))
    assert names(pool.by_rank(FASTEST))[:2] == ["02", "03"]
    pool.put(node("07", run_ms=1.0))
    assert names(pool.by_rank(FASTEST))[:2] == ["07", "02"]


def test_an_order_that_missed_much_is_made_anew() -> None:
    pool = Pool(node(f"{number:02}", run_ms=100.0 + number) for number in range(20))
    pool.by_rank(FASTEST)
    pool.by_node()
    for change in range(2 * LOG_MAX):
        pool.put(node("05", run_ms=1.0 + change % 2))
        if change == LOG_MAX:
            pool.drop(NodeId("03"))
        pool.by_node()
    assert names(pool.by_rank(FASTEST))[0] == "05"
    assert names(pool.by_rank(FASTEST)) == names(Pool(pool).by_rank(FASTEST))


def test_news_come_latest_first() -> None:
    pool = Pool([node("a", heard_at=5), node("b", heard_at=9), node("c", heard_at=5)])
    assert names(pool.by_news()) == ["b", "a", "c"]


def test_what_is_typical_counts_those_without_a_free_slot() -> None:
    pool = Pool(node(str(ms), run_ms=float(ms), price=Price(ms), free=0) for ms in (64, 128, 256))
    assert pool.scale == Scale(price=128.0, run_ms=128.0, quick_ms=64.0)
    pool.put(node("new"))
    assert pool.scale.run_ms == 128.0
    pool.drop(NodeId("64"))
    assert pool.scale.quick_ms == 128.0


def test_nothing_is_typical_of_nobody() -> None:
    pool = Pool([node("a", run_ms=5.0)])
    pool.drop(NodeId("a"))
    assert pool.scale == Scale(price=0.0, run_ms=RUN_MS_UNKNOWN, quick_ms=RUN_MS_UNKNOWN)
    assert pool.by_rank(FASTEST) == []


def test_a_newcomer_moves_with_what_is_typical() -> None:
    pool = Pool([node("new"), *(node(f"{number:02}", run_ms=200.0 + number) for number in range(20))])
    assert names(pool.by_rank(FASTEST))[0] == "new"
    pool.put(node("00", run_ms=100.0))
    assert pool.by_rank(FASTEST)[0][:2] == (96.0, "new")
    pool.put(node("new", free=3))
    assert names(pool.by_rank(FASTEST))[0] == "00"


def test_a_new_typical_price_changes_every_score() -> None:
    balanced = POLICIES["balanced"]
    pool = Pool(node(str(number), run_ms=100.0, price=Price(64)) for number in range(9))
    before = pool.by_rank(balanced)[0][0]
    for number in range(5):
        pool.put(node(str(number), run_ms=100.0, price=Price(32)))
        pool.by_rank(balanced)  # one change at a time
    assert pool.scale.price == 32.0
    scores = {entry[1]: entry[0] for entry in pool.by_rank(balanced)}
    assert scores["0"] == before
    assert scores["8"] > before


def test_nothing_is_kept_of_those_who_are_gone() -> None:
    pool = Pool()
    for number in range(3 * LOG_MAX):
        pool.put(node(str(number), run_ms=float(number % 2)))
        pool.drop(NodeId(str(number)))
    assert (len(pool), len(pool._untried), pool.scale) == (0, 0, Pool().scale)
    assert len(pool._log) <= LOG_MAX


def test_few_orders_are_kept() -> None:
    pool = Pool([node("a", run_ms=5.0), node("b", run_ms=3.0)])
    policies = [Policy(name=str(number), rank="time") for number in range(3 * ORDERS_MAX)]
    for policy in policies:
        assert names(pool.by_rank(policy)) == ["b", "a"]
        assert names(pool.by_rank(policies[0])) == ["b", "a"]
    assert len(pool._orders) == ORDERS_MAX
