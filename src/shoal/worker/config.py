"""A worker's settings, each with its limit and its unit."""

from __future__ import annotations

from msgspec import Struct

from shoal.units import MIB, SECOND_MS


class Rules(Struct, frozen=True, kw_only=True):
    """What the worker's machine goes by."""

    heartbeat_ms: int = 5 * SECOND_MS
    tick_ms: int = 1 * SECOND_MS
    #: An answer that nobody settled is dropped this long after the job's deadline.
    answer_keep_ms: int = 60 * SECOND_MS
    #: Closed jobs that are remembered, so that a repeated or overtaken order does not run again.
    closed_max: int = 1_000
    answer_bytes_max: int = 256 * MIB
