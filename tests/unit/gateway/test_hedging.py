"""Hedging: a second node is asked when the first takes long, the first answer counts, and it alone is paid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from market import Market
from shoal.errors import Lost
from shoal.ids import NodeId
from shoal.machine import Effect, Fact
from shoal.wire import words
from shoal.work.lifecycle import Hedged, Phase

#: Both nodes have run twenty jobs of a second each: their spread is nothing, and a hedge is due after about that.
RUN_MS = 1_000


def market(**rules: object) -> Market:
    """Two nodes that take a second for a job."""
    made = Market(**rules)
    for name in ("o1", "o2"):
        made.sells(name, 1)
        made.learns(name, RUN_MS, times=10)
        made.sells(name, 1)
    return made


def hedged(**wanted: object) -> Market:
    """A job that runs at both."""
    made = market()
    made.submit("job", **{"hedge": True, **wanted})
    made.after(2 * RUN_MS)
    assert made.job("job").hedge == 2
    assert len(made.machine.hedges) == 1
    return made


def first_and_second(made: Market) -> tuple[str, str]:
    first, second = made.job("job").attempts
    return first.orchestrator, second.orchestrator


def test_a_second_node_is_asked_once_the_first_takes_longer_than_almost_all_do() -> None:
    made = market()
    made.submit("job", hedge=True)
    made.after(RUN_MS - 250)
    assert made.job("job").hedge == 0
    made.after(500)
    assert made.job("job").hedge == 2
    assert sorted(first_and_second(made)) == ["o1", "o2"]
    made.after(20 * RUN_MS)
    assert len(made.job("job").attempts) == 2  # and no third


def test_a_second_attempt_waits_longer_where_times_differ_more() -> None:
    made = Market()
    for name in ("o1", "o2"):
        made.sells(name, 1)
        for run_ms in (500, 1_500) * 5:
            made.learns(name, run_ms, times=1)
    made.submit("job", hedge=True)
    made.after(1_500)
    assert made.job("job").hedge == 0
    made.after(1_500)
    assert made.job("job").hedge == 2


def test_who_did_not_ask_for_it_is_hedged_only_where_the_first_seems_to_hang() -> None:
    made = market()
    made.submit("job")
    made.after(3 * RUN_MS - 250)
    assert made.job("job").hedge == 0
    made.after(2 * RUN_MS)
    assert made.job("job").hedge == 2


def test_a_node_that_hung_while_another_answered_has_failed() -> None:
    made = market()
    made.submit("job")
    made.after(5 * RUN_MS)
    hung, quick = first_and_second(made)
    made.answers("job", epoch=2)
    outcomes = {
        name: made.machine.sellers.standings[NodeId(name)].stocks[made.need].outcomes
        for name in (hung, quick)
    }
    assert outcomes[hung].bad > 0
    assert not outcomes[quick].bad


def test_a_stream_is_not_hedged() -> None:
    made = market()
    made.submit("job", hedge=True, stream=True)
    made.after(20 * RUN_MS)
    assert len(made.job("job").attempts) == 1


def test_nobody_is_asked_twice_while_others_wait() -> None:
    made = market()
    made.submit("job", hedge=True, limit=1)
    made.sells("o1", 1, price=5)
    made.sells("o2", 1, price=5)
    other = "o2" if made.at("job") == "o1" else "o1"
    made.submit("fills", limit=9)
    made.submit("waits", limit=9)
    made.after(10 * RUN_MS)
    assert (made.job("job").hedge, made.at("fills"), made.at("waits")) == (0, other, "")


def test_there_is_no_second_attempt_where_there_is_no_second_node() -> None:
    made = market()
    made.leaves("o2")
    made.submit("job", hedge=True)
    made.sells("o1", 2)
    made.after(10 * RUN_MS)
    assert made.job("job").hedge == 0


def test_a_second_attempt_that_would_end_after_the_deadline_is_not_begun() -> None:
    made = market()
    made.submit("job", hedge=True, deadline_ms=RUN_MS + RUN_MS // 2)
    made.after(RUN_MS + 250)
    assert made.job("job").hedge == 0


def test_a_second_attempt_is_paid_for_by_the_budget() -> None:
    made = market(retry_burst=0, retry_share_ppm=40_000)  # twenty jobs have saved for less than one
    made.submit("job", hedge=True)
    made.after(10 * RUN_MS)
    assert made.job("job").hedge == 0


@pytest.mark.parametrize("winner", [1, 2])
def test_the_first_answer_counts_and_the_other_is_cancelled_and_not_paid(winner: int) -> None:
    made = hedged()
    nodes = first_and_second(made)
    before = dict(made.machine.ledger.balances)
    out = made.answers("job", epoch=winner)
    paid, unpaid = nodes[winner - 1], nodes[2 - winner]
    assert made.told(out, words.Accept) == [paid]
    assert made.told(out, words.Cancel) == [unpaid]
    job = made.job("job")
    assert (job.phase, job.orchestrator, job.epoch) == (Phase.DONE, paid, winner)
    balances = made.machine.ledger.balances
    assert balances[f"orchestrator:{paid}"] == before[f"orchestrator:{paid}"] + 1
    assert balances[f"orchestrator:{unpaid}"] == before[f"orchestrator:{unpaid}"]
    assert not made.machine.leases
    assert not made.machine.hedges


def test_the_answer_of_the_slower_one_comes_too_late() -> None:
    made = hedged()
    made.answers("job", epoch=2)
    balances = dict(made.machine.ledger.balances)
    made.answers("job", epoch=1)
    assert made.machine.ledger.balances == balances


@pytest.mark.parametrize(("falls", "stays"), [(1, 2), (2, 1)])
def test_when_one_of_two_falls_the_other_goes_on_and_can_answer(falls: int, stays: int) -> None:
    made = hedged()
    nodes = first_and_second(made)
    out = made.fails("job", epoch=falls)
    assert made.told(out, words.Cancel) == [nodes[falls - 1]]
    job = made.job("job")
    assert (job.phase, job.epoch, job.hedge, job.failures) == (Phase.LEASED, stays, 0, 1)
    assert made.at("job") == nodes[stays - 1]
    made.answers("job", epoch=stays)
    assert made.job("job").phase is Phase.DONE


def test_when_both_fall_the_job_waits_again() -> None:
    made = hedged()
    made.fails("job", epoch=1)
    made.fails("job", epoch=2)
    assert made.job("job").failures == 2
    assert made.job("job").epoch == 3


def test_a_silent_one_of_two_is_given_up_and_the_other_goes_on() -> None:
    made = hedged()
    first, second = first_and_second(made)
    made.leaves(first)
    made.after(made.rules.reconnect_ms)
    job = made.job("job")
    assert (job.epoch, job.hedge, made.at("job")) == (2, 0, second)
    fault = job.attempts[0].fault
    assert fault is not None
    assert fault.code == Lost.code


ENDS: dict[str, Callable[[Market], Sequence[Effect | Fact]]] = {
    "its client cancels": lambda made: made.cancel("job"),
    "its deadline comes": lambda made: made.after(10_000),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_job_that_ends_without_an_answer_ends_at_both(end: str) -> None:
    made = hedged(deadline_ms=10_000)
    balances = dict(made.machine.ledger.balances)
    out = ENDS[end](made)
    assert sorted(made.told(out, words.Cancel)) == ["o1", "o2"]
    assert made.job("job").phase in (Phase.CANCELLED, Phase.FAILED)
    assert (len(made.machine.leases), len(made.machine.hedges)) == (0, 0)
    assert made.machine.ledger.balances == balances


@pytest.mark.parametrize("winner", [1, 2])
def test_a_snapshot_and_a_replay_know_both_attempts(winner: int) -> None:
    made = hedged()
    assert any(isinstance(fact, Hedged) for _, fact in made.facts)
    assert made.replayed().dump() == made.machine.dump()
    nodes = first_and_second(made)
    made.restart()
    assert (len(made.machine.leases), len(made.machine.hedges)) == (1, 1)
    for name in ("o1", "o2"):
        made.sells(name, 1)
        assert made.machine.held(nodes[0], made.need) == 1
    made.submit("next")
    assert made.at("next") == ""  # both slots are still taken
    made.answers("job", epoch=winner)
    assert made.job("job").orchestrator == nodes[winner - 1]
    assert made.at("next") != ""


def test_after_a_restart_both_attempts_have_grace() -> None:
    made = hedged()
    made.restart()
    start = made.now
    made.now = type(start)(start + made.rules.lease_ms)
    made.after(1)
    assert made.job("job").hedge == 2
