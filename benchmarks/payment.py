"""What it costs a job that its orchestrator is paid ahead: two networks of real processes in one run.

    python -m benchmarks.payment [--rounds N] [--seconds S] [--clients N ...] [--record]

One network is on trust, the other pays with tickets on a local chain; all else is the same (`benchmarks/twin.py`).
Both run all the time and are asked in turns, trust, prepaid, prepaid, trust, by the same client: so a drift of the
machine favours neither. Processor time is that of each process; what the chain takes by itself is shown apart.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median

from benchmarks.figures import Bound, Estimate, estimate
from benchmarks.report import ROUNDS_MIN, machine, table, write_block
from benchmarks.samples import append
from benchmarks.sides import Window, used_by, window
from benchmarks.town import free_ports
from benchmarks.twin import Twin
from shoal.cli.economy import USUAL
from shoal.sim.credit import Stake
from shoal.sim.evidence import Evidence
from shoal.sim.gateway_books import GatewayBooks

CLIENTS = (1, 16, 64)
TURNS = ("trust", "prepaid", "prepaid", "trust")
BACK = ("prepaid", "trust", "trust", "prepaid")
AIM = Bound(0.3, at_least=False)
REST_S = 4.0
#: Before the first round, so that code is warm and trust has begun to grow.
BEGIN_S = 2.0
BEGIN_CLIENTS = 16
GWEI = 10**9


@dataclass(frozen=True, slots=True)
class Ahead:
    """What was paid ahead in the whole run, by the gateway's journal."""

    jobs: int
    delivered_wei: int
    payments: int
    tickets: int
    tickets_wei: int
    #: When the most was held unearned: how much, and what had been delivered by then.
    held_wei: int
    held_delivered_wei: int
    #: The most that was ever held unearned beyond what had been delivered, and the largest ticket.
    beyond_wei: int
    ticket_wei: int


def at_rest(twins: dict[str, Twin]) -> dict[str, dict[str, float]]:
    """Milliseconds of processor a second of every node while nobody asks for anything."""
    before = {side: twin.used() for side, twin in twins.items()}
    time.sleep(REST_S)
    return {
        side: {name: ns / REST_S / 1e6 for name, ns in used_by(before[side], twin.used()).items()}
        for side, twin in twins.items()
    }


def rounds(
    twins: dict[str, Twin], run: str, count: int, seconds: float, loads: Sequence[int]
) -> list[Window]:
    """All windows, each kept as a line of JSON too."""
    for side in twins:
        window(twins, run, -1, side, BEGIN_CLIENTS, BEGIN_S)
    windows = []
    for round_ in range(count):
        for clients in loads:
            for side in TURNS if round_ % 2 == 0 else BACK:
                seen = window(twins, run, round_, side, clients, seconds)
                append("payment", [asdict(seen)])
                windows.append(seen)
        last = windows[-len(TURNS) * len(loads) :]
        say(f"round {round_ + 1}/{count}: strangers used {mean(w.foreign_cores for w in last):.2f} cores")
    return windows


def paid_ahead(twin: Twin) -> Ahead:
    """What the gateway's journal tells, folded as the auditor does."""
    journal = twin.journal()
    books = GatewayBooks(journal, Evidence(journals=(journal,)), [])
    if not books.whole:
        raise RuntimeError("the gateway's journal does not begin at its first fact: make fewer rounds")
    tenders, stakes = books.ahead.tenders.values(), books.ahead.stakes
    most = max(stakes, key=lambda stake: stake.credit, default=Stake("", 0, 0, 0, 0))
    return Ahead(
        jobs=sum(job.phase == "done" for job in books.jobs.values()),
        delivered_wei=sum(paid.wei for paid in books.paid.values()),
        payments=len(tenders),
        tickets=sum(len(tender.nonces) for tender in tenders),
        tickets_wei=sum(tender.wei for tender in tenders),
        held_wei=most.credit,
        held_delivered_wei=most.delivered,
        beyond_wei=max((stake.credit - stake.delivered for stake in stakes), default=0),
        ticket_wei=max((stake.ticket_wei for stake in stakes), default=0),
    )


# What it comes to


def by_round(
    windows: Sequence[Window], side: str, clients: int, what: Callable[[Window], float]
) -> list[float]:
    """One figure a round: the mean of the round's windows."""
    chosen = [each for each in windows if each.side == side and each.clients == clients]
    numbers = sorted({each.round for each in chosen})
    return [mean(what(each) for each in chosen if each.round == number) for number in numbers]


def compared(
    windows: Sequence[Window],
    clients: int,
    what: Callable[[Window], float],
    how: Callable[[float, float], float],
) -> Estimate:
    """What the prepaid side has beside the other, round by round."""
    trust, prepaid = (by_round(windows, side, clients, what) for side in ("trust", "prepaid"))
    return estimate([how(one, other) for one, other in zip(prepaid, trust, strict=True)])


def interval(found: Estimate, digits: int) -> str:
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def loads_of(windows: Sequence[Window]) -> list[int]:
    return sorted({each.clients for each in windows})


def speed_table(windows: Sequence[Window]) -> str:
    head = (
        "clients",
        "trust jobs/s",
        "prepaid jobs/s",
        "ratio",
        "trust p50 ms",
        "prepaid p50 ms",
        "more, ms",
    )
    rows = []
    for clients in loads_of(windows):
        pace = [median(by_round(windows, side, clients, lambda w: w.jobs_s)) for side in ("trust", "prepaid")]
        p50 = [median(by_round(windows, side, clients, lambda w: w.p50_ms)) for side in ("trust", "prepaid")]
        ratio = compared(windows, clients, lambda w: w.jobs_s, lambda one, other: one / other)
        more = compared(windows, clients, lambda w: w.p50_ms, lambda one, other: one - other)
        rows.append(
            [
                f"{clients}",
                *(f"{each:,.0f}" for each in pace),
                interval(ratio, 2),
                *(f"{each:.2f}" for each in p50),
                interval(more, 2),
            ]
        )
    return table(head, rows)


def cpu_table(windows: Sequence[Window], rest: dict[str, dict[str, float]]) -> str:
    """A row a process: a job's processor time on both sides, and what it takes while nobody asks."""
    head, loads = ["process"], loads_of(windows)
    for clients in loads:
        head += [f"trust, {clients} clients µs", "prepaid", "more"]
    head += ["at rest ms/s: trust", "prepaid"]
    names = [*rest["prepaid"], "all"]
    rows = []
    for name in names:

        def taken(each: Window, name: str = name) -> float:
            return each.all_cpu_us if name == "all" else each.cpu_us.get(name, 0.0)

        row = [name]
        for clients in loads:
            both = [median(by_round(windows, side, clients, taken)) for side in ("trust", "prepaid")]
            more = compared(windows, clients, taken, lambda one, other: one - other)
            row += [*(f"{each:,.0f}" for each in both), interval(more, 0)]
        for side in ("trust", "prepaid"):
            idle = sum(rest[side].values()) if name == "all" else rest[side].get(name, 0.0)
            row.append(f"{idle:.1f}")
        rows.append(row)
    return table(head, rows)


def report(windows: Sequence[Window], rest: dict[str, dict[str, float]], ahead: Ahead, head: str) -> str:
    """Everything that a reader needs to judge it."""
    errors = sum(each.errors for each in windows)
    strangers = mean(each.foreign_cores for each in windows)
    client_us = median(each.client_us for each in windows)
    return "\n\n".join(
        [
            f"{head} {machine()}; strangers used {strangers:.2f} cores.",
            speed_table(windows),
            cpu_table(windows, rest),
            aim_line(windows),
            f"{errors} wrong or missing answers. Client: {client_us:,.0f} µs a job.",
            paid_line(ahead),
        ]
    )


def aim_line(windows: Sequence[Window]) -> str:
    """What payment adds to a job that is alone, against the aim."""
    if 1 not in loads_of(windows):
        return "The aim is of one client, and that was not asked for."
    more = compared(windows, 1, lambda w: w.p50_ms, lambda one, other: one - other)
    enough = len({each.round for each in windows}) >= ROUNDS_MIN
    verdict = AIM.verdict(more) if enough else "too few rounds to say"
    return f"Aim: p50 at one client {AIM} ms more: {interval(more, 2)}, {verdict}."


def paid_line(ahead: Ahead) -> str:
    """Payments and exposure in words."""
    return (
        f"{ahead.jobs:,} jobs, {ahead.delivered_wei / GWEI:,.1f} gwei in all, took {ahead.payments} payments of "
        f"{ahead.tickets} tickets worth {ahead.tickets_wei / GWEI:,.1f} gwei. The most that the orchestrator held "
        f"unearned is {ahead.held_wei / GWEI:,.1f} gwei, when it had delivered {ahead.held_delivered_wei / GWEI:,.1f}; "
        f"beyond what it had delivered by then it never held more than {ahead.beyond_wei / GWEI:,.3f}, and the largest "
        f"ticket was worth {ahead.ticket_wei / GWEI:,.3f}."
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    # Told to end, we still end every process that we started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(description="What it costs a job that its orchestrator is paid ahead.")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument(
        "--seconds", type=float, default=1.0, metavar="S", help="of each window (%(default)s)"
    )
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, metavar="N")
    parser.add_argument("--record", action="store_true", help="write the tables into benchmarks/README.md")
    asked = parser.parse_args()
    run = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with (
        tempfile.TemporaryDirectory(prefix="payment-", ignore_cleanup_errors=True) as folder,
        ExitStack() as up,
    ):
        ports, home = free_ports(), Path(folder)
        twins = {
            side: up.enter_context(Twin(home / side, ports, economy))
            for side, economy in (("trust", None), ("prepaid", USUAL))
        }
        say("both networks are ready")
        windows = rounds(twins, run, asked.rounds, asked.seconds, asked.clients)
        rest, ahead = at_rest(twins), paid_ahead(twins["prepaid"])
    head = f"{run}: {asked.rounds} rounds, two windows of {asked.seconds:g} s a side;"
    text = report(windows, rest, ahead, head)
    print(text)
    if asked.record:
        write_block("payment", text)


if __name__ == "__main__":
    main()
