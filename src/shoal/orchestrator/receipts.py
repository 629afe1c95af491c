"""What is said of many attempts at once: receipts, signed together, and that they are paid for.

A receipt is shown again to the worker whose answer it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from msgspec.structs import replace

from shoal.errors import Untrusted
from shoal.ids import Digest, JobId, NodeId
from shoal.machine import Gather, Send, Value
from shoal.money.payee import Payee
from shoal.money.wei import Wei
from shoal.orchestrator.config import Rules
from shoal.orchestrator.payouts import Payouts, Sign
from shoal.units import Instant
from shoal.wire import words
from shoal.work.receipt import NO_ANSWER, Terms
from shoal.work.seal import seal
from shoal.work.task import Leased, Task


class Receipts(Payouts):
    """The books and payments, and what is signed of them for others."""

    __slots__ = ("_closed", "_gathering", "_sent", "_sent_before", "_unsealed")

    def __init__(self, rules: Rules, payee: Payee | None, *, node: NodeId, sign: Sign) -> None:
        super().__init__(rules, payee, node=node, sign=sign)
        self._gathering = False
        #: Answers on their way, good or bad, to whom, and their receipts, which wait to be signed together.
        self._unsealed: list[tuple[NodeId, words.Result | words.Failure, words.Receipt]] = []
        #: The receipts that went out of late, for workers who ask; and those before them, which go next.
        self._sent: dict[tuple[JobId, int], words.Receipt] = {}
        self._sent_before: dict[tuple[JobId, int], words.Receipt] = {}
        #: Leases that are paid for, and whom that is to be said to.
        self._closed: dict[NodeId, list[words.Closed]] = {}

    def seal_soon(
        self, task: Task, word: words.Result | words.Failure, units: int, answer: Digest, run_ms: int
    ) -> None:
        """Say how an attempt has ended once its receipt is signed, with the others of this moment."""
        self._unsealed.append((task.lease.gateway, word, self._unsigned(task, units, answer, run_ms)))
        self.gather()

    def seal_again(self, task: Task, units: int) -> None:
        """Its gateway pays for an attempt after we said that it gave no answer: its worker is shown what is paid."""
        lease = task.lease
        said = self._receipt(lease.job, lease.epoch)
        if said is None or not said.answer:
            (receipt,) = seal([self._unsigned(task, units, NO_ANSWER, 0)], self._sign)
            self._sent[lease.job, lease.epoch] = receipt

    def _unsigned(self, task: Task, units: int, answer: Digest, run_ms: int) -> words.Receipt:
        lease = task.lease
        terms = Terms(lease.job, lease.epoch, self.node, lease.spec, lease.price, lease.request)
        return terms.receipt(lease.worker, units, answer, run_ms, credit=self.credit(lease.gateway))

    def gather(self) -> None:
        """Have `say_gathered` called once all that comes in this moment has been handled."""
        if not self._gathering:
            self._gathering = True
            self.emit(Gather())

    def say_gathered(self) -> None:
        """Say what was answered, and what was paid for: of each all at once."""
        self._gathering = False
        self._pass_on()
        self._say_closed()

    def _pass_on(self) -> None:
        """Sign what has been answered, and send it."""
        answers, self._unsealed = self._unsealed, []
        receipts = seal([receipt for _, _, receipt in answers], self._sign)
        for (gateway, answer, _), receipt in zip(answers, receipts, strict=True):
            self.emit(Send(gateway, replace(answer, receipt=receipt)))
            # That nobody took an answer in time does not make it none: its gateway may pay for it yet.
            if receipt.answer or self._receipt(receipt.job, receipt.epoch) is None:
                self._sent[receipt.job, receipt.epoch] = receipt
        if len(self._sent) >= self.rules.receipts_max:
            self._sent, self._sent_before = {}, self._sent

    def close_soon(self, lease: Leased, share: Wei, wei: Wei | None) -> None:
        """Say to worker and gateway that a lease is paid for, with the others of this moment.

        None for a gateway that has not settled it: it would take that for the answer to its own word.
        """
        if wei is not None:
            self._closed.setdefault(lease.gateway, []).append(words.Closed(lease.job, lease.epoch, wei))
        self._closed.setdefault(lease.worker, []).append(words.Closed(lease.job, lease.epoch, share))
        self.gather()

    def _say_closed(self) -> None:
        """Say what is paid for, to each in one word. Whoever does not hear it will ask again."""
        closed, self._closed = self._closed, {}
        for peer, leases in closed.items():
            self.emit(Send(peer, words.Settled(tuple(leases))))

    def _receipt(self, job: JobId, epoch: int) -> words.Receipt | None:
        """What went out of an attempt, if that was of late."""
        return self._sent.get((job, epoch)) or self._sent_before.get((job, epoch))

    def _hear_receipt_asked(self, peer: NodeId, word: words.ReceiptAsked, now: Instant) -> None:
        receipt = self._receipt(word.job, word.epoch)
        if receipt is not None and receipt.worker != peer:
            raise Untrusted(f"{peer} asks for the receipt of another's job {word.job}")
        self.emit(Send(peer, words.ReceiptShown(word.job, word.epoch, receipt)))

    worker_words: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        **Payouts.worker_words,
        words.ReceiptAsked: _hear_receipt_asked,
    }
