"""One of two networks that differ in one thing: whether work is paid ahead on a chain, or done on trust.

Both are what `shoal up` lays out, less the second orchestrator: a gateway, an orchestrator and a worker with
an echoing runner, and for who pays a chain and a redeemer. Leaving ends every process.
"""

from __future__ import annotations

import asyncio
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from benchmarks.peers.peer import REPOSITORY
from benchmarks.peers.shoal import QUEUE_JOBS, SLOTS
from benchmarks.processes import Program
from benchmarks.sides import Side
from shoal.cli.economy import Economy
from shoal.cli.founding import prepare
from shoal.cli.layout import as_toml, lay_out
from shoal.cli.network import Network, Node, Ports
from shoal.cli.sight import missing, no_chain
from shoal.runtime.history import read_history
from shoal.sim.evidence import Journal
from shoal.sim.journals import read_journal

ORCHESTRATOR = "orchestrator-1"


class Twin(Side):
    """A network in a folder; without an economy it has no chain."""

    def __init__(self, folder: Path, ports: Iterator[int], economy: Economy | None) -> None:
        folder.mkdir()
        self._economy = economy
        self.network = _laid_out(folder, ports, economy)
        address = self.network.gateway.url.removeprefix("http://")
        super().__init__(address, {node.name: node.home for node in self.network.nodes})

    def __enter__(self) -> Self:
        try:
            if self._economy is not None:
                self._start_roles("chain")
                self.wait_until(lambda: no_chain(self.network))
                asyncio.run(prepare(self.network, self._economy))
            self._start_roles("redeemer", "orchestrator", "worker", "gateway")
            self.wait_until(lambda: missing(self.network))
        except BaseException:
            self.__exit__()
            raise
        self.is_ready()
        return self

    def journal(self) -> Journal:
        """The gateway's facts from the first on. Only while it runs: at its end they make way for a snapshot."""
        node = self.network.gateway
        with read_history(node.home / "journal.sqlite3") as history:
            return read_journal(node.id, node.role, history)

    def _start_roles(self, *roles: str) -> None:
        for node in self.network.nodes:
            if node.role in roles:
                self.start(node.name, _program(node))


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
