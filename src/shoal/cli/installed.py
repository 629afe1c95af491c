"""Pipelines that other installed packages bring: entry points of the group `shoal.pipelines`, each the name of a row.

Every command reads them before anything else is loaded, so that a gateway, an orchestrator and a worker agree.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from shoal.errors import Refused
from shoal.wire.pipelines import PIPELINES, Pipeline, add

GROUP = "shoal.pipelines"


def add_installed() -> None:
    """Put the rows of other packages into the table. Raises `Refused` for what is no row, and says whose."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.value):
        row = entry.load()
        if not isinstance(row, Pipeline):
            raise Refused(f"{entry.value}, a pipeline of an installed package, is not a row but {row!r}")
        if PIPELINES.get(row.name) != row:
            add(row)
