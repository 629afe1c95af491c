"""Looks at the chain for the redeemer's machine: each question of its becomes one event, whatever happens.

What it says of one look is of one branch: if the chain went back meanwhile, it looks again.
"""

from __future__ import annotations

import asyncio

from shoal.chain.abi import read_log
from shoal.chain.bindings import BROKER_EVENTS, Rounds, TicketBroker
from shoal.chain.config import require
from shoal.chain.reader import Block, Reader, Receipt, raw, whole
from shoal.chain.rpc import NodeRefused, Reverted
from shoal.errors import ShoalError
from shoal.redeemer.events import Broadcast, Look, Looked, Mined, Sent, Silent, Weigh, Weighed
from shoal.redeemer.intent import Redeem, What
from shoal.redeemer.notary import Notary

#: How often a look begins anew because the chain went back under it.
BRANCHES_MAX = 3

#: What nodes say of a transaction that they have already, or that has been mined: no fault of ours.
KNOWN = ("already known", "already imported", "known transaction", "transaction already in mempool")


class Lookout:
    """One account's view of one chain."""

    def __init__(self, reader: Reader, notary: Notary, confirmations: int) -> None:
        self._reader = reader
        self._notary = notary
        self._account = notary.account
        self._confirmations = confirmations
        self._rounds = require(reader.contracts.rounds, "Rounds")
        #: Whether the node is known to be one of this chain.
        self._sure = False

    async def look(self, effect: Look) -> Looked | Silent:
        """The chain as it is, and what became of our transactions."""
        try:
            await self._learn_chain()
            for _ in range(BRANCHES_MAX):
                looked, head = await self._look_once(effect)
                again = await self._reader.block(head.number)
                if again is not None and again.hash == head.hash:
                    return looked
        except ShoalError as error:
            return Silent(error.message)
        return Silent("the chain went back while it was looked at, several times")

    async def weigh(self, effect: Weigh) -> Weighed:
        """What an intent would take and bring, if its transaction were the next one."""
        try:
            await self._learn_chain()
            try:
                gas = await self._gas(effect.what)
                return Weighed(effect.id, gas, await self._brings_wei(effect.what))
            except Reverted as error:
                mined = effect.nonce is not None and await self._reader.nonce(self._account) > effect.nonce
                return Weighed(effect.id, fault=error.message, rejected=not mined)
        except ShoalError as error:
            return Weighed(effect.id, fault=error.message)

    async def broadcast(self, effect: Broadcast) -> Sent:
        """Give a transaction to the node; that it has it already is as good."""
        name = effect.attempt.transaction
        try:
            await self._learn_chain()
            await self._reader.rpc.ask("eth_sendRawTransaction", "0x" + effect.attempt.raw.hex())
        except ShoalError as error:
            known = any(words in error.message.lower() for words in KNOWN)
            return Sent(name, "" if known else error.message)
        return Sent(name)

    async def _learn_chain(self) -> None:
        """A transaction for the wrong chain is worth nothing, or worse."""
        if not self._sure:
            self._notary.chain_id = await self._reader.chain_id()
            self._sure = True

    async def _look_once(self, effect: Look) -> tuple[Looked, Block]:
        reader, account = self._reader, self._account
        head = await reader.head()
        deep = max(0, head.number - self._confirmations)
        nonce, nonce_deep, balance_wei, block, initialised, price_wei, tip_wei = await asyncio.gather(
            reader.nonce(account),
            reader.nonce(account, deep),
            reader.balance_wei(account),
            reader.call(self._rounds, Rounds.block_number),
            reader.call(self._rounds, Rounds.initialised),
            reader.gas_price_wei(),
            reader.tip_wei(),
        )
        # A nonce that the chain has not come to has no receipt.
        asked = [name for name, number in effect.transactions if number < nonce]
        receipts = await asyncio.gather(*(reader.receipt(name) for name in asked))
        mined = tuple(_mined(each) for each in receipts if each is not None and each.block <= head.number)
        market = head.base_fee_wei is not None
        looked = Looked(
            head.number,
            block,
            initialised,
            head.base_fee_wei if head.base_fee_wei is not None else price_wei,
            tip_wei if market else None,
            balance_wei,
            nonce,
            nonce_deep,
            mined,
        )
        return looked, head

    async def _gas(self, what: What) -> int:
        to, value_wei, data = self._notary.order(what)
        order = {"from": self._account, "to": to, "value": hex(value_wei), "data": "0x" + data.hex()}
        try:
            # Left to itself a node may reckon with what waits, and our own transaction may be among that.
            return whole(await self._reader.rpc.ask("eth_estimateGas", order, "latest"))
        except NodeRefused:
            # Some nodes give a reason only if the call itself is asked for.
            raw(await self._reader.rpc.ask("eth_call", order, "latest"))
            raise

    async def _brings_wei(self, what: What) -> int:
        """What a redemption would pay now: from the deposit, then from what is claimable of the reserve."""
        if not isinstance(what, Redeem):
            return 0
        ticket = what.winning.signed.ticket
        broker = require(self._reader.contracts.ticket_broker, "TicketBroker")
        (deposit, _), _ = await self._reader.call(broker, TicketBroker.sender_info, ticket.sender)
        if deposit >= ticket.face_wei:
            return ticket.face_wei
        claimable = await self._reader.claimable_wei(ticket.sender, ticket.recipient)
        return int(min(ticket.face_wei, deposit + claimable))


def _mined(receipt: Receipt) -> Mined:
    wei = 0
    for each in receipt.logs:
        log = read_log(each, BROKER_EVENTS)
        if log is not None and log.kind == TicketBroker.TRANSFER.name:
            wei += int(log.values["amount"])
    return Mined(receipt.transaction, receipt.block, receipt.good, receipt.fee_wei, wei)
