"""Retries: whether a failed attempt is worth another, and how often."""

from __future__ import annotations

from shoal.errors import BY_CODE, Busy, NoCapacity, ShoalError
from shoal.wire.words import Fault

#: Attempts that began and failed, after which a job is given up.
ATTEMPTS_MAX = 3


def retryable(fault: Fault) -> bool:
    """True if the same request may succeed elsewhere: the fault was not the client's."""
    return BY_CODE.get(fault.code, ShoalError).retryable


def began(fault: Fault) -> bool:
    """False if the attempt was turned away before it cost anything: it does not count."""
    return fault.code not in (Busy.code, NoCapacity.code)
