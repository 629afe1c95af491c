"""Shares: what each gateway may count on while more is wanted than there is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.ids import NodeId
from shoal.orchestrator.shares import Shares, deal
from shoal.units import Instant, later
from shoal.work.queue import Need

NEED: Need = ("echo", "echo")
NOW, LATER = Instant(1_000), Instant(5_000)
A, B, C = NodeId("a"), NodeId("b"), NodeId("c")

wants = st.dictionaries(st.sampled_from([A, B, C, NodeId("d")]), st.integers(0, 50))


@given(st.integers(0, 60), wants)
def test_slots_are_dealt_max_min_fairly(slots: int, wanted: dict[NodeId, int]) -> None:
    shares = deal(slots, wanted)
    assert shares.keys() == wanted.keys()
    assert sum(shares.values()) == min(slots, sum(wanted.values()))
    for node, share in shares.items():
        assert 0 <= share <= wanted[node]
        if (
            share < wanted[node]
        ):  # whoever gets less than it wants gets as much as anybody, but for the odd one
            assert share >= max(shares.values()) - 1


def test_nobody_waits_and_everything_is_anybodys() -> None:
    assert Shares().most(A, NEED, 4, {B: 3}) == 4


def test_one_slot_goes_round() -> None:
    shares = Shares()
    shares.say(A, NEED, 5, LATER)
    shares.say(B, NEED, 5, LATER)
    turns = []
    for _ in range(6):
        turn = next(node for node in (A, B) if shares.most(node, NEED, 1, {}) == 1)
        assert sum(shares.most(node, NEED, 1, {}) for node in (A, B)) == 1
        turns.append(turn)
        shares.served(turn, NEED)
    assert turns == [A, B, A, B, A, B]


def test_whoever_holds_more_than_its_share_gives_way_as_its_jobs_end() -> None:
    shares = Shares()
    shares.say(B, NEED, 9, LATER)
    shares.say(A, NEED, 9, LATER)
    held = {A: 4}
    assert (shares.most(A, NEED, 4, held), shares.most(B, NEED, 4, held)) == (2, 2)


def test_who_wants_nothing_more_keeps_what_it_has_and_the_rest_is_for_the_others() -> None:
    shares = Shares()
    shares.say(B, NEED, 9, LATER)
    held = {A: 1}
    assert (shares.most(A, NEED, 4, held), shares.most(B, NEED, 4, held)) == (1, 3)


def test_a_demand_ends_when_it_is_taken_back_not_said_again_or_its_gateway_leaves() -> None:
    shares = Shares()
    assert shares.say(A, NEED, 3, LATER)
    assert not shares.say(A, NEED, 3, later(NOW, 9_000))
    assert shares.say(A, NEED, 0, LATER)
    assert not shares.contended(NEED)
    shares.say(A, NEED, 3, LATER)
    assert not shares.forget(NOW)
    assert shares.forget(LATER)
    assert not shares
    shares.say(A, NEED, 3, LATER)
    shares.leave(A)
    assert not shares
