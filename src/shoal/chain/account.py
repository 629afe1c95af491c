"""One key's account on a chain, for whoever stands by: it sends a transaction and waits until the chain has it.

For people and scripts, one transaction after the other. What must be sent
whatever happens to the process is the redeemer's, which journals first.
"""

from __future__ import annotations

import asyncio

from shoal.chain.reader import Reader, Receipt, whole
from shoal.chain.transaction import Transaction
from shoal.errors import Failed, Refused
from shoal.ids import NodeId
from shoal.runtime.keys import NodeKey

#: How much more gas a transaction may take than it was estimated to; nobody pays for what it does not take.
GAS_MARGIN_PER_CENT = 25
LOOK_S = 0.1
WAIT_S = 120.0


class Account:
    """A key's account. Make it where the loop runs."""

    def __init__(self, key: NodeKey, reader: Reader) -> None:
        self.key = key
        self.reader = reader

    async def send(
        self, to: NodeId, data: bytes = b"", value_wei: int = 0, *, wait_s: float = WAIT_S
    ) -> Receipt:
        """Send, and wait for the receipt. Raises `Reverted` with the contract's reason, `Refused` without money."""
        reader, me = self.reader, self.key.id
        question = {"from": me, "to": to, "data": "0x" + data.hex(), "value": hex(value_wei)}
        chain_id = await reader.chain_id()
        balance_wei = await reader.balance_wei(me)
        if balance_wei < value_wei:  # a node would say so too, each in its own words
            raise Refused(f"{me} has {balance_wei} wei on chain {chain_id}, and {value_wei} are to be sent")
        gas = whole(await reader.rpc.ask("eth_estimateGas", question))
        gas += gas * GAS_MARGIN_PER_CENT // 100
        head, tip_wei = await reader.head(), await reader.tip_wei()
        if head.base_fee_wei is None:
            max_fee_wei, tip = await reader.gas_price_wei(), None
        else:  # enough if the fee doubles while this waits
            max_fee_wei, tip = 2 * head.base_fee_wei + tip_wei, tip_wei
        needed_wei = value_wei + gas * max_fee_wei
        if balance_wei < needed_wei:
            raise Refused(
                f"{me} has {balance_wei} wei on chain {chain_id}, and this takes up to {needed_wei} with its fee"
            )
        signed = Transaction(
            chain_id=chain_id,
            nonce=whole(await reader.rpc.ask("eth_getTransactionCount", me, "pending")),
            to=to,
            value_wei=value_wei,
            data=data,
            gas=gas,
            max_fee_wei=max_fee_wei,
            tip_wei=tip,
        ).sign(self.key.sign_hash)
        await reader.rpc.ask("eth_sendRawTransaction", "0x" + signed.raw.hex())
        receipt = await self._receipt(signed.hash, wait_s)
        if not receipt.good:
            raise Failed(f"transaction {signed.hash} was mined, and the contract rejected it")
        return receipt

    async def _receipt(self, transaction: str, wait_s: float) -> Receipt:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            receipt = await self.reader.receipt(transaction)
            if receipt is not None:
                return receipt
            if loop.time() > until:
                raise Failed(
                    f"transaction {transaction} was sent, and the chain has not taken it after {wait_s:.0f} s; "
                    "it may yet: look again before you send another"
                )
            await asyncio.sleep(LOOK_S)
