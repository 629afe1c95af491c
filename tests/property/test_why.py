"""Why: a choice that is made again from the recorded view is the choice that was made, whatever happened since."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import Phase as When
from hypothesis import given, settings
from hypothesis import strategies as st

from market import GARBLED, Market
from shoal.ids import NodeId
from shoal.policy.recipe import Policy
from shoal.policy.selection import POLICIES
from shoal.policy.views import Candidate, size_class
from shoal.work.lifecycle import Phase

#: A seed says nothing that a smaller one would say better.
UNSHRUNK = (When.explicit, When.generate)
NODES = [f"0x{number}" for number in range(7)]
OWN = {
    "own": Policy(
        rank="load", draw="near", then="cost", filters=("warm",), margin_ppm=500_000, explore_ppm=50_000
    ),
    "patient": Policy(rank="time", draw="sample", choices=3, filters=("reputation",), patience_ppm=10_000),
}


class Run:
    """A market in which anything happens, by luck."""

    def __init__(self, seed: int, **rules: object) -> None:
        self.luck = Random(seed)
        self.market = Market(
            stakes={NodeId(node): number * 10**18 for number, node in enumerate(NODES)},
            reputations={NodeId(node): number / 7 for number, node in enumerate(NODES) if number % 2},
            policies=OWN,
            retry_share_ppm=900_000,
            queue_jobs_per_client_max=1_000,
            **rules,
        )
        self.jobs: list[str] = []

    def step(self, policy: str) -> None:
        """One thing happens."""
        what = self.luck.random()
        running = [
            lease.task for lease in self.market.machine.leases if lease.holder in self.market.machine.sellers
        ]
        if what < 0.15 or len(self.market.machine.sellers.standings) < len(NODES) / 2:
            self.quote(self.luck.choice(NODES))
        elif what < 0.18:
            self.leave(self.luck.choice(NODES))
        elif what < 0.55:
            self.submit(policy)
        elif what < 0.65 or not running:
            self.market.after(self.luck.choice((1, 40, 700, 3_000)), tick_ms=250)
        else:
            self.end(self.luck.choice(running))

    def quote(self, node: str) -> None:
        slots = self.luck.choice((1, 2, 8))
        self.market.sells(
            node,
            slots,
            price=self.luck.randint(0, 3),
            taken=self.luck.randint(0, slots),
            region=self.luck.choice(("eu", "eu", "us")),
            cold_ms=self.luck.choice((0, 0, 300)),
        )

    def leave(self, node: str) -> None:
        if node in self.market.machine.sellers:
            self.market.leaves(node)

    def submit(self, policy: str) -> None:
        job = f"job {len(self.jobs)}"
        luck = self.luck
        reply = self.market.submit(
            job,
            luck.choice(("anna", "ben")),
            units=luck.choice((1, 1, 50)),
            limit=luck.choice((2, 1_000)),
            deadline_ms=luck.choice((2_000, 60_000)),
            session=luck.choice(("", "", "talk")),
            policy=policy,
            region=luck.choice(("", "", "", "eu")),
            hedge=luck.random() < 0.4,
        )
        if reply.fault is None:
            self.jobs.append(job)

    def end(self, job: str) -> None:
        known = self.market.job(job)
        live = [known.attempt(epoch) for epoch in (known.epoch, known.hedge) if epoch]
        connected = [attempt.epoch for attempt in live if attempt.orchestrator in self.market.machine.sellers]
        epoch = self.luck.choice(connected)
        speed = 1 + NODES.index(known.attempt(epoch).orchestrator)
        match self.luck.random():
            case what if what < 0.6:
                ran_ms = self.market.now - known.attempt(epoch).placed_at
                self.market.answers(job, epoch=epoch, run_ms=min(ran_ms, 50 * speed))
            case what if what < 0.65:
                self.market.answers(job, epoch=epoch, body=GARBLED)
            case what if what < 0.75:
                self.market.fails(job, "busy", epoch=epoch)
            case what if what < 0.95:
                self.market.fails(job, "failed", epoch=epoch)
            case _:
                self.market.cancel(job)


@pytest.mark.parametrize("policy", [*POLICIES, *OWN])
@settings(max_examples=8, phases=UNSHRUNK)
@given(seed=st.integers(0, 2**32))
def test_a_choice_that_is_made_again_is_the_same(policy: str, seed: int) -> None:
    run = Run(seed)
    for _ in range(150):
        run.step(policy)
    looked_at = 0
    for job in run.jobs:
        known = run.market.job(job)
        for attempt, why in zip(known.attempts, run.market.why(job)["attempts"], strict=True):
            assert "forgotten" not in why
            assert why["chosen"] == attempt.orchestrator
            looked_at += 1
    assert looked_at > 5


@settings(max_examples=15, phases=UNSHRUNK)
@given(seed=st.integers(0, 2**32))
def test_a_view_is_the_pool_as_it_was(seed: int) -> None:
    run = Run(seed, views_max=60)
    views, kinds = (
        run.market.machine.sellers.views,
        [(run.market.need, size_class(units)) for units in (1, 50)],
    )
    kept: list[tuple[int, tuple[object, int], dict[NodeId, Candidate]]] = []
    for step in range(120):
        run.step("balanced")
        for kind in kinds:
            pool = {candidate.node: candidate for candidate in run.market.machine.sellers.pool(*kind)}
            kept.append((views.version, kind, pool))
        if step % 10 == 0:
            for version, kind, then in kept:
                seen = views.at(version, kind, run.market.machine.sellers.pool(*kind))
                if views.version - version > 60:
                    assert seen is None
                else:
                    assert seen is not None
                    assert {candidate.node: candidate for candidate in seen} == then
    assert views.version > 60


def test_what_is_forgotten_is_said_and_numbers_are_never_used_again() -> None:
    run = Run(1)
    while not any(run.market.job(job).attempts for job in run.jobs):
        run.step("balanced")
    job = next(job for job in run.jobs if run.market.job(job).attempts)
    before = run.market.machine.sellers.views.version
    run.market.after(1)
    run.market.restart()
    assert run.market.machine.sellers.views.version > before
    assert "forgotten" in run.market.why(job)["attempts"][0]
    for _ in range(50):
        run.step("balanced")
    assert "forgotten" in run.market.why(job)["attempts"][0]


@settings(max_examples=30, phases=UNSHRUNK)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_a_replay_and_a_snapshot_know_the_same(seed: int) -> None:
    run = Run(seed)
    for _ in range(200):
        run.step("random")
    assert run.market.replayed().dump() == run.market.machine.dump()
    run.market.restart()
    run.market.after(3_600_000, tick_ms=20_000)
    assert all(run.market.job(job).phase not in (Phase.QUEUED, Phase.LEASED) for job in run.jobs)
    assert not run.market.machine.ledger.holds
