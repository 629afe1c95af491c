"""Whatever comes, retries are at most their share of the first attempts, and what was saved before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.policy.retries import RetryBudget

#: True for a first attempt, False for a retry that is wanted.
ASKED = st.lists(st.booleans(), max_size=400)


@given(asked=ASKED, share_ppm=st.integers(0, 1_000_000), burst=st.integers(0, 20))
def test_retries_are_a_share_of_the_traffic(asked: list[bool], share_ppm: int, burst: int) -> None:
    budget = RetryBudget(share_ppm=share_ppm, burst=burst)
    firsts = retries = 0
    for first in asked:
        if first:
            budget.deposit()
            firsts += 1
        else:
            retries += budget.withdraw()
        assert retries <= firsts * share_ppm / 1_000_000 + burst


@given(before=ASKED, asked=ASKED, burst=st.integers(0, 5), saved_max=st.integers(0, 10))
def test_in_any_stretch_too(before: list[bool], asked: list[bool], burst: int, saved_max: int) -> None:
    budget = RetryBudget(share_ppm=200_000, burst=burst, saved_max=saved_max)
    for first in before:
        if first:
            budget.deposit()
        else:
            budget.withdraw()
    firsts = retries = 0
    for first in asked:
        if first:
            budget.deposit()
            firsts += 1
        else:
            retries += budget.withdraw()
        assert retries <= firsts * 0.2 + max(burst, saved_max)


@given(asked=ASKED)
def test_what_is_due_is_given(asked: list[bool]) -> None:
    """No retry is refused while the budget has one, and none is granted for less than a whole one."""
    budget, saved = RetryBudget(share_ppm=250_000, burst=2, saved_max=1_000), 2 * 4
    for first in asked:
        if first:
            budget.deposit()
            saved += 1
        else:
            assert budget.withdraw() == (saved >= 4)
            saved -= 4 if saved >= 4 else 0
