"""A worker's settings, each with its limit and its unit."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from shoal.chain.settings import ChainSettings
from shoal.ids import NodeId
from shoal.money.wei import MILLION, WEI_MAX, Wei
from shoal.units import HOUR_MS, MIB, SECOND_MS


class Rules(Struct, frozen=True, kw_only=True):
    """What the worker's machine goes by."""

    heartbeat_ms: int = 5 * SECOND_MS
    tick_ms: int = 250
    #: An answer that nobody settled is dropped this long after the job's deadline.
    answer_keep_ms: int = 60 * SECOND_MS
    #: A worker that stops waits this long for an orchestrator that is gone, which gives the jobs to others meanwhile.
    reconnect_ms: int = 5 * SECOND_MS
    #: Closed jobs that are remembered, so that a repeated or overtaken order does not run again.
    closed_max: int = 1_000
    answer_bytes_max: int = 256 * MIB
    #: The least part of a price that this works for.
    share_ppm_min: Annotated[int, Meta(ge=0, le=MILLION)] = 0
    #: What an orchestrator may owe, open jobs counted at the most that they can bring. At that it gets no jobs done
    #: until it has paid; if it has not within `owing_ms`, it is left.
    float_wei: Annotated[Wei, Meta(ge=0, le=WEI_MAX)] = Wei(10**17)
    owing_ms: int = 2 * HOUR_MS
    #: Answers are not always wanted in the end. Beyond the float, what came to nothing may be this part of the rest.
    unpaid_ppm_max: int = 250_000
    #: Who may owe anything.
    trusted: tuple[NodeId, ...] = ()
    #: About so many paid answers go by until one's receipt is asked for, 0 for never; so many in a row may be missing.
    receipts_every: Annotated[int, Meta(ge=0)] = 200
    unshown_max: Annotated[int, Meta(ge=1)] = 16
    #: An account that is too low must be mended within this.
    differ_ms: int = 10 * SECOND_MS
    #: How soon what was counted is written down, and how often a payment is looked for on chain.
    count_ms: int = SECOND_MS
    find_ms: int = 30 * SECOND_MS


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

    #: The folder of its key, and of the journal of what it has earned.
    home: str
    #: Where it works, as `host:port#0xnode`.
    orchestrators: tuple[str, ...]
    runners: tuple[RunnerSettings, ...]
    #: Where it is paid: an address, "" for its own.
    payout: NodeId = NodeId("")
    #: Where it sees that it was paid. Without one it takes an orchestrator's word.
    chain: ChainSettings = ChainSettings()
    rules: Rules = Rules()
