"""Errors on their way across the wire, and back again."""

from __future__ import annotations

from shoal.errors import BY_CODE, Failed, ShoalError
from shoal.wire.words import Fault


def fault_of(error: ShoalError) -> Fault:
    """An error as a word."""
    return Fault(error.code, error.message, error.retry_after_ms)


def error_of(fault: Fault) -> ShoalError:
    """A word as the error that it was; an unknown code is a failure of ours."""
    return BY_CODE.get(fault.code, Failed)(fault.message, retry_after_ms=fault.retry_after_ms)
