"""A local network on paper: its settings are those that its roles read, and everybody knows everybody's key."""

from __future__ import annotations

import os
import socket
import tomllib
from pathlib import Path

import pytest

from shoal.cli.layout import as_toml, lay_out
from shoal.cli.network import REAL_PIPELINES, Ports, choose_ports
from shoal.errors import NotFound, Refused
from shoal.gateway.config import Settings as GatewaySettings
from shoal.money.wei import Price
from shoal.orchestrator.config import Settings as OrchestratorSettings
from shoal.runtime.config import read_settings
from shoal.runtime.keys import NodeKey
from shoal.wire.pipelines import PIPELINES
from shoal.worker.config import Settings as WorkerSettings

PORTS = Ports(9935, (8935, 8936), (7935, 7936))


def test_every_role_reads_what_is_written_and_peers_are_pinned(tmp_path: Path) -> None:
    network = lay_out(tmp_path, PORTS, workers=3, pipelines=REAL_PIPELINES)
    gateway = read_settings(GatewaySettings, role="gateway", environment={}, file=network.gateway.settings)
    first, second = network.of("orchestrator")
    assert gateway.orchestrators == (f"127.0.0.1:8935#{first.id}", f"127.0.0.1:8936#{second.id}")
    workers = network.of("worker")
    sellers = [
        read_settings(OrchestratorSettings, role="orchestrator", environment={}, file=node.settings)
        for node in (first, second)
    ]
    assert [seller.gateways for seller in sellers] == [(network.gateway.id,)] * 2
    assert sellers[0].workers == (workers[0].id, workers[1].id)
    assert sellers[1].workers == (workers[1].id, workers[2].id)
    for node in workers:
        settings = read_settings(WorkerSettings, role="worker", environment={}, file=node.settings)
        assert list(dict.fromkeys(runner.pipeline for runner in settings.runners)) == list(node.pipelines)
        assert len(settings.orchestrators) == len(node.orchestrators)
    assert all(NodeKey.load_or_create(node.home / "key").id == node.id for node in network.nodes)
    assert network.name(workers[2].id) == "worker-3"
    assert network.name("0xstranger") == "0xstranger"


def test_the_second_orchestrator_is_a_tenth_cheaper_than_a_gateway_pays_at_most(tmp_path: Path) -> None:
    network = lay_out(tmp_path, PORTS, workers=1, pipelines=["echo"])
    settings = read_settings(
        OrchestratorSettings, role="orchestrator", environment={}, file=network.of("orchestrator")[1].settings
    )
    for name, row in PIPELINES.items():
        price = settings.rules.prices[name]
        assert price.within(row.price)
        assert price.cost(1_000) * 10 == row.price.cost(1_000) * 9
    assert settings.rules.prices["llm"] == Price(1_800_000_000)


def test_keys_outlast_a_new_start(tmp_path: Path) -> None:
    before = lay_out(tmp_path, PORTS, workers=2, pipelines=["echo"])
    after = lay_out(tmp_path, PORTS, workers=3, pipelines=["echo"])
    assert [node.id for node in before.nodes] == [node.id for node in after.nodes[:-1]]


def test_what_cannot_be_laid_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no pipeline 'poetry'; there are llm"):
        lay_out(tmp_path, PORTS, workers=3, pipelines=["poetry"])
    with pytest.raises(Refused, match="1 to 16 workers"):
        lay_out(tmp_path, PORTS, workers=17, pipelines=["echo"])


def test_ports_are_refused_or_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=f"port {port}, meant for the gateway, is taken"):
            choose_ports(port)
        assert choose_ports(port, demo=True).gateway != port
        with pytest.raises(Refused, match="is taken"):
            choose_ports(port, any_ports=True)
    assert choose_ports(port, any_ports=True).gateway == port, "who names a port gets that one"
    chosen = choose_ports(any_ports=True)
    every = (chosen.gateway, *chosen.orchestrators, *chosen.operators)
    assert len(set(every)) == 5
    assert os.cpu_count()


def test_toml_comes_back_as_it_was() -> None:
    values = {
        "home": 'a "quoted" \\ path\nof two lines ü',
        "numbers": [1, 2],
        "empty": [],
        "yes": True,
        "rules": {"lease_ms": 7, "prices": {"llm": [1, 2], "a/b": [3, 4]}},
        "runners": [{"pipeline": "echo"}, {"pipeline": "llm"}],
    }
    assert tomllib.loads(as_toml(values)) == values
