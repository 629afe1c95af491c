"""Run a whole network on this computer: a gateway, two orchestrators, and workers behind them.

It keeps running until Ctrl-C, and leaves nothing running. With --demo it takes you on a tour of real jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console

from shoal.cli.board import keep_showing
from shoal.cli.claim import claim
from shoal.cli.demo import show
from shoal.cli.economy import TOUR, USUAL, Economy
from shoal.cli.fetching import fetch_models
from shoal.cli.founding import prepare
from shoal.cli.layout import lay_out
from shoal.cli.network import (
    GATEWAY_PORT,
    REAL_PIPELINES,
    TOUR_PIPELINES,
    WORKERS,
    Network,
    choose_ports,
)
from shoal.cli.page import Page
from shoal.cli.sight import missing, no_chain
from shoal.cli.supervisor import Supervisor, dismiss
from shoal.cli.terminal import console as new_console
from shoal.cli.webhook import Heard, webhook
from shoal.errors import Failed
from shoal.runtime.config import home

EXAMPLE = """\
  shoal up                      # keep a network running; in another terminal: shoal run llm "Hello!"
  shoal up --demo               # see one at work, and end
  shoal up --pipelines echo     # without any model"""

#: What a newcomer is told to try, by the first of these that runs: what follows `shoal run PIPELINE`, and a body.
FIRST_CALLS = {
    "llm": ('"Name three fish."', '{"messages": [{"role": "user", "content": "Name three fish."}]}'),
    "echo": ("hello", '{"text": "hello"}'),
}
LOOK_S = 0.2
READY_S = 180.0
INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where, what, and how many."""
    parser.add_argument("--home", type=Path, metavar="DIR", help="its folder ($SHOAL_HOME/networks/local)")
    parser.add_argument("--gateway-port", type=int, metavar="PORT", help=f"({GATEWAY_PORT})")
    parser.add_argument("--any-ports", action="store_true", help="take any free ports, not the usual ones")
    parser.add_argument("--workers", type=int, default=WORKERS, metavar="N", help="how many (%(default)s)")
    parser.add_argument(
        "--pipelines",
        metavar="NAMES",
        help="what they run (all that have models; with --demo those of the tour)",
    )
    parser.add_argument(
        "--demo", action="store_true", help="a fresh network, a tour of real jobs, and the end"
    )
    parser.add_argument("--no-chain", action="store_true", help="without a chain: everybody trusts everybody")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what there is, or what the tour saw")


def run(options: argparse.Namespace) -> int:
    """Lay the network out, start it, and keep it until told to stop."""
    console = new_console()
    pipelines = _pipelines(options)
    with _folder(options) as folder, claim(folder, "a network"):
        dismiss(folder, console.print)
        ports = choose_ports(options.gateway_port, any_ports=options.any_ports, demo=options.demo)
        economy = None if options.no_chain else TOUR if options.demo else USUAL
        with webhook() if options.demo else nullcontext(Heard()) as heard:
            network = lay_out(
                folder,
                ports,
                workers=options.workers,
                pipelines=pipelines,
                economy=economy,
                webhook=heard.url,
            )
            fetch_models(pipelines, console)
            return asyncio.run(_run(network, economy, options, console, heard))


def _pipelines(options: argparse.Namespace) -> tuple[str, ...]:
    if options.pipelines is None:
        return TOUR_PIPELINES if options.demo else REAL_PIPELINES
    return tuple(name.strip() for name in options.pipelines.split(",") if name.strip())


@contextmanager
def _folder(options: argparse.Namespace) -> Iterator[Path]:
    """The network's folder; the demo has one of its own, which is gone afterwards."""
    if options.home is not None or not options.demo:
        yield options.home.resolve() if options.home is not None else _local_home()
        return
    folder = Path(tempfile.mkdtemp(prefix="shoal-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _local_home() -> Path:
    return (home(os.environ) / "networks" / "local").resolve()


async def _run(
    network: Network, economy: Economy | None, options: argparse.Namespace, console: Console, heard: Heard
) -> int:
    told, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        """The first word lets jobs end, the second does not."""
        (hurry if told.is_set() else told).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)

    page = Page(console)
    async with Supervisor(network, page.aside, hurry) as supervisor:
        if not await _started(network, economy, supervisor, told, console):
            page.line("stopped before it was ready")
            return INTERRUPTED
        if options.demo:
            folder = home(os.environ) / "demo"
            code = await show(
                network, supervisor, page, folder=folder, report=options.json, told=told, heard=heard
            )
            page.line("stopping; for a network that keeps running: shoal up")
            return code
        _welcome(network, options, _pipelines(options), console)
        await keep_showing(network, supervisor, told, page)
        page.line("stopping; jobs that run may come to their end (Ctrl-C again does not wait for them)")
    console.print("stopped; nothing is left running")
    return 0


async def _started(
    network: Network,
    economy: Economy | None,
    supervisor: Supervisor,
    told: asyncio.Event,
    console: Console,
) -> bool:
    """Start everybody: the chain first, for the others have money on it. False if told to stop before all are ready."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    console.print(f"starting {', '.join(node.name for node in network.nodes)}")
    if economy is not None:
        supervisor.start("chain")
        if not await _until(lambda: no_chain(network), network, supervisor, told):
            return False
        await prepare(network, economy)
    supervisor.start()
    if not await _until(lambda: missing(network), network, supervisor, told):
        return False
    console.print(f"ready after {loop.time() - began:.1f} s")
    return True


async def _until(
    lacks: Callable[[], str], network: Network, supervisor: Supervisor, told: asyncio.Event
) -> bool:
    """Wait until nothing is lacking; False if told to stop before."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while lacking := await asyncio.to_thread(lacks):
        supervisor.check()
        if loop.time() - began > READY_S:
            raise Failed(f"the network is not ready after {READY_S:.0f} s: {lacking}; logs in {network.home}")
        try:
            await asyncio.wait_for(told.wait(), LOOK_S)
        except TimeoutError:
            continue
        return False
    return True


def _welcome(
    network: Network, options: argparse.Namespace, pipelines: tuple[str, ...], console: Console
) -> None:
    url = network.gateway.url
    if options.json is not None:
        nodes = [
            {"name": node.name, "role": node.role, "id": node.id, "url": node.url} for node in network.nodes
        ]
        options.json.write_text(
            json.dumps({"gateway": url, "home": str(network.home), "nodes": nodes}) + "\n"
        )
    console.print(f"\nThe gateway listens on {url}. In another terminal:")
    elsewhere = "" if network.home == _local_home() else f" --gateway {url}"
    for pipeline in [name for name in FIRST_CALLS if name in pipelines][:1] or pipelines[:1]:
        words, body = FIRST_CALLS.get(pipeline, ("--help", ""))
        console.print(f"  shoal run {pipeline} {words}{elsewhere}", markup=False)
        if body:
            curl = f"  curl {url}/{pipeline} -H 'Content-Type: application/json' \\\n    -d '{body}'"
            console.print(curl, markup=False)
    console.print(f"  shoal jobs{elsewhere}\nCtrl-C stops everything.\n", markup=False)
