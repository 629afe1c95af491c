"""What a receipt must say: the seller writes it and the buyer checks it by the same words."""

from __future__ import annotations

from msgspec.structs import replace

from shoal.ids import Digest, JobId, NodeId
from shoal.machine import Value
from shoal.money.wei import Price, Wei
from shoal.wire.words import JobSpec, Receipt

#: What a receipt names as the answer of an attempt that gave none.
NO_ANSWER = Digest("")


class Terms(Value, frozen=True):
    """What buyer and seller of one attempt agreed on."""

    job: JobId
    epoch: int
    orchestrator: NodeId
    spec: JobSpec
    price: Price
    request: Digest

    def wei(self, units: int) -> Wei:
        """What so many units cost: those beyond the agreed most are not charged."""
        return self.price.cost(min(units, self.spec.units_max))

    def receipt(
        self, worker: NodeId, units: int, answer: Digest, run_ms: int, *, credit: Wei = Wei(0)
    ) -> Receipt:
        """The unsigned receipt for this answer, "" for none."""
        units = min(units, self.spec.units_max)
        return Receipt(
            self.job,
            self.epoch,
            self.orchestrator,
            worker,
            self.spec.pipeline,
            self.spec.model,
            units,
            self.price.cost(units),
            self.request,
            answer,
            run_ms,
            credit=credit,
        )

    def fits(self, receipt: Receipt, units: int, answer: Digest, run_ms: int) -> bool:
        """True if a receipt says, but for its signature, what these terms say."""
        said = self.receipt(receipt.worker, units, answer, run_ms, credit=receipt.credit)
        return replace(receipt, path=(), signature=b"") == said
