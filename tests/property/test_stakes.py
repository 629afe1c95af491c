"""Bonding against a model that only adds up: who is in the pool, who is active, and what waits behind locks."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from actors import CONTRACT, PART_TIMEOUT_S, PARTS, POOL_MAX, TOKENS, Actors, actors, play
from evm import Evm
from onchain import NOBODY, UNBONDING_ROUNDS


class Stakes(Actors):
    """Bonding."""

    def __init__(self) -> None:
        super().__init__()
        self.bonding = self.chain.bonding
        self.bonded = dict(zip(self.addresses, (0, 0, 20, 30, 15), strict=True))
        self.pool = [self.addresses[place] for place in (3, 2, CONTRACT)]
        self.active = list(self.pool)
        self.active_stake = 65
        self.locks: dict[tuple[int, int], tuple[int, int]] = {}
        self.locks_made: Counter[int] = Counter()

    def settle(self, node: str) -> None:
        """A node's place in the pool after its stake has changed."""
        stake = self.bonded[node]
        if node in self.pool:
            self.pool.remove(node)
        elif len(self.pool) == POOL_MAX:
            if stake <= self.bonded[self.pool[-1]]:
                return
            self.pool.pop()
        if stake:
            ahead = [one for one in self.pool if self.bonded[one] >= stake]
            self.pool.insert(len(ahead), node)

    @rule(actor=actors, amount=st.integers(0, 40))
    def bond(self, actor: int, amount: int) -> None:
        node = self.addresses[actor]
        spare = self.chain.token.call("balanceOf", node)
        why = self.do(actor, self.bonding, "bond", amount, node)
        if not self.open:
            assert why == "current round is not initialized"
        elif not self.bonded[node] + amount:
            assert why == "delegation amount must be greater than 0"
        elif amount > spare:
            assert why == "insufficient balance"
        else:
            assert why == ""
            self.bonded[node] += amount
            if amount or node not in self.pool:
                self.settle(node)

    @rule(actor=actors, amount=st.integers(0, 40), all_of_it=st.booleans())
    def unbond(self, actor: int, amount: int, all_of_it: bool) -> None:
        node = self.addresses[actor]
        amount = self.bonded[node] if all_of_it else amount
        why = self.do(actor, self.bonding, "unbond", amount)
        if not self.bonded[node]:
            assert why == "caller must be bonded"
        elif not amount:
            assert why == "unbond amount must be greater than 0"
        elif amount > self.bonded[node]:
            assert why == "amount is greater than bonded amount"
        else:
            assert why == ""
            self.locks[actor, self.locks_made[actor]] = (amount, self.round + UNBONDING_ROUNDS)
            self.locks_made[actor] += 1
            self.bonded[node] -= amount
            if node in self.pool:
                self.settle(node)

    def some_lock(self, place: int) -> tuple[int, int]:
        """Whose lock, and which: one that there is, or was, or never was."""
        made = [(actor, lock) for actor, count in self.locks_made.items() for lock in range(count + 1)]
        return made[place % len(made)] if made else (0, 0)

    @rule(place=st.integers(0, 10**6))
    def rebond(self, place: int) -> None:
        actor, lock = self.some_lock(place)
        node = self.addresses[actor]
        if self.bonded[node]:
            why = self.do(actor, self.bonding, "rebond", lock)
        else:
            why = self.do(actor, self.bonding, "rebondFromUnbonded", node, lock)
        amount, _ = self.locks.pop((actor, lock), (0, 0))
        assert why == ("" if amount else "invalid unbonding lock ID")
        if amount:
            self.bonded[node] += amount
            self.settle(node)

    @rule(place=st.integers(0, 10**6))
    def withdraw_some(self, place: int) -> None:
        self.withdraw_stake(*self.some_lock(place))

    def withdraw_stake(self, actor: int, lock: int) -> None:
        why = self.do(actor, self.bonding, "withdrawStake", lock)
        _, withdraw_round = self.locks.get((actor, lock), (0, 0))
        if not withdraw_round:
            assert why == "invalid unbonding lock ID"
        elif self.round < withdraw_round:
            assert why == "withdraw round must be before or equal to the current round"
        else:
            assert why == ""
            del self.locks[actor, lock]

    @rule(rounds=st.integers(1, 3), initialise=st.booleans())
    def rounds_pass(self, rounds: int, initialise: bool) -> None:
        super().rounds_pass(rounds, initialise)
        self.active = list(self.pool)
        self.active_stake = sum(self.bonded[node] for node in self.pool)

    @invariant()
    def the_pool_is_the_models(self) -> None:
        members = [self.bonding.call("getFirstTranscoderInPool")]
        while members[-1] != NOBODY:
            members.append(self.bonding.call("getNextTranscoderInPool", members[-1]))
        assert members[:-1] == self.pool
        assert self.bonding.call("nextRoundTotalActiveStake") == sum(self.bonded[node] for node in self.pool)
        self.steps += 1
        node = self.addresses[self.steps % len(self.addresses)]
        assert self.bonding.call("isActiveTranscoder", node) == (node in self.active)
        assert self.bonding.call("getTranscoderPoolSize") == len(self.active)
        assert self.bonding.call("getTotalBonded") == self.active_stake

    @invariant()
    def the_tokens_are_all_there(self) -> None:
        held = sum(self.bonded.values()) + sum(amount for amount, _ in self.locks.values())
        assert self.chain.token.call("balanceOf", self.bonding.address) == held

    def leave(self) -> None:
        for actor, node in enumerate(self.addresses):
            assert self.bonding.call("transcoderTotalStake", node) == self.bonded[node]
            if self.bonded[node]:
                self.unbond(actor, 0, all_of_it=True)
        self.rounds_pass(UNBONDING_ROUNDS, initialise=False)
        for actor, lock in list(self.locks):
            self.withdraw_stake(actor, lock)
        held = [self.chain.token.call("balanceOf", one) for one in self.addresses]
        assert held == [TOKENS] * len(held)


@pytest.mark.timeout(PART_TIMEOUT_S)
@pytest.mark.parametrize("part", range(PARTS))
def test_stakes_balance_whatever_is_done(evm: Evm, part: int) -> None:
    play(Stakes, evm, part)
