"""Our transactions are, to the byte, those of the library that everybody signs with."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from shoal.chain.transaction import Transaction
from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.runtime.keys import NodeKey

SECRET = bytes(range(1, 33))
KEY = NodeKey(SECRET)
uint = st.integers(0, 2**64) | st.sampled_from((0, 1, 127, 128, 255, 256, 2**96))


@given(
    chain_id=st.integers(1, 2**32),
    nonce=st.integers(0, 2**63),
    to=st.none() | st.binary(min_size=20, max_size=20),
    value=uint,
    data=st.binary(max_size=80),
    gas=st.integers(0, 2**40),
    fee=uint,
    tip=st.none() | uint,
)
def test_signed_as_by_the_library(
    chain_id: int, nonce: int, to: bytes | None, value: int, data: bytes, gas: int, fee: int, tip: int | None
) -> None:
    ours = Transaction(
        chain_id=chain_id,
        nonce=nonce,
        to=None if to is None else NodeId("0x" + to.hex()),
        value_wei=value,
        data=data,
        gas=gas,
        max_fee_wei=fee,
        tip_wei=tip,
    ).sign(KEY.sign_hash)
    fields: dict[str, Any] = {"chainId": chain_id, "nonce": nonce, "value": value, "data": data, "gas": gas}
    fields["to"] = to if to is not None else b""
    fields |= (
        {"gasPrice": fee} if tip is None else {"maxFeePerGas": fee, "maxPriorityFeePerGas": tip, "type": 2}
    )
    theirs = Account.sign_transaction(fields, SECRET)
    assert ours.raw == bytes(theirs.raw_transaction)
    assert ours.hash == "0x" + bytes(theirs.hash).hex()


def test_twice_the_same_and_never_below_zero() -> None:
    one = Transaction(chain_id=1, nonce=0, to=None, gas=1, max_fee_wei=1)
    assert one.sign(KEY.sign_hash) == one.sign(KEY.sign_hash)
    with pytest.raises(Refused, match="below zero"):
        Transaction(chain_id=1, nonce=-1, to=None, gas=1, max_fee_wei=1).sign(KEY.sign_hash)
