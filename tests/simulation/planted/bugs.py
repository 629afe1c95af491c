"""Bugs to plant: what each changes in the source. The simulator must find every one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One place: `old` is there exactly once, and becomes `new`."""

    file: str
    old: str
    new: str


BUGS: dict[str, tuple[Change, ...]] = {
    "act-before-commit": (
        Change(
            "runtime/host.py",
            "if self._pending or self._journal.durable < self._appended:",
            "if False:",
        ),
    ),
    "answer-before-the-lease-lasts": (
        Change(
            "orchestrator/receipts.py",
            "self.emit(Send(gateway, replace(answer, receipt=receipt)))",
            "self.emit(SendAtOnce(gateway, replace(answer, receipt=receipt)))",
        ),
        Change("orchestrator/receipts.py", "Send,", "Send, SendAtOnce,"),
    ),
    "skip-the-epoch-check": (
        Change("work/lease.py", "lease is None or lease.epoch != epoch or", "lease is None or"),
        Change(
            "work/lifecycle.py", "if epoch not in (self.epoch, self.hedge) or not epoch:", "if not epoch:"
        ),
    ),
    "pay-both-of-two-attempts": (Change("gateway/settlement.py", "if epoch != job.epoch:", "if False:"),),
    "forget-the-second-attempt": (
        Change(
            "gateway/books.py",
            "        for leases in (self.leases, self.hedges):\n            if (lease := leases.end(job.id))",
            "        self.hedges.end(job.id)\n"
            "        for leases in (self.leases, self.hedges):\n            if (lease := leases.end(job.id))",
        ),
    ),
    "release-a-hold-twice": (
        Change(
            "money/ledger.py",
            "left = minus(self._held.get(held.account, NOTHING), held.wei)",
            "left = Wei(max(0, self._held.get(held.account, NOTHING) - 2 * held.wei))",
        ),
    ),
    "capacity-by-counter": (
        Change(
            "orchestrator/machine.py",
            "            self._answer(name, lease.gateway,",
            "            for tasks in self.leases._by_holder[peer].values():\n"
            "                tasks.pop(name, None)\n"
            "            self._answer(name, lease.gateway,",
        ),
    ),
    "forget-a-timer-at-replay": (Change("machine.py", "_RINGS = (Tick, Restarted)", "_RINGS = (Tick,)"),),
    "dedupe-by-key-alone": (Change("work/idempotency.py", "if use.request != request:", "if False:"),),
    "remember-no-key": (
        Change("work/idempotency.py", "        self.uses[client, key] = use\n", "        pass\n"),
    ),
    "deliver-only-once": (
        Change(
            "runtime/host.py",
            "            self._send(letter)\n            self._repeat_later()\n",
            "            self._send(letter)\n            del self.outbox[letter.key]\n",
        ),
    ),
    "pay-for-another-attempt": (
        Change("work/stream.py", "if epoch == self._epoch else 0", "if epoch else 0"),
    ),
    "shown-is-received": (
        Change(
            "work/stream.py",
            "return min(self._consumed, self.units) if",
            "return (self.units if self._cursor <= len(self.text) else 0) if",
        ),
    ),
    "expire-and-book-nothing": (
        Change("orchestrator/machine.py", "        if task.owed:\n", "        if False:\n"),
    ),
    "expire-and-pay-nothing": (
        Change(
            "gateway/machine.py",
            "Abandoned(job_id, expired(job), *self._received(job))",
            "Abandoned(job_id, expired(job))",
        ),
    ),
    "acknowledge-before-commit": (
        Change(
            "gateway/machine.py",
            "self.emit(Send(job.orchestrator, words.Acknowledge(job.id, job.epoch, units)))",
            "self.emit(SendAtOnce(job.orchestrator, words.Acknowledge(job.id, job.epoch, units)))",
        ),
        Change("gateway/machine.py", "    Send,\n    Tick,\n", "    Send,\n    SendAtOnce,\n    Tick,\n"),
    ),
    "forget-acknowledgements": (
        Change(
            "gateway/books.py", "        self.jobs[fact.job] = self._moved(fact, now)\n", "        pass\n"
        ),
    ),
    "book-what-was-only-sent": (
        Change(
            "orchestrator/machine.py",
            "self._earn(task, task.owed, now, fault)",
            "self._earn(task, min(task.lease.spec.units_max, self.relay(task).passed), now, fault)",
        ),
    ),
    "pay-nothing-to-the-silent": (
        Change(
            "gateway/machine.py",
            "self._fall(job, lease.epoch, silent, now, owed=job.owed)",
            "self._fall(job, lease.epoch, silent, now)",
        ),
    ),
    "silence-has-the-last-word": (
        Change(
            "orchestrator/machine.py",
            "if task.phase is EARNED and (task.fault is None or word.wei <= task.wei):",
            "if task.phase is EARNED:",
        ),
    ),
    "round-the-share-up": (
        Change(
            "money/wei.py", "Wei(amount * share_ppm // MILLION)", "Wei(-(-amount * share_ppm // MILLION))"
        ),
    ),
    "release-what-was-earned": (Change("work/task.py", "    (RELEASED, Earned): EARNED,\n", ""),),
    "read-before-commit": (
        Change("sim/houses.py", "self.host.when_durable(lambda: tell(view))", "tell(view)"),
    ),
    # Money that is paid ahead
    "credit-before-journal": (
        Change(
            "orchestrator/payments.py",
            "self.emit(Send(gateway, words.Credited(number, booked.wei, fault)))",
            "self.emit(SendAtOnce(gateway, words.Credited(number, booked.wei, fault)))",
        ),
        Change(
            "orchestrator/payments.py",
            "import Effect, Event, Send,",
            "import Effect, Event, Send, SendAtOnce,",
        ),
    ),
    "tender-before-journal": (
        Change(
            "gateway/payments.py",
            "self.emit(Deliver(tender_key(node, number), node, word))",
            "self.emit(Deliver(tender_key(node, number), node, word), SendAtOnce(node, word))",
        ),
        Change("gateway/payments.py", "Retire, Send,", "Retire, Send, SendAtOnce,"),
    ),
    "nonces-again-after-a-restart": (
        Change(
            "gateway/books.py",
            "            self.payer.load(state.payer)",
            "            self.payer.load(PayerBook())",
        ),
    ),
    "forget-to-release-what-was-committed": (
        Change(
            "gateway/books.py",
            "        self.purse.release(node,",
            "        if epoch == job.epoch:\n            self.purse.release(node,",
        ),
    ),
    "say-once-that-a-ticket-won": (
        Change(
            "orchestrator/payouts.py",
            "self.emit(Deliver(key, self.rules.redeemer, words.Winner(winner, pipeline)))",
            "self.emit(Send(self.rules.redeemer, words.Winner(winner, pipeline)))",
        ),
    ),
    "book-a-repeated-payment-twice": (
        Change("orchestrator/payments.py", "        if booked is not None:", "        if False:"),
        Change("money/payee.py", "elif nonce in taken or nonce in seen:", "elif nonce in taken:"),
        Change(
            "money/payee.py",
            "if fact.expiration_block <= self._block or any(seen.nonces.meets(*each) for each in fact.nonces):",
            "if fact.expiration_block <= self._block:",
        ),
    ),
    "believe-the-newest-block": (
        Change(
            "redeemer/machine.py",
            "view.head - found.block >= self.rules.confirmations",
            "view.head - found.block >= 0",
        ),
    ),
    "trust-a-stranger-with-everything": (
        Change("gateway/purse.py", "if committed and needed > limit:", "if False:"),
    ),
    "forget-the-payment-of-a-lost-word": (Change("gateway/purse.py", "if fact.wei < wei:", "if False:"),),
    "pay-a-batch-anew": (
        Change("orchestrator/payouts.py", "elif word.state == REFUSED:", "elif word.state != CONFIRMED:"),
    ),
}

#: Those that every test run looks for.
QUICK = ("act-before-commit", "skip-the-epoch-check", "release-a-hold-twice", "book-a-repeated-payment-twice")
