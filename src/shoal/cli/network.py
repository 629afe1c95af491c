"""A local network on paper: its nodes, their keys, addresses and settings, before anything is started.

Every peer is pinned or admitted by its own key. The settings are written anew at every start; keys and
journals stay.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.money.wei import Price
from shoal.runtime.keys import NodeKey
from shoal.wire.pipelines import PIPELINES, pipeline

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
#: The second orchestrator asks a tenth less, and leaves its workers more.
CHEAPER_PER_CENT = 90
CHEAPER_SHARE_PPM = 850_000


class Economy(Struct, frozen=True):
    """How a local chain is set, and what tickets on it are worth."""

    block_ms: int
    round_blocks: int
    base_fee_wei: int
    #: The most that one ticket is worth.
    ticket_ev_wei: int
    deposit_wei: int
    reserve_wei: int
    #: How often everybody looks at the chain.
    poll_ms: int
    #: How deep a block must lie to be final; nobody takes anything back on a chain of one's own.
    confirmations: int = 1


#: As real ones are: wins are rare and large, a ticket stands for many small jobs.
USUAL = Economy(
    block_ms=1_000,
    poll_ms=3_000,
    round_blocks=600,
    base_fee_wei=10**8,
    ticket_ev_wei=10**12,
    deposit_wei=10**18,
    reserve_wei=10**18,
)
#: For a look at everything in a minute: blocks are quick, tickets tiny, and gas so cheap that one of a thousand
#: wins. Who wins is drawn as ever.
TOUR = Economy(
    block_ms=250,
    poll_ms=250,
    round_blocks=600,
    base_fee_wei=25_000,
    ticket_ev_wei=10**9,
    deposit_wei=10**16,
    reserve_wei=10**16,
)


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


def choose_ports(gateway: int = GATEWAY_PORT, *, any_ports: bool = False, demo: bool = False) -> Ports:
    """The usual ports. A taken one is refused, or gives way in a demo; with `any_ports` all are free ones."""
    free = _free_ports()

    def choose(port: int, what: str, cure: str) -> int:
        if any_ports or (demo and not is_free(port)):
            return next(free)
        if not is_free(port):
            raise Refused(f"port {port}, meant for {what}, is taken: end what uses it, or {cure}")
        return port

    return Ports(
        choose(gateway, "the gateway", "name another with --gateway-port"),
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


def lay_out(
    home: Path, ports: Ports, *, workers: int, pipelines: Sequence[str], economy: Economy | None = None
) -> Network:
    """Make the nodes' keys where there are none, and write everybody's settings. Without an economy all is on trust."""
    for name in pipelines:
        pipeline(name)
    if not 1 <= workers <= WORKERS_MAX:
        raise Refused(f"there can be 1 to {WORKERS_MAX} workers, not {workers}")
    gateway = replace(
        _node(home, "gateway", "gateway", url=f"http://{HOST}:{ports.gateway}"),
        operator_url=f"http://{HOST}:{ports.gateway_operator}",
    )
    orchestrators = [
        _node(home, f"orchestrator-{number}", "orchestrator", url=f"http://{HOST}:{port}")
        for number, port in enumerate(ports.operators, 1)
    ]
    addresses = [
        f"{HOST}:{port}#{node.id}" for port, node in zip(ports.orchestrators, orchestrators, strict=True)
    ]
    hands = []
    places = [PLACES[number % len(PLACES)] for number in range(workers)]
    for number, place in enumerate(places):
        node = _node(
            home,
            f"worker-{number + 1}",
            "worker",
            pipelines=tuple(name for name in pipelines if _runs(place, name, places)),
            orchestrators=tuple(orchestrators[index].name for index in place.orchestrators),
        )
        hands.append(node)
        _write_worker(node, place, [addresses[index] for index in place.orchestrators])
    bank = [] if economy is None else _bank(home, ports)
    network = Network(home, (*bank, gateway, *orchestrators, *hands))
    for name, settings in _plans(network, ports, addresses, economy).items():
        _write(next(node for node in network.nodes if node.name == name), settings)
    save(network)
    return network


def _bank(home: Path, ports: Ports) -> list[Node]:
    """The chain, and who is paid on it for the orchestrators."""
    url = f"http://{HOST}:{ports.chain}"
    return [
        _node(home, "chain", "chain", url=url),
        _node(home, "redeemer", "redeemer", url=f"http://{HOST}:{ports.redeemer}"),
    ]


def _plans(
    network: Network, ports: Ports, addresses: Sequence[str], economy: Economy | None
) -> dict[str, dict[str, object]]:
    """The settings of everybody but the workers."""
    gateway = network.gateway
    plans: dict[str, dict[str, object]] = {
        gateway.name: {
            "http_addr": f"{HOST}:{ports.gateway}",
            "operator_addr": f"{HOST}:{ports.gateway_operator}",
            "orchestrators": list(addresses),
        }
    }
    for index, node in enumerate(network.of("orchestrator")):
        plans[node.name] = _orchestrator_plan(node, index, ports, network)
    if economy is None:
        return plans
    chain, redeemer = network.of("chain")[0], network.of("redeemer")[0]
    (chain.home / CHAIN_FILE).unlink(missing_ok=True)  # until it is there again, there is no chain
    where = {
        "file": str(chain.home / CHAIN_FILE),
        "poll_ms": economy.poll_ms,
        "confirmations": economy.confirmations,
    }
    payers = {
        node.name: node.id for node in network.nodes if node.role in ("gateway", "orchestrator", "redeemer")
    }
    plans[chain.name] = {
        "http_addr": f"{HOST}:{ports.chain}",
        "accounts": payers,
        "block_ms": economy.block_ms,
        "round_blocks": economy.round_blocks,
        "base_fee_wei": economy.base_fee_wei,
    }
    plans[redeemer.name] = {
        "orchestrators": list(addresses),
        "operator_addr": f"{HOST}:{ports.redeemer}",
        "chain": where,
        "rules": {"confirmations": economy.confirmations, "tick_ms": 2 * economy.block_ms},
    }
    plans[gateway.name] |= {"chain": where, "rules": {"ticket_ev_wei_max": economy.ticket_ev_wei}}
    for node in network.of("orchestrator"):
        rules = plans[node.name].get("rules", {})
        assert isinstance(rules, dict)
        more = {"ticket_ev_wei_max": economy.ticket_ev_wei, "redeemer": redeemer.id}
        plans[node.name] |= {"chain": where, "redeemers": [redeemer.id], "rules": rules | more}
    return plans


def _runs(place: Place, name: str, places: Sequence[Place]) -> bool:
    """Whether a worker there runs this pipeline; what none of the places names, the first one runs."""
    named = any(name in other.pipelines for other in places)
    return name in place.pipelines if named else place is places[0]


def save(network: Network) -> None:
    """Leave a note of who is who, for commands that name nodes."""
    note = {
        "gateway": network.gateway.url,
        "operator": {"url": network.gateway.operator_url, "home": str(network.gateway.home)},
        "nodes": {node.id: {"name": node.name, "role": node.role, "url": node.url} for node in network.nodes},
    }
    (network.home / NETWORK_FILE).write_text(json.dumps(note, indent=2) + "\n")


def _node(
    home: Path,
    name: str,
    role: str,
    *,
    url: str = "",
    pipelines: tuple[str, ...] = (),
    orchestrators: tuple[str, ...] = (),
) -> Node:
    folder = home / name
    return Node(name, role, folder, NodeKey.load_or_create(folder / "key").id, url, pipelines, orchestrators)


def _orchestrator_plan(node: Node, index: int, ports: Ports, network: Network) -> dict[str, object]:
    workers = network.of("worker")
    settings: dict[str, object] = {
        "listen": f"{HOST}:{ports.orchestrators[index]}",
        "operator_addr": f"{HOST}:{ports.operators[index]}",
        "gateways": [network.gateway.id],
        "workers": [worker.id for worker in workers if node.name in worker.orchestrators],
    }
    if index:
        prices = {row.name: _cheaper(row.price) for row in PIPELINES.values()}
        settings["rules"] = {"share_ppm": CHEAPER_SHARE_PPM, "prices": prices}
    return settings


def _cheaper(price: Price) -> list[int]:
    wei, per_units = price.wei * CHEAPER_PER_CENT, price.per_units * 100
    common = gcd(wei, per_units)
    return [wei // common, per_units // common]


def _write_worker(node: Node, place: Place, orchestrators: Sequence[str]) -> None:
    runners = [
        {
            "pipeline": name,
            "model": model,
            "slots": place.speed.slots,
            "threads": min(place.speed.threads, max(1, (os.cpu_count() or 1) // 2)),
            "nice": place.speed.nice,
        }
        for name in node.pipelines
        for model in models_of(name)
    ]
    _write(node, {"orchestrators": list(orchestrators), "runners": runners})


def models_of(name: str) -> tuple[str, ...]:
    """The models that a network of one computer runs for a pipeline."""
    return (PIPELINES[name].default_model, *MORE_MODELS.get(name, ()))


def _write(node: Node, settings: dict[str, object]) -> None:
    head = f"# {node.name}, a {node.role}. `shoal up` writes this file at every start.\n"
    node.settings.write_text(head + as_toml({"home": str(node.home)} | settings))


def as_toml(values: Mapping[str, object], above: str = "") -> str:
    """Settings as TOML: plain keys first, then tables, then lists of tables."""
    lines, tables = [], []
    for key, value in values.items():
        name = f'"{key}"' if not key.replace("-", "").replace("_", "").isalnum() else key
        if isinstance(value, dict):
            tables.append(f"\n[{above}{name}]\n{as_toml(value, f'{above}{name}.')}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            tables.extend(f"\n[[{above}{name}]]\n{as_toml(row, f'{above}{name}.')}" for row in value)
        else:
            lines.append(f"{name} = {json.dumps(value)}\n")
    return "".join(lines + tables)
