"""What a network says of itself, read from its gateway and from both orchestrators' operator doors."""

from __future__ import annotations

from typing import TypeAlias

from shoal.cli.client import Client, Json
from shoal.cli.network import Network, Node
from shoal.errors import ShoalError, Unauthorized

LOOK_TIMEOUT_S = 5.0

#: A node's own report.
Status: TypeAlias = dict[str, Json]


def status(node: Node, route: str = "/status") -> Status | None:
    """What a node says of itself to its operator, None if it does not answer."""
    try:
        said = Client(node.url, timeout_s=LOOK_TIMEOUT_S).get(route).json()
    except ShoalError:
        return None
    return said if isinstance(said, dict) else None


def missing(network: Network) -> str:
    """What a network still waits for, "" once it is ready."""
    reports = {node.name: status(node) for node in network.of("orchestrator")}
    for name, report in reports.items():
        if report is None:
            return f"{name} does not answer"
    try:
        Client(network.gateway.url, timeout_s=LOOK_TIMEOUT_S).get("/v1/models")
    except Unauthorized:
        pass  # it asks for keys, and so it is there
    except ShoalError:
        return "the gateway does not answer"
    for name, report in reports.items():
        assert report is not None
        if network.gateway.id not in report["gateways"]:
            return f"the gateway is not connected to {name}"
        for worker in network.of("worker"):
            if name in worker.orchestrators and (lacking := worker_lacks(worker, report)):
                return f"{worker.name} at {name}: {lacking}"
    return ""


def no_chain(network: Network) -> str:
    """What is not there of a network's chain; "" once it answers."""
    if network.chain_file is None or not network.chain_file.exists():
        return "the chain is not founded yet"
    try:
        Client(network.of("chain")[0].url, timeout_s=LOOK_TIMEOUT_S).get("/health")
    except ShoalError:
        return "the chain does not answer"
    return ""


def worker_lacks(worker: Node, report: Status) -> str:
    """What a worker does not offer yet at an orchestrator."""
    for known in report["workers"]:
        if known["node"] == worker.id and known["connected"]:
            offered = {offer["pipeline"] for offer in known["offers"]}
            return ", ".join(name for name in worker.pipelines if name not in offered)
    return "not connected"
