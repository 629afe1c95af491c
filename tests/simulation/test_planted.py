"""The simulator finds what is wrong: three bugs are planted, and each is found."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

RUN = Path(__file__).parent / "planted" / "run.py"
FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))
SEEDS_MAX = 200


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("planted_run", RUN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


run = _load()


@pytest.mark.parametrize("name", run.load_bugs().QUICK)
def test_a_planted_bug_is_found(name: str) -> None:
    assert run.look(name, SEEDS_MAX) is not None


@pytest.mark.parametrize("name", run.load_bugs().BUGS)
def test_every_planted_bug_still_fits_the_source(name: str, tmp_path: Path) -> None:
    run.plant(name, tmp_path)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_a_seed_that_once_found_a_bug_would_find_it_again(path: Path) -> None:
    found = json.loads(path.read_text())
    assert run.look(found["bug"], 1, found["seed"]) is not None
