"""Quantities that every room shares.

An `Instant` is whole milliseconds since the epoch by one node's own clock;
instants of two nodes are never compared, only durations cross the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from typing import NewType

Instant = NewType("Instant", int)

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
KIB = 1024
MIB = 1024 * KIB

#: The instant so many milliseconds after another. Plain addition: every job asks a dozen times.
later: Callable[[Instant, int], Instant] = add
