"""A worker's settings, each with its limit and its unit."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from shoal.units import MIB, SECOND_MS


class Rules(Struct, frozen=True, kw_only=True):
    """What the worker's machine goes by."""

    heartbeat_ms: int = 5 * SECOND_MS
    tick_ms: int = 1 * SECOND_MS
    #: An order that crossed with another orchestrator's waits so long for a slot, where jobs are shorter than that.
    crossed_ms: int = 1 * SECOND_MS
    #: An answer that nobody settled is dropped this long after the job's deadline.
    answer_keep_ms: int = 60 * SECOND_MS
    #: Closed jobs that are remembered, so that a repeated or overtaken order does not run again.
    closed_max: int = 1_000
    answer_bytes_max: int = 256 * MIB


class RunnerSettings(Struct, frozen=True, kw_only=True):
    """One runner: what it runs, and how much of this computer it may use."""

    pipeline: str
    model: str
    #: Jobs at once, processor threads for all of them, and how far it steps back for others (0 to 19).
    slots: int = 1
    threads: int = 1
    nice: int = 0
    #: Of so many jobs at once none takes notably longer than one alone. Say no more than was measured here.
    batch: Annotated[int, Meta(ge=1)] = 1
    #: "warm": loaded from the start. "cold": loaded for the first job, and put away when nobody asked for so long.
    keep: Literal["warm", "cold"] = "warm"
    idle_ms: Annotated[int, Meta(ge=100)] = 300 * SECOND_MS
    #: What to start instead of our own runner; the same flags are added.
    command: tuple[str, ...] = ()


class Settings(Struct, frozen=True, kw_only=True):
    """How one worker's process is run."""

    #: The folder of its key.
    home: str
    #: Where it works, as `host:port#0xnode`.
    orchestrators: tuple[str, ...]
    runners: tuple[RunnerSettings, ...]
    rules: Rules = Rules()
