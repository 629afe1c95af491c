"""Payouts against a model that only adds up: everybody is an operator, and everybody is a worker."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from actors import CONTRACT, PART_TIMEOUT_S, PARTS, Actors, actors, amounts, play
from evm import Evm

MONTH_S = 30 * 24 * 3600


class Paying(Actors):
    """Payouts: everybody is an operator, and everybody is a worker."""

    def __init__(self) -> None:
        super().__init__()
        self.payouts = self.chain.payouts
        self.batches: set[tuple[int, int]] = set()
        self.paid: Counter[tuple[int, int]] = Counter()
        self.waiting: Counter[tuple[int, int]] = Counter()
        self.until_s: Counter[tuple[int, int]] = Counter()

    @rule(
        operator=actors,
        batch=st.integers(0, 3),
        shares=st.lists(st.tuples(actors, amounts), max_size=4),
        off_by=st.sampled_from((0, 0, 0, -1, 1)),
    )
    def pay_out(self, operator: int, batch: int, shares: list[tuple[int, int]], off_by: int) -> None:
        total = sum(amount for _, amount in shares)
        value = max(total + off_by, 0)
        workers = [self.addresses[worker] for worker, _ in shares]
        args = (batch.to_bytes(32), workers, [amount for _, amount in shares])
        why = self.do(operator, self.payouts, "payOut", *args, value=value)
        if (operator, batch) in self.batches:
            assert why == "batch is paid"
        elif value != total:
            assert why == "value sent is not the sum of the amounts"
        else:
            assert why == ""
            self.batches.add((operator, batch))
            self.gained[operator] -= total
            for worker, amount in shares:
                self.paid[operator, worker] += amount
                if worker == CONTRACT and self.refuses:
                    self.waiting[operator, worker] += amount
                    self.until_s[operator, worker] = self.evm.clock_s + MONTH_S
                else:
                    self.gained[worker] += amount

    @rule(operator=actors, batch=st.integers(4, 30), amount=st.integers(1, 60))
    def pay_the_unwilling(self, operator: int, batch: int, amount: int) -> None:
        self.scheme("refuse", operator)
        self.pay_out(operator, batch, [(CONTRACT, amount), (0, 1), (CONTRACT, 2)], 0)

    @rule(worker=actors, operator=actors, to=actors)
    def fetch(self, worker: int, operator: int, to: int) -> None:
        amount = self.waiting[operator, worker]
        why = self.do(worker, self.payouts, "fetch", self.addresses[operator], self.addresses[to])
        if not amount:
            assert why == "nothing is waiting"
        elif to == CONTRACT and self.refuses:
            assert why == "receiver refused the payment"
        else:
            assert why == ""
            self.waiting[operator, worker] = 0
            self.gained[to] += amount

    @rule(operator=actors, worker=st.sampled_from((CONTRACT, CONTRACT, 0)))
    def take_back(self, operator: int, worker: int) -> None:
        amount = self.waiting[operator, worker]
        why = self.do(operator, self.payouts, "takeBack", self.addresses[worker])
        if self.evm.clock_s < self.until_s[operator, worker]:
            assert why == "payment still waits for its worker"
        elif not amount:
            assert why == "nothing is waiting"
        elif operator == CONTRACT and self.refuses:
            assert why == "receiver refused the payment"
        else:
            assert why == ""
            self.waiting[operator, worker] = 0
            self.paid[operator, worker] -= amount
            self.gained[operator] += amount

    @rule(seconds=st.sampled_from((1, MONTH_S // 2, MONTH_S)))
    def time_passes(self, seconds: int) -> None:
        self.evm.pass_time(seconds)
        self.evm.mine()

    @rule(kind=st.sampled_from(("payOut", "fetch", "takeBack", "refuse", "refuse")), operator=actors)
    def scheme(self, kind: str, operator: int) -> None:
        """What the contract will try while it is being paid: none of it does anything."""
        args: dict[str, tuple[object, ...]] = {
            "payOut": (b"\7" * 32, [], []),
            "fetch": (self.addresses[operator], self.contract.address),
            "takeBack": (self.contract.address,),
        }
        words = self.payouts.data(kind, *args[kind]) if kind in args else b""
        self.plan(self.payouts.address, words, refuses=kind == "refuse")

    @invariant()
    def nothing_stays_but_what_waits(self) -> None:
        assert self.evm.balance(self.payouts.address) == self.waiting.total()
        self.steps += 1
        operator, worker = self.steps % 5, CONTRACT if self.steps % 2 else self.steps % 3
        assert (
            self.payouts.call("paidTo", self.addresses[operator], self.addresses[worker])
            == (self.paid[operator, worker])
        )

    def leave(self) -> None:
        self.time_passes(MONTH_S)
        for operator, worker in [pair for pair, amount in self.waiting.items() if amount]:
            self.take_back(operator, worker)
        assert self.evm.balance(self.payouts.address) == 0


@pytest.mark.timeout(PART_TIMEOUT_S)
@pytest.mark.parametrize("part", range(PARTS))
def test_payouts_balance_whatever_is_done(evm: Evm, part: int) -> None:
    play(Paying, evm, part)
