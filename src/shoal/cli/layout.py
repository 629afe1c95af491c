"""Laying a local network out: keys where there are none, and everybody's settings, in one file a node.

Every peer is pinned or admitted by its own key. The settings are written anew at
every start; keys and journals stay.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from math import gcd
from pathlib import Path

from msgspec.structs import replace

from shoal.cli.economy import Economy
from shoal.cli.network import (
    CHAIN_FILE,
    HOST,
    NETWORK_FILE,
    PLACES,
    WORKERS_MAX,
    Network,
    Node,
    Place,
    Ports,
    models_of,
)
from shoal.errors import Refused
from shoal.money.wei import Price
from shoal.runtime.keys import NodeKey
from shoal.wire.pipelines import PIPELINES, pipeline

#: The second orchestrator asks a tenth less, and leaves its workers more.
CHEAPER_PER_CENT = 90
CHEAPER_SHARE_PPM = 850_000

Plan = dict[str, object]


def lay_out(
    home: Path,
    ports: Ports,
    *,
    workers: int,
    pipelines: Sequence[str],
    economy: Economy | None = None,
    webhook: str = "",
) -> Network:
    """Make the nodes' keys where there are none, and write everybody's settings.

    Without an economy all is on trust; with one a `webhook` is told of each redemption.
    """
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
    places = [PLACES[number % len(PLACES)] for number in range(workers)]
    hands = [
        _node(
            home,
            f"worker-{number}",
            "worker",
            pipelines=tuple(name for name in pipelines if _runs(place, name, places)),
            orchestrators=tuple(orchestrators[index].name for index in place.orchestrators),
        )
        for number, place in enumerate(places, 1)
    ]
    bank = [] if economy is None else _bank(home, ports)
    network = Network(home, (*bank, gateway, *orchestrators, *hands))
    plans = _plans(network, ports, places)
    if economy is not None:
        _put_on_chain(plans, network, ports, economy, webhook)
    else:  # nobody can be paid, so nobody is left for not paying
        trusted = {"trusted": [node.id for node in orchestrators]}
        for worker in hands:
            plans[worker.name]["rules"] = trusted
    for node in network.nodes:
        _write(node, plans[node.name])
    save(network)
    return network


def _bank(home: Path, ports: Ports) -> list[Node]:
    """The chain, and who is paid on it for the orchestrators."""
    return [
        _node(home, "chain", "chain", url=f"http://{HOST}:{ports.chain}"),
        _node(home, "redeemer", "redeemer", url=f"http://{HOST}:{ports.redeemer}"),
    ]


def _plans(network: Network, ports: Ports, places: Sequence[Place]) -> dict[str, Plan]:
    """Everybody's settings, as far as they have nothing to do with a chain."""
    orchestrators = network.of("orchestrator")
    addresses = {
        node.name: f"{HOST}:{port}#{node.id}"
        for port, node in zip(ports.orchestrators, orchestrators, strict=True)
    }
    plans: dict[str, Plan] = {
        network.gateway.name: {
            "http_addr": f"{HOST}:{ports.gateway}",
            "operator_addr": f"{HOST}:{ports.gateway_operator}",
            "orchestrators": list(addresses.values()),
        }
    }
    for index, node in enumerate(orchestrators):
        hands = [worker.id for worker in network.of("worker") if node.name in worker.orchestrators]
        prices = {row.name: _cheaper(row.price) for row in PIPELINES.values()}
        plans[node.name] = {
            "listen": f"{HOST}:{ports.orchestrators[index]}",
            "operator_addr": f"{HOST}:{ports.operators[index]}",
            "gateways": [network.gateway.id],
            "workers": hands,
            "rules": {"share_ppm": CHEAPER_SHARE_PPM, "prices": prices} if index else {},
        }
    for worker, place in zip(network.of("worker"), places, strict=True):
        mine = [addresses[name] for name in worker.orchestrators]
        plans[worker.name] = {"orchestrators": mine, "runners": _runners(worker, place)}
    return plans


def _runners(worker: Node, place: Place) -> list[Plan]:
    return [
        {
            "pipeline": name,
            "model": model,
            "slots": place.speed.slots,
            "threads": min(place.speed.threads, max(1, (os.cpu_count() or 1) // 2)),
            "nice": place.speed.nice,
        }
        for name in worker.pipelines
        for model in models_of(name)
    ]


def _put_on_chain(
    plans: dict[str, Plan], network: Network, ports: Ports, economy: Economy, webhook: str
) -> None:
    """Let everybody know of the chain, and who is paid on it."""
    chain, redeemer = network.of("chain")[0], network.of("redeemer")[0]
    file = chain.home / CHAIN_FILE
    file.unlink(missing_ok=True)  # until it is there again, there is no chain
    for node in network.nodes:
        plans.setdefault(node.name, {})["chain"] = {
            "file": str(file),
            "poll_ms": economy.poll_ms,
            "confirmations": economy.confirmations,
        }
    rich = ("gateway", "orchestrator", "redeemer")
    plans[chain.name] = {
        "http_addr": f"{HOST}:{ports.chain}",
        "accounts": {node.name: node.id for node in network.nodes if node.role in rich},
        "block_ms": economy.block_ms,
        "round_blocks": economy.round_blocks,
        "base_fee_wei": economy.base_fee_wei,
    }
    plans[redeemer.name] |= {
        "orchestrators": plans[network.gateway.name]["orchestrators"],
        "operator_addr": f"{HOST}:{ports.redeemer}",
        "webhooks": [webhook] if webhook else [],
        "rules": {"confirmations": economy.confirmations, "tick_ms": economy.block_ms},
    }
    plans[network.gateway.name]["rules"] = {"ticket_ev_wei_max": economy.ticket_ev_wei}
    pays = {"redeemer": redeemer.id, "ticket_ev_wei_max": economy.ticket_ev_wei}
    if economy.payout_ms is not None:
        pays |= {"payout_ms": economy.payout_ms, "payout_dust_wei": 1, "payout_look_ms": economy.block_ms}
    if economy.account_ms is not None:
        pays |= {"account_ms": economy.account_ms}
    for node in network.of("orchestrator"):
        rules = plans[node.name]["rules"]
        assert isinstance(rules, dict)
        plans[node.name] |= {"redeemers": [redeemer.id], "rules": rules | pays}


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


def _cheaper(price: Price) -> list[int]:
    wei, per_units = price.wei * CHEAPER_PER_CENT, price.per_units * 100
    common = gcd(wei, per_units)
    return [wei // common, per_units // common]


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
