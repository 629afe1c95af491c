"""The locks name versions and hashes, and nothing about the computer or the index they were made with."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

from shoal.wire.pipelines import PIPELINES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
#: Locks of environments of their own, which quarrel with the others.
APART = {page.stem for page in (ROOT / "requirements").glob("*.in") if "-c dev.txt" not in page.read_text()}

#: What is loaded only by those who have a chain, or a signer.
ON_CHAIN = {"shoal.gateway.remote", "shoal.worker.bank"}


def pins(lock: Path) -> set[tuple[str, str]]:
    """Every name and version of a lock."""
    return set(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", lock.read_text(), re.MULTILINE))


def test_every_extra_has_its_lock() -> None:
    assert set(PROJECT["optional-dependencies"]) <= {lock.stem for lock in LOCKS}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_holds_pins_and_hashes_only(lock: Path) -> None:
    pin = r"[a-z0-9][\w.-]*==\S+( ; .+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+"
    assert re.fullmatch(rf"(#.*\n)*({pin})+", lock.read_text())
    assert "://" not in lock.read_text()


@pytest.mark.parametrize("lock", [one for one in LOCKS if one.stem not in APART], ids=lambda lock: lock.stem)
def test_locks_that_meet_agree(lock: Path) -> None:
    widest = pins(ROOT / "requirements/dev.txt")
    shared = {name for name, _ in widest}
    assert {(name, version) for name, version in pins(lock) if name in shared} <= widest


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_nothing_pulls_in_pytorch(lock: Path) -> None:
    assert not {"torch", "torchvision", "torchaudio"} & {name for name, _ in pins(lock)}


def extras_of(module: str) -> list[str]:
    """The extras under which a module must work: its house's, and its pipeline's if there is one.

    None for what runners share: it needs to work only where they do. Whoever has a chain has a wallet too.
    """
    if module in ON_CHAIN:
        return [module.split(".")[1], "wallet"]
    _, house, *rooms = module.split(".")
    pipeline = rooms[-1].replace("_", "-") if rooms[:1] == ["pipelines"] else ""
    if pipeline and pipeline not in PIPELINES:
        return []
    return [extra for extra in (house, pipeline) if extra in PROJECT["optional-dependencies"]]


def test_an_installation_for_one_role_has_all_that_the_role_imports() -> None:
    graph = grimp.build_graph("shoal", include_external_packages=True, cache_dir=None)
    owners = packages_distributions()
    for module in sorted(graph.modules):
        if module.startswith(("shoal.gateway.", "shoal.orchestrator.", "shoal.worker.")) and extras_of(
            module
        ):
            locks = (ROOT / f"requirements/{extra}.txt" for extra in extras_of(module))
            locked = {name for lock in locks for name, _ in pins(lock)}
            for other in graph.find_upstream_modules(module) & owners.keys() - {"shoal"}:
                names = {re.sub(r"[-_.]+", "-", name).lower() for name in owners[other]}
                assert names & locked, f"{module} needs {other}, which is not in {extras_of(module)}"


def test_the_core_needs_almost_nothing() -> None:
    assert len(PROJECT["dependencies"]) <= 2
