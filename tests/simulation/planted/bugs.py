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
            "orchestrator/machine.py",
            "self.emit(Send(gateway, replace(answer, receipt=receipt)))",
            "self.emit(SendAtOnce(gateway, replace(answer, receipt=receipt)))",
        ),
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
            "if (lease := leases.end(job.id)) is not None:",
            "if (lease := leases.end(job.id)) is not None and leases is not self.hedges:",
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
            "            self._answered[name] = None\n",
            "            self._answered[name] = None\n"
            "            for tasks in self.leases._by_holder[peer].values():\n"
            "                tasks.discard(task.id)\n",
        ),
    ),
    "forget-a-timer-at-replay": (
        Change("machine.py", "if isinstance(event, _RINGS):", "if isinstance(event, Tick):"),
    ),
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
    "round-the-share-up": (
        Change(
            "money/wei.py", "Wei(amount * share_ppm // MILLION)", "Wei(-(-amount * share_ppm // MILLION))"
        ),
    ),
    "release-what-was-earned": (Change("work/task.py", "    (RELEASED, Earned): EARNED,\n", ""),),
    "read-before-commit": (
        Change("sim/houses.py", "self.host.when_durable(lambda: tell(view))", "tell(view)"),
    ),
}

#: The three that every test run looks for.
QUICK = ("act-before-commit", "skip-the-epoch-check", "release-a-hold-twice")
