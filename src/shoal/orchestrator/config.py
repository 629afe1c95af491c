"""An orchestrator's settings, each with its limit and its unit."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from shoal.chain.settings import ChainSettings
from shoal.ids import NodeId
from shoal.money.terms import PayeeRules
from shoal.money.wei import Price, Wei
from shoal.policy.breaker import Limits
from shoal.policy.presets import DEFAULT
from shoal.policy.recipe import Policy
from shoal.units import HOUR_MS, MINUTE_MS, SECOND_MS


class Rules(Struct, frozen=True, kw_only=True):
    """What the orchestrator's machine goes by."""

    #: A lease lives this long after the worker's last word about it.
    lease_ms: int = 15 * SECOND_MS
    #: ... and this long after the worker's connection broke.
    reconnect_ms: int = 2 * SECOND_MS
    heartbeat_ms: int = 5 * SECOND_MS
    tick_ms: int = 250
    #: The workers' part of every price.
    share_ppm: int = 800_000
    #: Prices by "pipeline" or "pipeline/model"; the table's where there is none.
    prices: dict[str, Price] = {}
    #: Streamed units that may be on their way to a gateway unacknowledged.
    window_units_max: int = 64
    #: Where this is, in whatever names its gateways ask for; "" if nobody needs to know.
    region: str = ""
    #: How a worker is chosen: the name of a policy, ours or one of those composed here.
    policy: str = DEFAULT
    policies: dict[str, Policy] = {}
    #: When a worker that fails is left alone, and for how long.
    breaker: Limits = Limits()
    #: Sessions whose last worker is remembered, and for how long.
    homes_max: Annotated[int, Meta(ge=1)] = 20_000
    home_keep_ms: int = 30 * MINUTE_MS
    #: Words about capacity that may leave in a second, to all gateways together. Beyond that, what changes
    #: meanwhile is said once.
    capacity_words_per_s_max: Annotated[int, Meta(ge=1)] = 2_000
    #: That a gateway's jobs wait counts so long, unless it says so again.
    demand_keep_ms: int = 4 * SECOND_MS
    #: What a gateway may owe for open leases.
    gateway_credit_wei: Wei = Wei(10**21)
    #: Who need not pay ahead where there is a chain to be paid on; without one nobody has to.
    trusted: tuple[NodeId, ...] = ()
    #: Who redeems what it wins, and pays its workers.
    redeemer: NodeId = NodeId("")
    #: A worker that is owed so much is paid, or half of what it lets itself be owed; and so long after it was paid
    #: last, whoever is owed more than what the way to the chain is worth.
    payout_min_wei: Wei = Wei(10**16)
    payout_ms: int = 24 * HOUR_MS
    payout_dust_wei: Wei = Wei(10**13)
    #: How often it is looked whom to pay, and how long nobody is after a batch came to nothing.
    payout_look_ms: Annotated[int, Meta(ge=1)] = 5 * SECOND_MS
    payout_again_ms: int = 10 * MINUTE_MS
    #: So many are paid at once; the contract takes no more than 256.
    payees_max: Annotated[int, Meta(ge=1, le=256)] = 200
    #: How often workers who earn are told their accounts, and how often one can have its own for the asking.
    account_ms: int = MINUTE_MS
    account_ms_min: int = SECOND_MS
    #: So many receipts at least are remembered for workers who ask for one, and twice as many at most.
    receipts_max: Annotated[int, Meta(ge=1)] = 1_000
    #: So many answers may come to nothing (a second attempt was quicker, say); beyond that a gateway that pays ahead
    #: gets no more jobs while it has not paid for more than it left unpaid.
    unpaid_answers_max: Annotated[int, Meta(ge=0)] = 10
    #: What one ticket is worth, at least and at most; between them it is up to the gateway.
    ticket_ev_wei_min: Wei = Wei(1)
    ticket_ev_wei_max: Wei = Wei(10**12)
    #: Ended tasks that are remembered, so that a repeated word finds its answer.
    ended_tasks_max: int = 20_000


class Settings(Struct, frozen=True, kw_only=True):
    """How one orchestrator's process is run."""

    #: The folder of its key and its journal.
    home: str
    #: Where gateways and workers come in.
    listen: str = "127.0.0.1:8935"
    #: The operator's own door; only ever on this computer. Empty for none.
    operator_addr: str = "127.0.0.1:7935"
    #: Who may come in, by node id, besides `rules.redeemer`. Empty: everybody on this computer.
    gateways: tuple[NodeId, ...] = ()
    workers: tuple[NodeId, ...] = ()
    redeemers: tuple[NodeId, ...] = ()
    #: Where it is paid ahead by whoever is not trusted. Without one everybody is.
    chain: ChainSettings = ChainSettings()
    #: What it asks of tickets.
    payee: PayeeRules = PayeeRules()
    rules: Rules = Rules()
