"""Looking on chain for what this worker was paid. Only a worker that has a chain loads this."""

from __future__ import annotations

from shoal.chain.abi import read_log
from shoal.chain.bindings import Payouts
from shoal.chain.config import deployment, require
from shoal.chain.reader import Reader
from shoal.chain.rpc import Rpc
from shoal.chain.settings import ChainSettings
from shoal.ids import NodeId
from shoal.money.ticket import uint256
from shoal.worker.payments import FindPayment, PaymentFound

KINDS = {Payouts.PAID_OUT.topic: Payouts.PAID_OUT}


class Bank:
    """One chain, as the one who is paid at `payout` reads it. Make it where the loop runs, and close it there."""

    def __init__(self, settings: ChainSettings, payout: NodeId) -> None:
        """Raises `Refused` if the settings make no sense."""
        contracts = deployment(settings)
        self._contract = require(contracts.payouts, "Payouts")
        self._rpc = Rpc(contracts.rpc_url)
        self._reader = Reader(self._rpc, contracts)
        self._confirmations = settings.confirmations
        self._payout = payout

    async def find(self, wanted: FindPayment) -> PaymentFound | None:
        """What a transaction paid us in this batch, or None until it lies deep enough. Raises one of our errors.

        Whoever sent it: the name of a batch says whose it is, and money is money.
        """
        receipt = await self._reader.receipt(wanted.transaction)
        if receipt is None or not receipt.good:
            return None
        if (await self._reader.head()).number - receipt.block < self._confirmations:
            return None
        wei = 0
        for each in receipt.logs:
            log = read_log(each, KINDS)
            if log is None or log.address != self._contract:
                continue
            if log.values["batch"] == wanted.batch and log.values["worker"] == self._payout:
                wei += log.values["amount"]
        return PaymentFound(wanted.orchestrator, wanted.number, uint256(wei)) if wei else None

    async def close(self) -> None:
        """Hang up."""
        await self._rpc.close()
