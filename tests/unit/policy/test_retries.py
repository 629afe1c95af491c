"""Retries: which faults are worth one, and that the budget holds."""

from __future__ import annotations

import pytest

from shoal.errors import BY_CODE
from shoal.policy.retries import RetryBudget, began, retryable
from shoal.wire.words import Fault


@pytest.mark.parametrize("code", BY_CODE)
def test_a_fault_is_worth_a_retry_if_its_error_says_so(code: str) -> None:
    assert retryable(Fault(code, "")) == BY_CODE[code].retryable


def test_an_unknown_fault_is_not() -> None:
    assert not retryable(Fault("from the future", ""))


def test_who_was_turned_away_never_began() -> None:
    assert not began(Fault("busy", ""))
    assert not began(Fault("no_capacity", ""))
    assert began(Fault("lost", ""))


def test_at_first_there_is_enough_for_a_burst() -> None:
    budget = RetryBudget(share_ppm=100_000, burst=3)
    assert [budget.withdraw() for _ in range(5)] == [True, True, True, False, False]
    assert budget.retries == 0


def test_ten_first_attempts_pay_for_one_more() -> None:
    budget = RetryBudget(share_ppm=100_000, burst=0)
    paid = []
    for _ in range(30):
        budget.deposit()
        paid.append(budget.withdraw())
    assert [place for place, was in enumerate(paid, 1) if was] == [10, 20, 30]


def test_quiet_times_do_not_save_up_for_a_storm() -> None:
    budget = RetryBudget(share_ppm=100_000, burst=10, saved_max=20)
    for _ in range(10_000):
        budget.deposit()
    assert budget.retries == 20
