"""A trace's fleet as real processes on this computer: one gateway, and for each operator an orchestrator and a worker.

The runners sleep instead of computing, each at its operator's speed. Leaving ends every process.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from msgspec import to_builtins

from benchmarks.peers.peer import REPOSITORY
from benchmarks.processes import Crew, Program
from shoal.cli.layout import as_toml
from shoal.cli.network import HOST, is_free
from shoal.gateway.config import Rules
from shoal.runtime.keys import NodeKey
from shoal.sim.load.street import TICK_MS, our_rules
from shoal.sim.load.trace import Operator, Trace

PORTS = range(41_000, 42_000)
READY_S = 90.0
POLL_S = 0.1


class Town:
    """Everybody in a fleet, at home in one folder."""

    def __init__(self, trace: Trace, policy: str, folder: Path) -> None:
        self.fleet = fleet = trace.fleet
        self.crew = Crew(folder)
        #: Operators by the ids of their orchestrators.
        self.names: dict[str, str] = {}
        self._folder = folder
        self._ports = free_ports()
        self._gateway = NodeKey.load_or_create(folder / "gateway" / "key").id
        self._programs: list[Program] = []
        addresses = [self._settle(operator) for operator in fleet.orchestrators]
        port = next(self._ports)
        self.url = f"http://{HOST}:{port}"
        settings = {
            "http_addr": f"{HOST}:{port}",
            "operator_addr": "",
            "orchestrators": addresses,
            "rules": self._rules(trace, policy),
        }
        self._programs.append(self._role("gateway", "gateway", settings))

    def __enter__(self) -> Self:
        try:
            for program in self._programs:
                self.crew.start(program)
            self._await_ready()
        except BaseException:
            self.crew.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.crew.stop()

    def _rules(self, trace: Trace, policy: str) -> dict[str, object]:
        """The gateway's rules, as far as the simulated one's are not the defaults."""
        usual, ours = to_builtins(Rules()), to_builtins(our_rules(trace, policy))
        changed = {name: value for name, value in ours.items() if value != usual[name]}
        ids = {name: node for node, name in self.names.items()}
        return {**changed, "stakes": {ids[name]: stake for name, stake in ours["stakes"].items()}}

    def _settle(self, operator: Operator) -> str:
        """An operator's settings; where the gateway finds it."""
        orchestrator = NodeKey.load_or_create(self._folder / operator.name / "key").id
        worker = NodeKey.load_or_create(self._folder / f"{operator.name}-worker" / "key").id
        self.names[orchestrator] = operator.name
        address = f"{HOST}:{next(self._ports)}"
        stall = {
            "listen": address,
            "operator_addr": "",
            "gateways": [self._gateway],
            "workers": [worker],
            "rules": {"tick_ms": TICK_MS},
        }
        sleeper = [sys.executable, "-m", "benchmarks.sleeper", "--speed", str(operator.speed)]
        runners = [
            {"pipeline": w.pipeline, "model": w.model, "slots": operator.slots(w.need), "command": sleeper}
            for w in operator.wares
        ]
        hands = {"orchestrators": [f"{address}#{orchestrator}"], "runners": runners}
        self._programs.append(self._role("orchestrator", operator.name, stall))
        self._programs.append(self._role("worker", f"{operator.name}-worker", hands))
        return f"{address}#{orchestrator}"

    def _role(self, role: str, name: str, settings: Mapping[str, object]) -> Program:
        home = self._folder / name
        file = home / "settings.toml"
        file.write_text(as_toml({"home": str(home), **settings}))
        command = (sys.executable, "-m", "shoal.cli.main", role, "--config", str(file))
        return Program(command, {"PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}"})

    def _await_ready(self) -> None:
        """Wait until every slot is for sale."""
        wanted = {need: self.fleet.slots(need) for need in self.fleet.needs()}
        deadline = time.monotonic() + READY_S
        while self._for_sale() != wanted:
            if fallen := self.crew.fallen():
                raise RuntimeError(fallen)
            if time.monotonic() > deadline:
                raise RuntimeError(f"not everybody is there within {READY_S} s:\n{self.crew.log_tail()}")
            time.sleep(POLL_S)

    def _for_sale(self) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        with (
            contextlib.suppress(OSError, ValueError),
            urllib.request.urlopen(f"{self.url}/v1/network", timeout=2) as answer,  # noqa: S310
        ):
            for seller in json.load(answer)["sellers"]:
                for offer in seller["offers"]:
                    need = (offer["pipeline"], offer["model"])
                    found[need] = found.get(need, 0) + offer["slots"]
        return found


def free_ports() -> Iterator[int]:
    """Ports that nobody listens at."""
    return (port for port in PORTS if is_free(port))
