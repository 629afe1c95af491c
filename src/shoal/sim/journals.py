"""From the rows of a journal, real or virtual, to what the auditor reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from shoal.gateway.machine import GatewayMachine
from shoal.ids import NodeId
from shoal.machine import Fact, Machine
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.redeemer.machine import RedeemerMachine
from shoal.runtime.host import Retired, Snapshot
from shoal.sim.evidence import Journal
from shoal.wire.codec import Coder
from shoal.worker.machine import WorkerMachine

#: Whose facts are whose.
ROLES: dict[str, type[Machine[Any]]] = {
    "gateway": GatewayMachine,
    "orchestrator": OrchestratorMachine,
    "redeemer": RedeemerMachine,
    "worker": WorkerMachine,
}


def read_journal(
    node: NodeId,
    role: str,
    rows: Iterable[tuple[int, int, bytes]],
    *,
    snapshot: bytes | None = None,
    closing: Struct | None = None,
) -> Journal:
    """A node's journal from its rows: (number, at, fact). The snapshot counts if the first fact is gone."""
    machine = ROLES[role]
    coder: Coder[Fact] = Coder(*machine.facts, Retired)
    facts = [(number, at, coder.decode(data)) for number, at, data in rows]
    state: Struct | None = None
    if snapshot is not None and (not facts or facts[0][0] != 1):
        state = Coder(machine.state).decode(Coder(Snapshot).decode(snapshot).state)
    return Journal(node=node, role=role, facts=facts, state=state, closing=closing)
