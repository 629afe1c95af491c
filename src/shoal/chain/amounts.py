"""Amounts as people write and read them, exact to the last wei."""

from __future__ import annotations

import re
from fractions import Fraction

from shoal.errors import Refused

WEI_PER = {"wei": 1, "gwei": 10**9, "eth": 10**18}

_AMOUNT = re.compile(r"(?P<number>[0-9]{1,40}(\.[0-9]{1,18})?) ?(?P<unit>wei|gwei|eth)?")


def wei_of(text: str, *, unit: str = "") -> int:
    """An amount with its unit: `0.1eth`, `5 gwei`, `1000wei`; a bare number is of `unit`, if there is one.

    Raises `Refused` for anything else, and for what is no whole number of wei.
    """
    found = _AMOUNT.fullmatch(text.strip().lower())
    per = WEI_PER.get(found["unit"] or unit) if found else None
    wei = Fraction(found["number"]) * per if found and per else None
    if wei is None or wei.denominator != 1:
        raise Refused(f"{text[:50]!r} is no amount: write a number and its unit, as 0.1eth, 5gwei or 1000wei")
    return int(wei)


def eth(wei: int) -> str:
    """An amount in eth, without idle zeros."""
    whole, rest = divmod(abs(wei), WEI_PER["eth"])
    sign = "-" if wei < 0 else ""
    return sign + f"{whole}.{rest:018d}".rstrip("0").rstrip(".")
