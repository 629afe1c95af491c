"""What the redeemer's machine goes by, each number with its unit."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from shoal.units import HOUR_MS, MINUTE_MS, SECOND_MS

GWEI = 10**9


class Rules(Struct, frozen=True, kw_only=True):
    """What the redeemer's machine goes by."""

    #: How often the chain is looked at while something is open, and how rarely while it does not answer.
    tick_ms: Annotated[int, Meta(ge=1)] = 2 * SECOND_MS
    silent_max_ms: int = 30 * SECOND_MS
    #: So many blocks must lie on a block before what it says is final. The deepest reorganisation borne.
    confirmations: Annotated[int, Meta(le=64)] = 6
    #: Transactions on their way at once.
    in_flight_max: Annotated[int, Meta(ge=1)] = 8
    #: A transaction that nobody mines is sent again after this long, and replaced by a dearer one after that.
    rebroadcast_ms: int = 30 * SECOND_MS
    stuck_ms: int = 3 * MINUTE_MS
    #: How much dearer; nodes ask for a tenth at least.
    raise_ppm: int = 125_000
    #: How often one may be replaced, and how often tried anew after the chain rejected it.
    replacements_max: int = 24
    reverts_max: int = 3
    #: What is added to an estimate of gas.
    gas_margin_ppm: int = 200_000
    #: Above this price of gas nothing is sent: it waits.
    gas_price_max_wei: Annotated[int, Meta(ge=1, le=2**62)] = 500 * GWEI
    #: More gas than this nothing of ours takes.
    gas_max: Annotated[int, Meta(ge=21_000, le=2**40)] = 100_000_000
    #: What cannot be done now is looked at again after this long.
    again_ms: int = 15 * SECOND_MS
    #: Looked at together.
    weighed_max: Annotated[int, Meta(ge=1)] = 16
    #: Intents that are open; more are not taken. Ended ones that are remembered.
    open_max: int = 100_000
    ended_max: int = 10_000
    #: Pipelines that the totals tell apart.
    pipelines_max: int = 256
    #: A notice is sent again after this long, then after twice as long, up to the maximum; given up after so long.
    notice_again_ms: int = 2 * SECOND_MS
    notice_again_max_ms: int = 10 * MINUTE_MS
    notice_keep_ms: int = 24 * HOUR_MS
    notices_at_once_max: int = 4
    notices_max: int = 10_000
