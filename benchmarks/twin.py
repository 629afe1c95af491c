"""One of two networks that differ in one thing: whether work is paid ahead on a chain, or done on trust.

Both are what `shoal up` lays out, less the second orchestrator: a gateway, an orchestrator and a worker with
an echoing runner, and for who pays a chain and a redeemer. Leaving ends every process.
"""

from __future__ import annotations

import asyncio
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from benchmarks.peers.peer import REPOSITORY
from benchmarks.peers.shoal import QUEUE_JOBS, SLOTS
from benchmarks.processes import Crew, Program, Usage, usage, used_ns
from shoal.cli.economy import Economy
from shoal.cli.founding import prepare
from shoal.cli.layout import as_toml, lay_out
from shoal.cli.network import Network, Node, Ports
from shoal.cli.sight import missing, no_chain
from shoal.runtime.history import read_history
from shoal.sim.evidence import Journal
from shoal.sim.journals import read_journal

READY_S = 60.0
POLL_S = 0.1
ORCHESTRATOR = "orchestrator-1"


class Twin:
    """A network in a folder; without an economy it has no chain."""

    def __init__(self, folder: Path, ports: Iterator[int], economy: Economy | None) -> None:
        folder.mkdir()
        self._economy = economy
        self.network = _laid_out(folder, ports, economy)
        self._crews = {node.name: Crew(node.home) for node in self.network.nodes}
        self._pids: dict[str, list[int]] = {}
        self.address = self.network.gateway.url.removeprefix("http://")

    def __enter__(self) -> Self:
        try:
            if self._economy is not None:
                self._start("chain")
                self._await(lambda: no_chain(self.network))
                asyncio.run(prepare(self.network, self._economy))
            self._start("redeemer", "orchestrator", "worker", "gateway")
            self._await(lambda: missing(self.network))
        except BaseException:
            self.__exit__()
            raise
        self._pids = {name: crew.pids() for name, crew in self._crews.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for crew in reversed(self._crews.values()):
            crew.stop()

    # Watching

    def pids(self) -> list[int]:
        """All its processes, as they were once it was ready."""
        return [pid for pids in self._pids.values() for pid in pids]

    def used(self) -> dict[str, Usage]:
        """Processor time so far, by node; a worker's runner is its own."""
        return {name: usage(pids) for name, pids in self._pids.items()}

    def journal(self) -> Journal:
        """The gateway's facts from the first on. Only while it runs: at its end they make way for a snapshot."""
        node = self.network.gateway
        with read_history(node.home / "journal.sqlite3") as history:
            return read_journal(node.id, node.role, history)

    # Starting

    def _start(self, *roles: str) -> None:
        for node in self.network.nodes:
            if node.role in roles:
                self._crews[node.name].start(_program(node))

    def _await(self, lacking: Callable[[], str]) -> None:
        until = time.monotonic() + READY_S
        while lacks := lacking():
            for crew in self._crews.values():
                if fallen := crew.fallen():
                    raise RuntimeError(fallen)
            if time.monotonic() > until:
                raise RuntimeError(f"not ready within {READY_S} s: {lacks}")
            time.sleep(POLL_S)


def used_by(before: dict[str, Usage], after: dict[str, Usage]) -> dict[str, int]:
    """Processor time of each node between two looks."""
    return {name: used_ns(before[name], seen) for name, seen in after.items()}


def _program(node: Node) -> Program:
    command = (sys.executable, "-m", "shoal.cli.main", node.role, "--config", str(node.settings))
    return Program(command, {"PYTHONPATH": f"{REPOSITORY}/src"})


def _laid_out(folder: Path, ports: Iterator[int], economy: Economy | None) -> Network:
    """What `shoal up` writes, with room for 64 clients, and less an orchestrator that nobody works for."""
    chosen = [next(ports) for _ in range(8)]
    where = Ports(chosen[0], (chosen[1], chosen[2]), (chosen[3], chosen[4]), *chosen[5:])
    network = lay_out(folder, where, workers=1, pipelines=["echo"], economy=economy)
    alone = [node for node in network.nodes if node.role != "orchestrator" or node.name == ORCHESTRATOR]
    for node in alone:
        settings = tomllib.loads(node.settings.read_text())
        if node.role in ("gateway", "redeemer"):
            settings["orchestrators"] = settings["orchestrators"][:1]
        if node.role == "gateway":
            settings.setdefault("rules", {})["queue_jobs_per_client_max"] = QUEUE_JOBS
        if node.role == "worker":
            settings["runners"][0]["slots"] = SLOTS
        node.settings.write_text(as_toml(settings))
    return replace(network, nodes=tuple(alone))
