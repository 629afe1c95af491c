"""Importing a room opens no other: asked of a fresh process, because only there nothing is loaded yet."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
NAMES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
)
PURE = [
    name
    for name in NAMES
    if re.fullmatch(r"shoal(\.(errors|ids|units|(\w+\.)?machine|(money|policy|wire|work)(\.\w+)*))?", name)
]
SIM = [name for name in NAMES if re.fullmatch(r"shoal\.sim(\.\w+)*", name)]

#: What a pure room must not load, if msgspec has not loaded it already.
OUTSIDE = re.compile(
    r"(asyncio|concurrent|http|logging|multiprocessing|random|secrets|select|selectors|signal|socket|sqlite3|ssl"
    r"|subprocess|tempfile|threading|time|urllib|shoal\.runtime)(\..+)?"
)
#: What the simulator must not load: whatever serves, and whatever is heavy.
SERVICES = re.compile(
    r"shoal\.(cli(\..+)?|.+\.(service|http)|worker\.pipelines(\..+)?)"
    r"|(sqlite3|httptools|uvloop|numpy|rich)(\..+)?"
)


def loaded_by(name: str) -> list[str]:
    """What a fresh process loads for this module, beyond what msgspec brings."""
    lines = f"import sys, msgspec; old = set(sys.modules); import {name}; print(*set(sys.modules) - old)"
    answer = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    return sorted(answer.stdout.split())


@pytest.mark.parametrize("name", PURE)
def test_a_pure_room_loads_nothing_of_the_outside(name: str) -> None:
    assert [module for module in loaded_by(name) if OUTSIDE.fullmatch(module)] == []


@pytest.mark.parametrize("name", SIM)
def test_the_simulator_loads_no_service(name: str) -> None:
    assert [module for module in loaded_by(name) if SERVICES.fullmatch(module)] == []


def test_the_question_can_be_answered_with_yes() -> None:
    assert "asyncio" in loaded_by("asyncio")
