"""A gateway's settings, each with its limit and its unit."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from shoal.chain.settings import ChainSettings
from shoal.gateway.limits import UNLIMITED, Limits
from shoal.ids import NodeId
from shoal.money.payer import PayerRules
from shoal.money.wei import Wei
from shoal.policy.breaker import Limits as BreakerLimits
from shoal.policy.retries import ATTEMPTS_MAX
from shoal.policy.selection import Policy
from shoal.units import HOUR_MS, MINUTE_MS, SECOND_MS


class Rules(Struct, frozen=True, kw_only=True):
    """What the gateway's machine goes by."""

    queue_jobs_max: int = 1_000
    queue_jobs_per_client_max: int = 50
    #: A lease lives this long after the last word about it.
    lease_ms: int = 15 * SECOND_MS
    #: ... and this long after its orchestrator's connection broke.
    reconnect_ms: int = 6 * SECOND_MS
    #: An orchestrator that turned a job away as busy is left alone this long, or until it speaks.
    busy_pause_ms: int = 1 * SECOND_MS
    #: How often deadlines and leases are looked at while jobs are open.
    tick_ms: int = 250
    #: Attempts that may fail at a job's own work, and attempts in all, those that were lost with their node included.
    attempts_max: int = ATTEMPTS_MAX
    tries_max: int = 20
    #: Who gets a job, unless it asks for another policy; and the policies that are defined here.
    policy: str = "balanced"
    policies: dict[str, Policy] = {}
    #: When an orchestrator that fails is left alone, and for how long.
    breaker: BreakerLimits = BreakerLimits()
    #: How often orchestrators are told what waits here.
    demand_ms: int = 1 * SECOND_MS
    #: So many changes of what is known are kept, so that a choice can be looked at as it was made.
    views_max: int = 20_000
    #: Attempts after the first are at most this part of all first ones, and so many more.
    retry_share_ppm: int = 100_000
    retry_burst: int = 10
    #: Sessions whose last node is remembered, and how long.
    homes_max: int = 10_000
    home_keep_ms: int = 10 * MINUTE_MS
    #: A second attempt begins when the first takes longer than the mean by so many standard deviations.
    hedge_spreads: float = 2.0
    #: ... and whether or not its client asked for that, when it takes longer by so many, and so many times as long.
    overdue_spreads: float = 8.0
    overdue_times: float = 3.0
    #: Stakes (in wei) and reputations (0 to 1) by node id: `gateway.renown` adds those from files.
    stakes: dict[NodeId, int] = {}
    reputations: dict[NodeId, float] = {}
    #: Who wants to be paid ahead is: up to a block of credit beside what its open jobs may cost, and these
    #: cost no more than so much, nor than what it has ever delivered.
    credit_block_wei: Wei = Wei(10**12)
    credit_max_wei: Wei = Wei(10**16)
    #: The most that one ticket is worth; so many make a payment if they can be large enough, and so many at most.
    ticket_ev_wei_max: Wei = Wei(10**12)
    tickets_per_payment: Annotated[int, Meta(ge=1)] = 4
    tickets_per_payment_max: Annotated[int, Meta(ge=1, le=600)] = 100
    #: An orchestrator whose word of our credit is too low for so long gets no more jobs.
    differ_ms: int = 30 * SECOND_MS
    #: So many payments may go wrong with an orchestrator (its terms expired on the way, say); after that one that has
    #: lost more than it has ever delivered gets no more of either.
    losses_max: Annotated[int, Meta(ge=0)] = 3
    deadline_max_ms: int = 1 * HOUR_MS
    #: The gateway's own part, on top of the orchestrator's price.
    fee_ppm: int = 0
    #: How far a client's account may sink.
    client_credit_wei: Wei = Wei(10**18)
    #: Ended jobs that are remembered (those with an idempotency key as long as their key).
    ended_jobs_max: int = 20_000
    keys_max: int = 100_000
    key_window_ms: int = 24 * HOUR_MS
    body_keep_ms: int = 24 * HOUR_MS
    #: Let nobody in without a key, even while there is none.
    closed: bool = False
    tenants_max: int = 10_000
    api_keys_max: int = 100_000
    #: Usage is told day by day for so long; and no more rows of it are kept, older ones are laid together.
    usage_days_max: int = 400
    usage_rows_max: int = 100_000


class Tenant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who uses this gateway, and what they may have of it when it is busy."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    #: What comes with their requests: `Authorization: Bearer KEY`.
    key: str
    #: Their share: of two that wait for the same, one of weight 2 is given twice as much work.
    weight: Annotated[int, Meta(ge=1, le=1_000)] = 1
    #: The highest class that they may ask for.
    priority_max: Literal["high", "normal", "low"] = "normal"
    #: The most that they may send and spend.
    limits: Limits = UNLIMITED


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one gateway's process is run."""

    #: The folder of its key, its journal and its bodies.
    home: str
    #: Where clients find it.
    http_addr: str = "127.0.0.1:9935"
    #: The operator's own door; only ever on this computer. Empty for none.
    operator_addr: str = "127.0.0.1:5935"
    #: Where it buys: host:port, or host:port#0xnode to insist on who answers there.
    orchestrators: tuple[str, ...] = ()
    #: Who may use it. Empty: everybody on this computer, and nobody else.
    api_keys: tuple[str, ...] = ()
    #: ... and who may, each with a share of their own.
    tenants: tuple[Tenant, ...] = ()
    #: JSON files, {"0xnode": NUMBER}: stakes in wei, and reputations from 0 to 1.
    stakes_file: str = ""
    reputations_file: str = ""
    #: Where orchestrators are paid who want to be paid ahead.
    chain: ChainSettings = ChainSettings()
    #: Who signs its tickets, if its own key does not: `shoal signer`, and the token that stands in its `signer.token`.
    signer_url: str = ""
    signer_token: str = ""
    #: What its tickets may be like.
    payer: PayerRules = PayerRules()
    rules: Rules = Rules()
