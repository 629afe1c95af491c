"""Amounts and prices: whole wei, exact rationals, one rounding rule.

Both sides of every deal compute a price here, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import add, sub
from typing import NewType

from msgspec import Struct

from shoal.errors import Refused

Wei = NewType("Wei", int)

MILLION = 1_000_000

#: The most that one word or fact can carry: what encoders hold, signed, in 64 bits.
WEI_MAX = Wei(2**63 - 1)

NOTHING = Wei(0)
#: Sums and differences of amounts are amounts.
plus: Callable[[Wei, Wei], Wei] = add
minus: Callable[[Wei, Wei], Wei] = sub


class Price(Struct, frozen=True, array_like=True, gc=False):
    """`wei` for every `per_units` work units: an exact rational, never a float."""

    wei: int
    per_units: int = 1

    def __post_init__(self) -> None:
        if self.wei < 0 or self.per_units <= 0:
            raise Refused(f"a price is wei >= 0 per units >= 1, not {self.wei} per {self.per_units}")

    def __str__(self) -> str:
        return f"{self.wei} wei for {self.per_units} unit{'s' if self.per_units > 1 else ''}"

    def cost(self, units: int) -> Wei:
        """What `units` cost, rounded up to whole wei, so that work is never free by rounding."""
        return Wei(-(-units * self.wei // self.per_units))

    def part(self, units: int, share_ppm: int) -> Wei:
        """The part of what `units` cost that `share_ppm` millionths make, rounded down."""
        return Wei(-(-units * self.wei // self.per_units) * share_ppm // MILLION)

    def within(self, limit: Price) -> bool:
        """True if this price is at most `limit`."""
        return self.wei * limit.per_units <= limit.wei * self.per_units


def part(amount: Wei, share_ppm: int) -> Wei:
    """The part of `amount` that `share_ppm` millionths make, rounded down; the rest is the other's."""
    return Wei(amount * share_ppm // MILLION)
