"""Plant each bug in a copy of the source and let the simulator look for it.

    python tests/simulation/planted/run.py [--seeds 1000] [NAME ...]

Exits with 1 if a bug is not found, or if the source without a bug has findings.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
SOURCE = HERE.parents[2] / "src" / "shoal"


def load_bugs() -> ModuleType:
    """The table beside this file."""
    spec = importlib.util.spec_from_file_location("planted_bugs", HERE / "bugs.py")
    assert spec is not None
    assert spec.loader is not None
    bugs = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = bugs
    spec.loader.exec_module(bugs)
    return bugs


def plant(name: str, folder: Path) -> None:
    """Copy the source into `folder`, with this bug."""
    shutil.copytree(SOURCE, folder / "shoal", ignore=shutil.ignore_patterns("__pycache__"))
    for change in load_bugs().BUGS[name]:
        path = folder / "shoal" / change.file
        text = path.read_text()
        if text.count(change.old) != 1:
            raise SystemExit(f"{name}: {change.file} has {text.count(change.old)} times: {change.old!r}")
        path.write_text(text.replace(change.old, change.new))


def look(name: str, seeds: int, first: int = 0) -> tuple[int, str] | None:
    """The first seed that finds a bug, and what it found; None if no seed does."""
    with tempfile.TemporaryDirectory() as folder:
        plant(name, Path(folder))
        command = [sys.executable, "-m", "shoal.sim", "--until-found", "--json"]
        done = subprocess.run(
            [*command, "--first", str(first), "--seeds", str(seeds)],
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if not done.stdout:
        raise SystemExit(f"{name}: {done.stderr}")
    summary = json.loads(done.stdout)
    if not summary["findings"]:
        return None
    return summary["seeds_with_findings"][0], summary["findings"][0]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="the bugs to plant (all)")
    parser.add_argument("--seeds", type=int, default=1_000, help="give up after so many seeds (1000)")
    options = parser.parse_args()
    missed = 0
    for name in options.names or load_bugs().BUGS:
        found = look(name, options.seeds)
        if found is None:
            missed += 1
            print(f"{name:<28} NOT FOUND in {options.seeds} seeds", flush=True)
        else:
            print(f"{name:<28} seed {found[0]}: {found[1].partition(': ')[2][:150]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
