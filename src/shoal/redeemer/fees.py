"""What a transaction offers for its gas: enough to be taken soon, and never more than a ceiling."""

from __future__ import annotations

from msgspec import Struct

from shoal.redeemer.events import Looked
from shoal.redeemer.intent import Attempt

MILLION = 1_000_000


class Fee(Struct, frozen=True):
    """An offer for each unit of gas. Without a `tip` it is paid in full."""

    max_fee_wei: int
    tip_wei: int | None


def highest(wei: int, gas: int) -> int:
    """The highest price of gas at which something worth `wei` still gains, whatever becomes of the price."""
    return max(0, (wei - 1) // gas)


def choose(view: Looked, ceiling_wei: int, last: Attempt | None, raise_ppm: int) -> Fee | str:
    """An offer, dearer than the `last` one if there is one; or why there is none under this ceiling."""
    expected = view.price_wei + (view.tip_wei or 0)
    least = expected
    tip = view.tip_wei
    if last is not None:
        least = max(least, _raised(last.max_fee_wei, raise_ppm))
        if tip is not None:
            tip = max(tip, _raised(last.tip_wei or 0, raise_ppm))
    if least > ceiling_wei:
        return f"gas is at {expected} wei, and more than {ceiling_wei} are not paid"
    if tip is None:
        return Fee(least, None)
    # Room for the base fee to double; what is not needed is not paid.
    room = max(least, 2 * view.price_wei + tip)
    return Fee(min(room, ceiling_wei), min(tip, ceiling_wei))


def _raised(wei: int, raise_ppm: int) -> int:
    """So much more, rounded up, and more in any case."""
    return wei + max(1, -(-wei * raise_ppm // MILLION))
