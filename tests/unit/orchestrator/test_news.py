"""Who hears of capacity and when: once for many changes, seldom if there are many to tell, everybody in the end."""

from __future__ import annotations

from shoal.ids import NodeId
from shoal.orchestrator.news import News
from shoal.units import Instant, later

NOW = Instant(1_000_000)
G1, G2 = NodeId("g1"), NodeId("g2")


def news(gateways: int, words_per_s_max: int = 1_000) -> News:
    made = News(words_per_s_max)
    for number in range(1, gateways + 1):
        made.meet(NodeId(f"g{number}"))
    return made


def test_who_brought_a_change_about_knows_of_it() -> None:
    told = news(2)
    assert told.change(but=G1)
    assert told.due(NOW) == [G2]
    assert not told.waits


def test_who_changed_something_may_have_missed_what_another_changed() -> None:
    told = news(2)
    told.change(but=G1)
    told.change(but=G2)
    assert told.due(NOW) == [G1, G2]


def test_alone_a_gateway_hears_nothing_of_its_own_doing() -> None:
    told = news(1)
    assert not told.change(but=G1)
    assert not told.waits
    assert not told.due(NOW)


def test_many_changes_are_one_piece_of_news() -> None:
    told = news(3)
    for _ in range(1_000):
        told.change(but=G1)
    assert told.due(NOW) == [G2, NodeId("g3")]
    assert told.due(later(NOW, 1_000)) == []


def test_no_more_words_leave_than_may_and_nobody_is_forgotten() -> None:
    told = news(100, words_per_s_max=500)
    said = 0
    for ms in range(10_000):
        for _ in range(20):
            told.change(but=G1)
        said += len(told.due(later(NOW, ms)))
    assert 4_900 <= said <= 5_300
    assert told.waits
    assert len(told.due(later(NOW, 10_500))) == 99
    assert not told.waits


def test_a_gateway_that_left_is_not_told_and_one_that_came_knows_all() -> None:
    told = news(2)
    told.change()
    told.leave(G1)
    told.meet(NodeId("g3"))
    assert told.due(NOW) == [G2]
