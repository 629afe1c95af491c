"""Settings come from a file, the environment and flags; the later outweighs the earlier."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.errors import Refused
from shoal.gateway.config import Settings, Tenant
from shoal.orchestrator.config import Settings as Orchestrator
from shoal.runtime.config import home, read_settings

TOML = """
home = "/file"
http_addr = "127.0.0.1:1"
orchestrators = ["a:1"]
[rules]
lease_ms = 7
queue_jobs_max = 8
"""


def test_flags_outweigh_the_environment_and_that_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(TOML)
    environment = {
        "SHOAL_GATEWAY_HTTP_ADDR": "127.0.0.1:2",
        "SHOAL_GATEWAY_RULES_LEASE_MS": "9",
        "SHOAL_GATEWAY_ORCHESTRATORS": "a:2, b:3",
        "SHOAL_ORCHESTRATOR_HOME": "/elsewhere",
    }
    found = read_settings(
        Settings,
        role="gateway",
        environment=environment,
        file=file,
        flags={"home": "/flag", "api_keys": None},
    )
    assert found.home == "/flag"
    assert found.http_addr == "127.0.0.1:2"
    assert found.orchestrators == ("a:2", "b:3")
    assert (found.rules.lease_ms, found.rules.queue_jobs_max) == (9, 8)
    assert found.api_keys == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [('home = "x"\nunknown = 1', "unknown"), ("home = 1", "home"), ("", "home"), ("home = ", "TOML")],
)
def test_what_does_not_fit_is_refused_by_its_name(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    with pytest.raises(Refused, match=named):
        read_settings(Settings, role="gateway", environment={}, file=file)


@pytest.mark.parametrize(
    ("flag", "value", "bounds"),
    [("rules.lease_ms", "-5", "0 or more"), ("rules.fee_ppm", "1000001", "0 to 1000000")],
)
def test_a_number_that_makes_no_sense_is_refused_by_its_name(flag: str, value: str, bounds: str) -> None:
    with pytest.raises(Refused, match=rf"{flag}: {value} is out of bounds, it takes {bounds}"):
        read_settings(Settings, role="gateway", environment={}, flags={"home": "/x", flag: value})


#: With its checksum, from EIP-55.
NODE = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


def test_a_node_is_the_same_however_its_id_is_spelled(tmp_path: Path) -> None:
    file = tmp_path / "orchestrator.toml"
    file.write_text(f'home = "x"\ngateways = ["{NODE}"]\n[rules]\ntrusted = ["{NODE}"]\nredeemer = "{NODE}"')
    flags = {"workers": f"{NODE}, {NODE.lower()}"}
    found = read_settings(Orchestrator, role="orchestrator", environment={}, file=file, flags=flags)
    node = NODE.lower()
    assert (found.gateways, found.workers) == ((node,), (node, node))
    assert (found.rules.trusted, found.rules.redeemer) == ((node,), node)
    stakes = {"home": "x", "rules.stakes": f'{{"{NODE}": 7}}'}
    assert read_settings(Settings, role="gateway", environment={}, flags=stakes).rules.stakes == {node: 7}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0x12", "is no address"),
        ("ab" * 20, "is no address"),
        ("0x" + "g" * 40, "is no address"),
        (NODE + "\n1", "is no address"),
        (NODE.replace("Ae", "ae", 1), "a wrong checksum"),
    ],
)
def test_what_is_no_node_is_refused_by_its_key(text: str, why: str) -> None:
    with pytest.raises(Refused, match=f"rules.redeemer: .* {why}"):
        read_settings(
            Orchestrator, role="orchestrator", environment={}, flags={"home": "x", "rules.redeemer": text}
        )


def test_tenants_are_tables_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('home = "x"\n[[tenants]]\nname = "a"\nkey = "k"\nweight = 2\npriority_max = "high"\n')
    found = read_settings(Settings, role="gateway", environment={}, file=file)
    assert found.tenants == (Tenant(name="a", key="k", weight=2, priority_max="high"),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("weight = 0", r"tenants\[0\].weight: expected int >= 1"),
        ("weigth = 2", r"there is no key tenants\[0\].weigth"),
        ('priority_max = "urgent"', r"tenants\[0\].priority_max: invalid enum value 'urgent'"),
    ],
)
def test_a_tenant_that_does_not_fit_is_refused_by_its_key(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'home = "x"\n[[tenants]]\nname = "a"\nkey = "k"\n{line}\n')
    with pytest.raises(Refused, match=said):
        read_settings(Settings, role="gateway", environment={}, file=file)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No such file"):
        read_settings(Settings, role="gateway", environment={}, file=tmp_path / "none.toml")


def test_home_can_be_moved() -> None:
    assert home({"SHOAL_HOME": "/data"}) == Path("/data")
    assert home({}).name == "shoal"
