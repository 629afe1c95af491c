"""The breaker: each pair of phase and happening is in the table or refused, and times double."""

from __future__ import annotations

from itertools import product

import pytest

from shoal.errors import IllegalMove
from shoal.policy.breaker import (
    MOVES,
    Breaker,
    Broke,
    Happening,
    Limits,
    Phase,
    Rested,
    Spared,
    Stumbled,
    Succeeded,
    Tried,
)
from shoal.units import Instant

HAPPENINGS: tuple[type[Happening], ...] = (Tried, Succeeded, Stumbled, Broke, Spared, Rested)
NOW = Instant(1_000_000)
NEW = Breaker()
LIMITS = Limits(failures_max=3, open_ms=1_000, open_ms_max=8_000)

#: What cannot happen, and so raises. Whoever is barred is sent nothing; only the one who is left alone rests.
NEVER = {
    (Phase.OPEN, Tried),
    (Phase.TRYING, Tried),
    (Phase.OPEN, Broke),
    (Phase.HALF_OPEN, Stumbled),
    (Phase.TRYING, Stumbled),
    (Phase.CLOSED, Rested),
    (Phase.HALF_OPEN, Rested),
    (Phase.TRYING, Rested),
}


@pytest.mark.parametrize(("phase", "happening"), list(product(Phase, HAPPENINGS)))
def test_every_pair_is_decided(phase: Phase, happening: type[Happening]) -> None:
    breaker = Breaker(phase)
    if (phase, happening) in NEVER:
        with pytest.raises(IllegalMove, match=f"{happening.__name__} while a breaker is {phase.value}"):
            breaker._move(happening())
    else:
        assert breaker._move(happening()).phase is MOVES[phase, happening]


def failing(times: int, breaker: Breaker = NEW, now: Instant = NOW) -> Breaker:
    for _ in range(times):
        breaker = breaker.failed(now, LIMITS)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    assert not failing(2).barred
    assert failing(3).barred
    assert not failing(2, failing(2).succeeded()).barred


def test_what_says_nothing_of_the_node_neither_opens_nor_heals_it() -> None:
    assert failing(1, failing(2).spared()).barred
    assert Breaker().spared() == Breaker()


def test_success_while_closed_is_free() -> None:
    breaker = Breaker()
    assert breaker.succeeded() is breaker
    assert breaker.tried() is breaker


def test_after_its_time_it_lets_one_job_through() -> None:
    breaker = failing(3)
    assert breaker.at(Instant(NOW + 999)).barred
    breaker = breaker.at(Instant(NOW + 1_000))
    assert (breaker.barred, breaker.on_trial) == (False, True)
    breaker = breaker.tried()
    assert (breaker.barred, breaker.on_trial) == (True, True)
    assert breaker.succeeded() == Breaker()
    assert not breaker.spared().barred


def test_each_failed_trial_doubles_the_time_up_to_the_longest() -> None:
    breaker, now, waits = failing(3), NOW, []
    for _ in range(6):
        waits.append(breaker.until - now)
        now = breaker.until
        breaker = breaker.at(now).tried().failed(now, LIMITS)
    assert waits == [1_000, 2_000, 4_000, 8_000, 8_000, 8_000]
    assert breaker.at(breaker.until).tried().succeeded() == Breaker()


def test_a_node_that_never_works_stays_within_bounds() -> None:
    breaker = failing(3)
    for _ in range(1_000):
        breaker = breaker.at(breaker.until).tried().failed(breaker.until, LIMITS)
    assert breaker.openings == 1_001
    assert failing(0, breaker).barred


def test_late_failures_do_not_prolong_it() -> None:
    breaker = failing(3)
    assert failing(5, breaker, Instant(NOW + 900)).until == breaker.until


def test_a_late_success_shortens_it() -> None:
    breaker = failing(3).succeeded()
    assert (breaker.barred, breaker.on_trial) == (False, True)


def test_a_late_failure_opens_it_again() -> None:
    breaker = failing(3).at(Instant(NOW + 1_000))
    assert breaker.failed(Instant(NOW + 1_500), LIMITS).until == NOW + 3_500
