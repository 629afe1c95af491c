"""What an intent is as a transaction: where it goes, what it carries, and the operator's signature under it."""

from __future__ import annotations

from collections.abc import Callable

from shoal.chain.bindings import Payouts, TicketBroker
from shoal.chain.config import Deployment, require
from shoal.chain.reader import ticket_tuple
from shoal.chain.transaction import Transaction
from shoal.ids import NodeId
from shoal.redeemer.events import Draft
from shoal.redeemer.intent import Fill, Pay, Redeem, What


class Notary:
    """Writes and signs the transactions of one account on one chain. Before it knows the chain it signs nothing."""

    def __init__(self, account: NodeId, sign_hash: Callable[[bytes], bytes], contracts: Deployment) -> None:
        self.account = account
        self._sign_hash = sign_hash
        self._contracts = contracts
        self.chain_id = contracts.chain_id

    def sign(self, draft: Draft) -> tuple[bytes, str]:
        """The bytes to send, and their hash."""
        assert self.chain_id > 0, "nothing is signed for a chain that is not known"
        to, value_wei, data = (self.account, 0, b"") if draft.void else self.order(draft.what)
        signed = Transaction(
            chain_id=self.chain_id,
            nonce=draft.nonce,
            to=to,
            value_wei=value_wei,
            data=data,
            gas=draft.gas,
            max_fee_wei=draft.max_fee_wei,
            tip_wei=draft.tip_wei,
        ).sign(self._sign_hash)
        return signed.raw, signed.hash

    def order(self, what: What) -> tuple[NodeId, int, bytes]:
        """The contract, the value and the data of a call that does this."""
        match what:
            case Redeem(winning):
                rand = int.from_bytes(winning.recipient_rand)
                ticket, signature = ticket_tuple(winning.signed.ticket), winning.signed.signature
                broker = require(self._contracts.ticket_broker, "TicketBroker")
                return broker, 0, TicketBroker.redeem.call(ticket, signature, rand)
            case Pay(batch, payees):
                workers = [payee.node for payee in payees]
                amounts = [int.from_bytes(payee.wei) for payee in payees]
                payouts = require(self._contracts.payouts, "Payouts")
                return payouts, what.wei, Payouts.pay_out.call(batch, workers, amounts)
            case Fill():
                return self.account, 0, b""
