"""How the chain of a local network is set, and what is paid on it."""

from __future__ import annotations

from msgspec import Struct


class Economy(Struct, frozen=True, kw_only=True):
    """One way to set it."""

    block_ms: int
    #: How often everybody looks at the chain, and how deep a block must lie to be final: nobody takes anything back
    #: on a chain of one's own.
    poll_ms: int
    confirmations: int = 1
    round_blocks: int = 600
    base_fee_wei: int
    #: The most that one ticket is worth.
    ticket_ev_wei: int
    deposit_wei: int
    reserve_wei: int
    #: Workers are paid so long after they were paid last, and told of their accounts so often; None: as anywhere.
    payout_ms: int | None = None
    account_ms: int | None = None


#: As real ones are: wins are rare and large, and a ticket stands for many small jobs.
USUAL = Economy(
    block_ms=1_000,
    poll_ms=3_000,
    base_fee_wei=10**8,
    ticket_ev_wei=10**12,
    deposit_wei=10**18,
    reserve_wei=10**18,
)
#: For a look at everything in a minute: blocks are quick, tickets tiny, and gas so cheap that one of about a thousand
#: wins. Who wins is drawn as ever.
TOUR = Economy(
    block_ms=250,
    poll_ms=250,
    base_fee_wei=25_000,
    ticket_ev_wei=10**9,
    deposit_wei=10**16,
    reserve_wei=10**16,
    payout_ms=10_000,
    account_ms=2_000,
)
