"""Luck: the same for the same attempt, and even."""

from __future__ import annotations

from collections import Counter

from shoal.ids import JobId
from shoal.policy.luck import Luck

#: Chi-square with 9 degrees of freedom lies above this once in a thousand times.
CHI_SQUARE_9 = 27.88
#: ... and with 99 degrees of freedom.
CHI_SQUARE_99 = 148.2


def chi_square(counts: Counter[int], cells: int) -> float:
    expected = sum(counts.values()) / cells
    return sum((counts[cell] - expected) ** 2 / expected for cell in range(cells))


def test_the_same_attempt_draws_the_same_lots() -> None:
    one, other = Luck(JobId("job_1"), 1), Luck(JobId("job_1"), 1)
    assert [one.lot() for _ in range(20)] == [other.lot() for _ in range(20)]


def test_another_attempt_and_another_job_draw_others() -> None:
    firsts = {Luck(JobId(f"job_{job}"), attempt).lot() for job in range(50) for attempt in (1, 2, 11)}
    assert len(firsts) == 150


def test_lots_do_not_come_again() -> None:
    luck = Luck(JobId("job_1"), 1)
    assert len({luck.lot() for _ in range(1_000)}) == 1_000


def test_first_lots_of_many_jobs_are_even() -> None:
    counts = Counter(Luck(JobId(f"job_{job:032x}"), 1).below(10) for job in range(10_000))
    assert chi_square(counts, 10) < CHI_SQUARE_9


def test_lots_of_one_job_are_even() -> None:
    luck = Luck(JobId("job_1"), 1)
    assert chi_square(Counter(luck.below(10) for _ in range(10_000)), 10) < CHI_SQUARE_9


def test_one_lot_says_nothing_of_the_next() -> None:
    pairs: Counter[int] = Counter()
    for job in range(10_000):
        luck = Luck(JobId(f"job_{job:032x}"), 1)
        pairs[luck.below(10) * 10 + luck.below(10)] += 1
    assert chi_square(pairs, 100) < CHI_SQUARE_99


def test_nor_does_one_attempt_of_the_next() -> None:
    pairs: Counter[int] = Counter()
    for job in range(10_000):
        first, second = (Luck(JobId(f"job_{job:032x}"), attempt) for attempt in (1, 2))
        pairs[first.below(10) * 10 + second.below(10)] += 1
    assert chi_square(pairs, 100) < CHI_SQUARE_99


def test_shares_are_below_one() -> None:
    luck = Luck(JobId("job_1"), 1)
    shares = [luck.share() for _ in range(10_000)]
    assert 0.0 <= min(shares) < 0.01
    assert 0.99 < max(shares) < 1.0
