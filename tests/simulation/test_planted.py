"""The simulator finds what is wrong: bugs are planted, and each is found."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

RUN = Path(__file__).parent / "planted" / "run.py"
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
