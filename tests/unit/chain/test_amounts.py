"""Amounts as they are typed and shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.chain.amounts import eth, wei_of
from shoal.errors import Refused


@pytest.mark.parametrize(
    ("text", "wei"),
    [
        ("1eth", 10**18),
        ("0.1 ETH", 10**17),
        ("5gwei", 5 * 10**9),
        ("7 wei", 7),
        ("1.000000001gwei", 10**9 + 1),
    ],
)
def test_with_a_unit(text: str, wei: int) -> None:
    assert wei_of(text) == wei


@pytest.mark.parametrize(
    "text", ["", "1", "eth", "-1eth", "1e3eth", "0.5wei", "1.0000000001gwei", "1,5eth", "1ether", "\u0661eth"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is no amount"):
        wei_of(text)


def test_a_bare_number_is_of_the_unit_that_is_usual() -> None:
    assert (wei_of("7", unit="wei"), wei_of("0", unit="gwei"), wei_of("1.5 gwei", unit="wei")) == (
        7,
        0,
        15 * 10**8,
    )
    with pytest.raises(Refused, match="is no amount"):
        wei_of("0.5", unit="wei")


@given(st.integers(0, 10**57))
def test_what_is_shown_can_be_typed(wei: int) -> None:
    assert wei_of(eth(wei) + "eth") == wei
