"""Retries: whether a failed attempt is worth another, how often, and how many in all."""

from __future__ import annotations

from shoal.errors import BY_CODE, Busy, Lost, NoCapacity, ShoalError, Unpaid
from shoal.money.wei import MILLION
from shoal.wire.words import Fault

#: Attempts that began and failed, after which a job is given up.
ATTEMPTS_MAX = 3
#: What is said before an attempt costs anything.
TURNED_AWAY = (Busy.code, NoCapacity.code, Unpaid.code)


def retryable(fault: Fault) -> bool:
    """True if the same request may succeed elsewhere: the fault was not the client's."""
    return BY_CODE.get(fault.code, ShoalError).retryable


def began(fault: Fault) -> bool:
    """False if the attempt was turned away before it cost anything: it does not count."""
    return fault.code not in TURNED_AWAY


def counts(fault: Fault) -> bool:
    """True if the job itself may be to blame: what was turned away or lost with its node says nothing of it."""
    return began(fault) and fault.code != Lost.code


class RetryBudget:
    """Second attempts are a small part of all, as the SRE Book has it: else they make the overload they live on.

    Every first attempt saves up for a part of a retry. At first there is enough for `burst` retries, and
    never for more than `saved_max`: so in any stretch of time retries are at most `share_ppm` of the
    first attempts and what was saved before.
    """

    def __init__(self, *, share_ppm: int = 100_000, burst: int = 10, saved_max: int = 100) -> None:
        self._share_ppm = share_ppm
        self._saved_ppm = burst * MILLION
        self._saved_ppm_max = max(burst, saved_max) * MILLION

    @property
    def retries(self) -> int:
        """How many are paid for now."""
        return self._saved_ppm // MILLION

    def deposit(self) -> None:
        """A first attempt was made."""
        self._saved_ppm = min(self._saved_ppm + self._share_ppm, self._saved_ppm_max)

    def withdraw(self) -> bool:
        """Pay for one retry; False if that cannot be afforded now."""
        if self._saved_ppm < MILLION:
            return False
        self._saved_ppm -= MILLION
        return True
