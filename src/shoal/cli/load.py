"""Put a network under load and say how it held: requests leave when they are due, whatever became of those before.

Requests are drawn (--rate, --seconds) or come from a trace (--trace). The same load can be sent once for each of
several policies, and several times over. Ctrl-C ends it, with the report so far.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from msgspec import Raw
from msgspec.structs import replace
from rich.console import Console
from rich.live import Live
from rich.text import Text

from shoal.cli import report
from shoal.cli.buyer import Buyer, gateway, names
from shoal.cli.drawing import drawing
from shoal.cli.driver import Driver, Rules, Tally
from shoal.cli.lines import Lines
from shoal.cli.mix import SLEEPER, Part, Writer, echoed, read_mix
from shoal.cli.report import Run, Sender
from shoal.cli.terminal import console as new_console
from shoal.errors import Refused
from shoal.sim.load.arrivals import Kind
from shoal.sim.load.figures import quantile
from shoal.sim.load.stream import SHAPES, stream
from shoal.sim.load.trace import Fleet, Operator, Trace, Ware, read_trace
from shoal.units import SECOND_MS

EXAMPLE = """\
  shoal load --pipeline llm --rate 2 --seconds 30 --params '{"messages": [{"role": "user", "content": "Hi!"}]}'
  shoal load --pipeline echo --work-ms 200 --rate 50 --arrivals bursts --tenants 4 --html load.html
  shoal load --trace event.jsonl --as-echo --scale 0.01 --policy balanced --policy round-robin --html event.html"""

INTERRUPTED = 130
#: How often a terminal is told how it goes, and how often a log is.
LOOK_S = 0.2
SAY_S = 5.0
#: Between two loads, so that the second does not meet what the first left.
SETTLE_S = 1.0
REPEATS_MAX = 100
TENANTS_MAX = 10_000
FILES_OPEN = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is asked, when, by whom, how, and what is told of it."""
    what = parser.add_argument_group("what is asked")
    what.add_argument(
        "--pipeline", action="append", default=[], metavar="NAME", help="again for another, in equal parts"
    )
    what.add_argument("--params", default="", metavar="JSON", help="of a single pipeline (its example)")
    what.add_argument("--file", default="", metavar="FILE", help="the file that a single pipeline is sent")
    what.add_argument("--work-ms", type=int, default=0, metavar="MS", help="how long an echo takes (at once)")
    what.add_argument("--mix", type=Path, metavar="FILE", help="several, each with its weight, as JSON")
    what.add_argument("--trace", type=Path, metavar="FILE", help="send what a trace says (JSON lines)")
    what.add_argument(
        "--as-echo", action="store_true", help="send sleeping echoes in the place of other work"
    )
    what.add_argument("--scale", type=float, default=1.0, metavar="X", help="every time of the trace x X (1)")
    when = parser.add_argument_group("when")
    when.add_argument("--rate", type=float, default=1.0, metavar="PER_S", help="on average (%(default)s)")
    when.add_argument("--seconds", type=float, default=30.0, metavar="S", help="for how long (%(default)s)")
    when.add_argument("--arrivals", choices=SHAPES, default="poisson", help="(%(default)s)")
    when.add_argument("--seed", type=int, default=0, metavar="N", help="what is drawn (%(default)s)")
    when.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="so often, with seeds from --seed on"
    )
    who = parser.add_argument_group("by whom")
    who.add_argument(
        "--tenants", type=int, default=1, metavar="N", help="clients, in equal parts (%(default)s)"
    )
    who.add_argument("--shares", default="", metavar="A,B", help="clients, in these parts")
    who.add_argument("--keys", type=Path, metavar="FILE", help="their API keys, one a line (none)")
    how = parser.add_argument_group("how")
    how.add_argument("--deadline", type=float, default=0, metavar="S", help="(the pipeline's)")
    how.add_argument("--policy", action="append", default=[], metavar="NAME", help="again to compare several")
    how.add_argument("--priority", default="normal", metavar="CLASS", help="(%(default)s)")
    how.add_argument(
        "--connections", type=int, default=Rules().lines_max, metavar="N", help="at most (%(default)s)"
    )
    how.add_argument("--gateway", metavar="URL", help="($SHOAL_URL, else the network of `shoal up`)")
    told = parser.add_argument_group("what is told")
    told.add_argument("--json", action="store_true", help="print the report as JSON")
    told.add_argument("--csv", type=Path, metavar="FILE", help="every job, one a line")
    told.add_argument("--html", type=Path, metavar="FILE", help="a page with plots")


def run(options: argparse.Namespace) -> int:
    """Draw the load, send it, and report."""
    console = new_console(stderr=True)
    parts = _parts(options)
    keys = _lines(options.keys) if options.keys else ()
    buyer = Buyer(gateway(options.gateway))
    fleet = _fleet(buyer)
    if options.html:
        drawing("paper")  # better now than after the load
    traces = [_trace(options, parts, fleet, options.seed + number) for number in range(_repeats(options))]
    loads = [(policy, trace) for trace in traces for policy in options.policy or [""]]
    _allow_files(options.connections + FILES_OPEN)
    runs, whole = uvloop.run(_send_all(buyer.client.url, loads, parts, keys, options, console))
    _tell(runs, options)
    return 0 if whole else INTERRUPTED


# What is to be sent


def _repeats(options: argparse.Namespace) -> int:
    if not 1 <= options.repeat <= REPEATS_MAX:
        raise Refused(f"a load is sent 1 to {REPEATS_MAX} times, not {options.repeat}")
    return 1 if options.trace else int(options.repeat)


def _parts(options: argparse.Namespace) -> tuple[Part, ...]:
    """The mix, as its file or the flags say it."""
    if options.mix:
        return read_mix(options.mix)
    named = options.pipeline or ([] if options.trace else [SLEEPER])
    if len(named) > 1 and (options.params or options.file):
        raise Refused("--params and --file are for a single pipeline; for several, write a mix")
    return tuple(
        Part(
            pipeline=name,
            params=Raw(options.params.encode()),
            file=options.file,
            work_ms=options.work_ms if name == SLEEPER else 0,
        )
        for name in named
    )


def _trace(options: argparse.Namespace, parts: Sequence[Part], fleet: Fleet, seed: int) -> Trace:
    if options.trace:
        return _replayed(options, fleet)
    kinds = [
        Kind(
            pipeline=part.pipeline,
            model=part.model,
            deadline_ms=round(options.deadline * SECOND_MS) or part.deadline_ms or part.row.deadline_ms,
            work_min_ms=part.work_ms or 1,
            work_max_ms=part.work_ms or 1,
            weight=part.weight,
            priority=options.priority,
        )
        for part in parts
    ]
    arrivals = stream(
        kinds,
        _tenants(options),
        per_s=options.rate,
        seconds=options.seconds,
        shape=options.arrivals,
        seed=seed,
    )
    return Trace(
        name=" and ".join(dict.fromkeys(part.pipeline for part in parts)),
        source=f"{options.arrivals}, {options.rate:g}/s for {options.seconds:g} s",
        fleet=fleet,
        arrivals=arrivals,
        seed=seed,
        until_ms=round(options.seconds * SECOND_MS),
    )


def _replayed(options: argparse.Namespace, fleet: Fleet) -> Trace:
    try:
        trace = read_trace(options.trace.read_bytes().splitlines())
    except OSError as error:
        raise Refused(f"{options.trace} cannot be read: {error.strerror}") from error
    trace = trace.scaled(options.scale)
    return replace(echoed(trace) if options.as_echo else trace, fleet=fleet)


def _tenants(options: argparse.Namespace) -> list[str]:
    """The tenants, each as often as its share says."""
    try:
        shares = [int(share) for share in options.shares.split(",") if share] or [1] * options.tenants
    except ValueError as error:
        raise Refused(f"--shares is a list of whole numbers, as 5,1,1; not {options.shares!r}") from error
    if not 1 <= sum(shares) <= TENANTS_MAX or min(shares) < 1:
        raise Refused(f"there are 1 to {TENANTS_MAX} tenants, each with a share of at least 1")
    return [f"tenant-{number}" for number, share in enumerate(shares, 1) for _ in range(share)]


def _lines(path: Path) -> tuple[str, ...]:
    try:
        found = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    if not found:
        raise Refused(f"{path} holds no key")
    return found


def _fleet(buyer: Buyer) -> Fleet:
    """Who sells what, as the gateway knows it."""
    known = names()
    return Fleet(
        orchestrators=tuple(
            Operator(
                name=known.get(seller["node"], seller["node"]),
                wares=tuple(
                    Ware(pipeline=offer["pipeline"], model=offer["model"], slots=offer["slots"])
                    for offer in seller["offers"]
                ),
            )
            for seller in buyer.network()["sellers"]
            if seller["connected"]
        )
    )


def _allow_files(count: int) -> None:
    """Every connection is an open file, and many systems grant 1,024 at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


# Sending


async def _send_all(
    url: str,
    loads: Sequence[tuple[str, Trace]],
    parts: Sequence[Part],
    keys: Sequence[str],
    options: argparse.Namespace,
    console: Console,
) -> tuple[list[Run], bool]:
    """Every load in turn; what each came to, and whether all were sent to their end."""
    told = asyncio.Event()
    for word in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(word, told.set)
    runs: list[Run] = []
    for number, (policy, trace) in enumerate(loads):
        if number and await _told_within(told, SETTLE_S):
            break
        writer = Writer(
            parts, run=f"load-{os.getpid()}-{number}", keys=keys, headers={"Shoal-Policy": policy}
        )
        name = policy or trace.name
        runs.append(await _send(url, name, trace, writer, options.connections, told, console))
        if told.is_set():
            break
    return runs, not told.is_set()


async def _send(
    url: str,
    name: str,
    trace: Trace,
    writer: Writer,
    lines_max: int,
    told: asyncio.Event,
    console: Console,
) -> Run:
    loop = asyncio.get_running_loop()
    for arrival in {arrival.need: arrival for arrival in trace.arrivals}.values():
        writer.body(arrival)  # what cannot be written is said before anything is sent
    tally = Tally(len(trace.arrivals))
    rules = Rules(lines_max=lines_max)
    driver = Driver(Lines(url, lines_max=lines_max), writer, tally, rules)
    showing = asyncio.create_task(_show(name, tally, console))
    began_s = loop.time()
    try:
        unfinished = await driver.drive(trace.arrivals, told)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
    if told.is_set():
        sent_ms = round((loop.time() - began_s) * SECOND_MS)
        trace = replace(trace, until_ms=max(1, min(trace.end_ms, sent_ms)))
    late_ms = sorted(tally.late_ms)
    sender = Sender(
        late_p99_ms=quantile(late_ms, 0.99),
        late_max_ms=late_ms[-1] if late_ms else 0.0,
        unfinished=unfinished,
    )
    known = names()
    ended = tuple(
        replace(job, orchestrator=known.get(job.orchestrator, job.orchestrator)) for job in driver.ended
    )
    return Run(name=name, trace=trace, ended=ended, sender=sender)


async def _told_within(told: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(told.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _show(name: str, tally: Tally, console: Console) -> None:
    """How it goes: one line that stays in place in a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        while True:
            await asyncio.sleep(SAY_S)
            console.print(f"{name}: {_progress(tally)}", markup=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(Text(f"{name}: {_progress(tally)}"), refresh=True)
            await asyncio.sleep(LOOK_S)


def _progress(tally: Tally) -> str:
    recent = sorted(tally.recent_ms)
    times = f"; p50 {quantile(recent, 0.5) / SECOND_MS:.2f} s, p99 {quantile(recent, 0.99) / SECOND_MS:.2f} s"
    return (
        f"{tally.sent:,} of {tally.count:,} sent, {tally.open:,} open, {tally.done:,} answered "
        f"({tally.in_time:,} in time), {tally.refused:,} turned away, {tally.failed:,} failed"
        f"{times if recent else ''}"
    )


# Telling


def _tell(runs: Sequence[Run], options: argparse.Namespace) -> None:
    if options.csv:
        for number, one in enumerate(runs):
            path = options.csv if not number else options.csv.with_stem(f"{options.csv.stem}-{number + 1}")
            path.write_text(report.table(one))
    if options.html:
        options.html.write_text(drawing("paper").page(runs))
        print(f"the report is in {options.html}", file=sys.stderr)
    if options.json:
        print(json.dumps({"runs": [report.value(one) for one in runs]}, indent=2))
        return
    for number, one in enumerate(runs):
        print("\n" * bool(number) + "\n".join(report.text(one)))
