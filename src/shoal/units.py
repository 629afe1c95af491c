"""Quantities that every room shares.

An `Instant` is whole milliseconds since the epoch by one node's own clock;
instants of two nodes are never compared, only durations cross the wire.
"""

from __future__ import annotations

from typing import NewType

Instant = NewType("Instant", int)

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
KIB = 1024
MIB = 1024 * KIB


def later(instant: Instant, duration_ms: int) -> Instant:
    """The instant `duration_ms` after `instant`."""
    return Instant(instant + duration_ms)
