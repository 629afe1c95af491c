"""A gateway with ten thousand jobs waiting: `python -m benchmarks.queued [--json] [--record]`.

What a step of its machine costs beside the same step with an empty queue, and
what a waiting job takes of memory, all of it: the job, its hold, its key, its
place. No disk and no network: those cost the same however many wait.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from random import Random
from statistics import median
from typing import ParamSpec

from benchmarks.report import machine, table, write_block
from benchmarks.samples import append
from shoal.gateway.config import Rules
from shoal.gateway.events import CancelAsked, Submitted
from shoal.gateway.machine import GatewayMachine
from shoal.ids import ClientId, JobId, NodeId, digest
from shoal.ids import job_id as job_id_of
from shoal.machine import Connected, Deliver, Effect, Event, Fact, Heard, Tick
from shoal.money.wei import Price
from shoal.units import HOUR_MS, Instant
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import JobSpec, Payload
from shoal.work.lifecycle import Preference
from shoal.work.queue import PRIORITIES
from shoal.work.receipt import Terms

DEEP = 10_000
CLIENTS = 200
STEPS = 400
ROUNDS = 5
SELLER, WORKER = NodeId("0x" + "5" * 40), NodeId("0x" + "7" * 40)
PRICE = Price(7)
NOW = Instant(1_700_000_000_000)
ANSWER = encode_payload(Payload(b"answer"))
RULES = Rules(queue_jobs_max=2 * DEEP, queue_jobs_per_client_max=DEEP, ended_jobs_max=1_000)


Outcome = Sequence[Effect | Fact]
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Steps:
    """The median of each step at one depth of the queue, in µs."""

    submit: float
    cancel: float
    serve: float
    position: float
    tick: float


class Bench:
    """A gateway's machine, one seller with one slot that is taken, and clients of every class."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self.machine = GatewayMachine(RULES, verify=lambda node, data, signature: True)
        self.running: words.Job | None = None
        self._outcome: Outcome = ()
        self.handle(Connected(SELLER, "orchestrator", "boot"))
        self.handle(Heard(SELLER, words.Capacity((words.Quote("llm", "model", 1, 0, PRICE),))))
        self.handle(self.submission())

    def handle(self, event: Event) -> None:
        """One step; whoever has the slot afterwards is noted."""
        self.note(self.machine.handle(event, NOW))

    def note(self, effects: Outcome) -> None:
        """See whether a job got the slot."""
        for effect in effects:
            if isinstance(effect, Deliver) and isinstance(effect.word, words.Job):
                self.running = effect.word

    def submission(self) -> Submitted:
        """A request as a door makes it: every text in it is its own."""
        rng = self._rng
        number = rng.randrange(CLIENTS)
        client = ClientId(f"client_{number:032x}")
        session = f"{rng.getrandbits(128):032x}"
        spec = JobSpec("llm", "model", rng.randint(1, 512), session=session)
        priority = tuple(PRIORITIES)[number % len(PRIORITIES)]
        return Submitted(
            job_id_of(rng.randbytes(16)),
            client,
            spec,
            rng.randbytes(200),
            PRICE,
            HOUR_MS,
            f"{rng.getrandbits(128):032x}",
            Preference(priority=priority),
        )

    def fill(self, depth: int) -> None:
        """Let so many wait."""
        while len(self.machine.queue) < depth:
            self.handle(self.submission())

    def result(self) -> Heard:
        """The answer of whoever has the slot."""
        order = self.running
        assert order is not None
        terms = Terms(order.job, order.epoch, SELLER, order.spec, order.price, order.digest)
        receipt = terms.receipt(WORKER, 1, digest(ANSWER), 5)
        return Heard(SELLER, words.Result(order.job, order.epoch, 1, 5, digest(ANSWER), ANSWER, receipt))

    def steps(self) -> Steps:
        """Every step at the depth that there is, and back to it each time."""
        took: dict[str, list[float]] = {name: [] for name in Steps.__slots__}
        waiting = list(self.machine.queue)
        for _ in range(STEPS):
            event = self.submission()
            took["submit"].append(self._took_us(self._submit, event))
            took["position"].append(self._took_us(self._ask, self._rng.choice(waiting or [event.job])))
            took["tick"].append(self._took_us(self._tick))
            took["cancel"].append(self._took_us(self._cancel, event))
        for _ in range(STEPS):
            self.handle(self.submission())  # the one that follows, also in an empty queue
            answer = self.result()
            took["serve"].append(self._took_us(self.machine.handle, answer, NOW))
            self.note(self._outcome)
        return Steps(**{name: median(times) for name, times in took.items()})

    def _took_us(self, call: Callable[P, Outcome], *args: P.args, **kwargs: P.kwargs) -> float:
        began = time.perf_counter_ns()
        self._outcome = call(*args, **kwargs)
        return (time.perf_counter_ns() - began) / 1e3

    def _submit(self, event: Submitted) -> Outcome:
        return self.machine.handle(event, NOW)

    def _cancel(self, event: Submitted) -> Outcome:
        return self.machine.handle(CancelAsked(event.job, event.client), NOW)

    def _tick(self) -> Outcome:
        return self.machine.handle(Tick(), NOW)

    def _ask(self, job: JobId) -> Outcome:
        self.machine.position(job)
        self.machine.start_ms(job)
        return ()


def bytes_a_job(depth: int) -> float:
    """What so many waiting jobs take of memory, each."""
    bench = Bench(1)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        bench.fill(depth)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    bench.machine.check()
    return (after - before) / depth


def measure(rounds: int = ROUNDS) -> tuple[list[Steps], list[Steps]]:
    """Each round with an empty queue and with a deep one, in turns."""
    empty: list[Steps] = []
    deep: list[Steps] = []
    for number in range(rounds):
        for depth, into in ((0, empty), (DEEP, deep))[:: 1 if number % 2 else -1]:
            bench = Bench(number)
            bench.fill(depth)
            into.append(bench.steps())
    return empty, deep


def rows(empty: Sequence[Steps], deep: Sequence[Steps]) -> Iterator[tuple[str, float, float, float]]:
    """Each step: its name, µs with nobody waiting, µs with many, the ratio."""
    for name in Steps.__slots__:
        without, behind = (median(getattr(steps, name) for steps in side) for side in (empty, deep))
        ratio = median(getattr(d, name) / getattr(e, name) for e, d in zip(empty, deep, strict=True))
        yield name, without, behind, ratio


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.queued", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--record", action="store_true", help="write the table into benchmarks/README.md")
    asked = parser.parse_args(argv)
    run = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    empty, deep = measure()
    size = bytes_a_job(DEEP)
    for depth, side in ((0, empty), (DEEP, deep)):
        append(
            "queued",
            ({"run": run, "depth": depth, "round": n, **asdict(steps)} for n, steps in enumerate(side)),
        )
    found = list(rows(empty, deep))
    if asked.json:
        steps = {name: {"empty_us": e, "deep_us": d, "ratio": r} for name, e, d, r in found}
        print(json.dumps({"run": run, "jobs": DEEP, "bytes_a_job": size, "steps": steps}, indent=2))
        return 0
    head = ("step of the gateway's machine", "queue empty µs", f"{DEEP:,} waiting µs", "ratio")
    cells = [(name, f"{e:.1f}", f"{d:.1f}", f"{r:.2f}") for name, e, d, r in found]
    text = (
        f"{run}: {ROUNDS} rounds of {STEPS} steps, medians; {CLIENTS} clients of three classes, "
        f"every job with a key; {machine()}.\n\n"
        f"{table(head, cells)}\n\nA waiting job takes {size:,.0f} bytes, all that belongs to it."
    )
    print(text)
    if asked.record:
        write_block("queued", text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
