"""A local chain's settings, each with its limit and its unit."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from shoal.chain.local.chain import BASE_FEE_WEI, CHAIN_ID


class Settings(Struct, frozen=True, kw_only=True):
    """How one local chain's process is run."""

    #: The folder of its blocks, and of `chain.json`, which says where it is and what is on it.
    home: str
    #: Where it answers JSON-RPC; only ever on this computer.
    http_addr: str = "127.0.0.1:8545"
    chain_id: Annotated[int, Meta(ge=1, le=2**32)] = CHAIN_ID
    #: How often a block is made without being asked; 0 for never. A transaction makes one at once.
    block_ms: Annotated[int, Meta(le=3_600_000)] = 1_000
    #: What a unit of gas costs, until `anvil_setNextBlockBaseFeePerGas` says otherwise.
    base_fee_wei: int = BASE_FEE_WEI
    #: Who is given ether and tokens, once each: `gateway = "0x..."`.
    accounts: dict[str, str] = {}
    account_ether: Annotated[int, Meta(le=10**9)] = 1_000
    account_tokens: Annotated[int, Meta(le=10**9)] = 1_000
    #: Whether the contracts are put on the chain; without them it is empty.
    contracts: bool = True
    #: How long a round is; a ticket is valid for `ticket_rounds`, and who unlocks money waits `unlock_rounds`.
    round_blocks: Annotated[int, Meta(ge=1, le=216_000)] = 120
    ticket_rounds: Annotated[int, Meta(ge=1, le=100)] = 2
    unlock_rounds: Annotated[int, Meta(ge=1, le=100)] = 7
    unbonding_rounds: Annotated[int, Meta(ge=1, le=100)] = 7
    pool_max: Annotated[int, Meta(ge=1, le=100)] = 100
