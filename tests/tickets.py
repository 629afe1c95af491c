"""A payee and its payers for tests: keys that are always the same, a chain as it may be seen, signed tickets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import count
from typing import Any

from msgspec.structs import replace

from shoal.ids import NodeId
from shoal.money.funds import ChainView, Funds
from shoal.money.payee import Payee
from shoal.money.payer import Payer, PayerRules
from shoal.money.terms import GWEI, PayeeRules
from shoal.money.ticket import SignedNonce, Ticket, TicketParams, uint256
from shoal.runtime.keys import NodeKey, recover_hash

ETHER = 10**18
PAYEE = NodeKey((7).to_bytes(32))
OTHER_PAYEE = NodeKey((8).to_bytes(32))
PAYER = NodeKey((9).to_bytes(32))
OTHER_PAYER = NodeKey((10).to_bytes(32))

VIEW = ChainView(1_000, 12, b"\x0c" * 32, round_initialised=True, gas_price_wei=GWEI, pool_size=4)
FUNDS = Funds(deposit=3 * ETHER, reserve=4 * ETHER)
EV_WEI = 10**12


def payee(key: NodeKey = PAYEE, *, secret: bytes = b"secret", **rules: Any) -> Payee:
    """A payee whose seeds are 1, 2, 3."""
    seeds = count(1)
    return Payee(
        key.id,
        PayeeRules(**rules),
        secret=hashlib.sha256(secret).digest(),
        draw_seed=lambda: uint256(next(seeds)),
        recover=recover_hash,
    )


def payer(key: NodeKey = PAYER, **rules: Any) -> Payer:
    """A payer of tickets."""
    return Payer(key.id, PayerRules(**rules))


def signed(key: NodeKey, tickets: Iterable[Ticket]) -> tuple[SignedNonce, ...]:
    """Tickets as they travel."""
    return tuple(SignedNonce(each.nonce, key.sign_hash(each.signed_hash)) for each in tickets)


def drawn_up(
    key: NodeKey, params: TicketParams, nonces: Iterable[int], sender: NodeId | None = None
) -> tuple[SignedNonce, ...]:
    """Tickets under nonces of one's choice."""
    return signed(key, (params.ticket(sender or key.id, nonce) for nonce in nonces))


def at_block(view: ChainView, block: int) -> ChainView:
    """The same chain, later or earlier."""
    return replace(view, block=block)
