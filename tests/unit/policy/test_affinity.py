"""Homes: remembered for a while, and not more than so many."""

from __future__ import annotations

from shoal.ids import NodeId
from shoal.policy.affinity import Homes
from shoal.units import Instant

A, B, NOWHERE = NodeId("a"), NodeId("b"), NodeId("")


def at(ms: int) -> Instant:
    return Instant(ms)


def test_a_session_is_at_home_where_it_was_last() -> None:
    homes = Homes(homes_max=10, keep_ms=100)
    assert homes.home(("s",), at(0)) == NOWHERE
    homes.settle(("s",), A, at(0))
    homes.settle(("t",), A, at(0))
    homes.settle(("s",), B, at(10))
    assert homes.home(("s",), at(20)) == B
    assert homes.home(("t",), at(20)) == A


def test_a_home_is_forgotten_when_it_was_not_used() -> None:
    homes = Homes(homes_max=10, keep_ms=100)
    homes.settle(("s",), A, at(0))
    assert homes.home(("s",), at(99)) == A
    assert homes.home(("s",), at(100)) == NOWHERE
    homes.settle(("t",), A, at(100))
    assert len(homes) == 1


def test_the_one_used_longest_ago_makes_room() -> None:
    homes = Homes(homes_max=2, keep_ms=1_000)
    homes.settle(("s",), A, at(0))
    homes.settle(("t",), A, at(1))
    homes.settle(("s",), A, at(2))
    homes.settle(("u",), A, at(3))
    assert [homes.home((name,), at(4)) for name in "stu"] == [A, NOWHERE, A]
    assert len(homes) == 2


def test_many_sessions_stay_within_the_bound() -> None:
    homes = Homes(homes_max=100, keep_ms=50)
    for number in range(1_000):
        homes.settle((str(number % 300),), A, at(number))
        assert len(homes) <= 50
