"""A local network on paper: its nodes, their keys, addresses and settings, before anything is started.

Every peer is pinned or admitted by its own key. The settings are written anew at every start; keys and
journals stay.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.wire.pipelines import PIPELINES

HOST = "127.0.0.1"
GATEWAY_PORT = 9935
GATEWAY_OPERATOR_PORT = 5935
ORCHESTRATOR_PORTS = (8935, 8936)
OPERATOR_PORTS = (7935, 7936)
CHAIN_PORT = 8545
REDEEMER_PORT = 7937
WORKERS = 3
WORKERS_MAX = 16
NETWORK_FILE = "network.json"
SETTINGS_FILE = "settings.toml"
#: Where free ports are looked for: below those that the system hands out by itself.
FREE_PORTS = range(20_000, 32_000)


class Speed(Struct, frozen=True):
    """How much of this computer a worker may use."""

    threads: int
    slots: int
    nice: int


class Place(Struct, frozen=True):
    """What one of the workers is like; more workers than places begin again at the first."""

    speed: Speed
    pipelines: tuple[str, ...]
    #: Which orchestrators it works for, by their numbers.
    orchestrators: tuple[int, ...]


#: A quick worker, a slower one who works for both orchestrators, and one who steps back for everybody else. All of
#: them chat; the rest is spread, so that no model is loaded more often than the network needs it.
PLACES = (
    Place(
        Speed(2, 2, 0), ("llm", "audio-to-text", "text-to-image", "upscale", "image-to-image", "echo"), (0,)
    ),
    Place(Speed(1, 1, 0), ("llm", "image-to-text", "segment-anything-2", "embeddings", "echo"), (0, 1)),
    Place(Speed(1, 1, 10), ("llm", "text-to-speech", "image-to-video", "echo"), (1,)),
)
#: Everything of ours that answers with a model.
REAL_PIPELINES = tuple(row.name for row in PIPELINES.values() if row.has_models and not row.runner)
#: What the tour visits.
TOUR_PIPELINES = tuple(name for name in REAL_PIPELINES if name != "image-to-image")
#: What is run beside a pipeline's default model: another method, where it does what the default cannot.
MORE_MODELS = {"image-to-image": ("shoal/emoji-64",)}
#: What is on a chain is read there.
CHAIN_FILE = "chain.json"


class Node(Struct, frozen=True):
    """One process of the network."""

    name: str
    role: str
    home: Path
    id: NodeId
    #: Where it answers HTTP: clients at a gateway, its operator at an orchestrator; "" for a worker.
    url: str = ""
    #: Pipelines that it will run, for a worker.
    pipelines: tuple[str, ...] = ()
    #: How many orchestrators it works for, for a worker.
    orchestrators: tuple[str, ...] = ()
    #: Where a gateway answers its operator.
    operator_url: str = ""

    @property
    def settings(self) -> Path:
        """Its file of settings."""
        return self.home / SETTINGS_FILE


class Network(Struct, frozen=True):
    """All of it."""

    home: Path
    nodes: tuple[Node, ...]

    def of(self, role: str) -> list[Node]:
        """The nodes of one role."""
        return [node for node in self.nodes if node.role == role]

    @property
    def chain_file(self) -> Path | None:
        """What is on its chain, if it has one."""
        chains = self.of("chain")
        return chains[0].home / CHAIN_FILE if chains else None

    @property
    def gateway(self) -> Node:
        """The one gateway."""
        return self.of("gateway")[0]

    def name(self, node: str) -> str:
        """What a node is called here."""
        return next((known.name for known in self.nodes if known.id == node), node)


class Ports(Struct, frozen=True):
    """Where everybody listens."""

    gateway: int
    orchestrators: tuple[int, ...]
    operators: tuple[int, ...]
    gateway_operator: int = GATEWAY_OPERATOR_PORT
    chain: int = CHAIN_PORT
    redeemer: int = REDEEMER_PORT


def choose_ports(gateway: int | None = None, *, any_ports: bool = False, demo: bool = False) -> Ports:
    """The usual ports, but for the gateway's if it is named. A taken one is refused, or gives way in a demo;
    with `any_ports` all that are not named are free ones."""
    free = _free_ports()

    def choose(port: int, what: str, cure: str) -> int:
        if (any_ports and port != gateway) or (demo and not is_free(port)):
            return next(free)
        if not is_free(port):
            raise Refused(f"port {port}, meant for {what}, is taken: end what uses it, or {cure}")
        return port

    return Ports(
        choose(
            GATEWAY_PORT if gateway is None else gateway, "the gateway", "name another with --gateway-port"
        ),
        tuple(choose(port, "an orchestrator", "say --any-ports") for port in ORCHESTRATOR_PORTS),
        tuple(choose(port, "an orchestrator's operator", "say --any-ports") for port in OPERATOR_PORTS),
        choose(GATEWAY_OPERATOR_PORT, "the gateway's operator", "say --any-ports"),
        choose(CHAIN_PORT, "the chain", "say --any-ports or --no-chain"),
        choose(REDEEMER_PORT, "the redeemer's operator", "say --any-ports or --no-chain"),
    )


def is_free(port: int) -> bool:
    """Whether somebody could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def _free_ports() -> Iterator[int]:
    """Free ports; two processes that look at once begin at different places."""
    for step in range(len(FREE_PORTS)):
        port = FREE_PORTS[(os.getpid() * 41 + step) % len(FREE_PORTS)]
        if is_free(port):
            yield port


def models_of(name: str) -> tuple[str, ...]:
    """The models that a network of one computer runs for a pipeline."""
    return (PIPELINES[name].default_model, *MORE_MODELS.get(name, ()))
