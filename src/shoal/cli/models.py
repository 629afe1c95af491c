"""List the models that a worker can run, whether they are on this computer, and who offers them now."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

from shoal.cli.buyer import gateway
from shoal.cli.client import Client
from shoal.cli.terminal import columns, megabytes
from shoal.cli.terminal import console as new_console
from shoal.cli.timing import measure, remembered
from shoal.errors import ShoalError
from shoal.wire.pipelines import PIPELINES
from shoal.worker.models import Model, folder_of, manifest, models_home

EXAMPLE = """\
  shoal models
  shoal models --measure
  shoal models --json"""

LOOK_TIMEOUT_S = 5.0
#: What a model is stands below its figures, in lines that are no longer.
WIDTH = 108
INDENT = " " * 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How."""
    parser.add_argument("--gateway", metavar="URL", help="($SHOAL_URL, else the network of `shoal up`)")
    parser.add_argument(
        "--measure", action="store_true", help="start each model that is here, and time one short call"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Read the manifest, look into the folder of models, and ask the gateway if there is one."""
    offered = _offered(
        gateway(options.gateway, timeout_s=LOOK_TIMEOUT_S), required=options.gateway is not None
    )
    home = models_home(os.environ)
    console = new_console()
    if options.measure:
        _measure(home)
    rows = [about(model, home) for model in manifest()]
    for row in rows:
        row["slots"] = None if offered is None else offered.pop((row["pipeline"], row["id"]), 0)
    for (name, model_id), slots in (offered or {}).items():
        rows.append({"pipeline": name, "id": model_id, "slots": slots})
    if options.json:
        print(json.dumps({"models": rows}, indent=2))
        return 0
    for line in _table(rows):
        console.print(line, markup=False)
    if offered is None:
        console.print("no gateway answers, so nobody offers them now; start a network with: shoal up")
    return 0


def _measure(home: Path) -> None:
    """Measure every model that is here; one that cannot be measured says why, and the next has its turn."""
    for model in manifest():
        if model.pipeline in PIPELINES and about(model, home)["here"]:
            print(f"measuring {model.id}", file=sys.stderr)
            try:
                measure(model, folder_of(model, home), os.environ)
            except ShoalError as error:
                print(f"  {error.message}", file=sys.stderr)


def about(model: Model, home: Path) -> dict[str, Any]:
    """One model of the manifest."""
    folder = folder_of(model, home)
    speed = remembered(model, os.environ)
    sizes = [
        (folder / file.name).stat().st_size if (folder / file.name).is_file() else -1 for file in model.files
    ]
    return {
        "pipeline": model.pipeline,
        "id": model.id,
        "method": model.method,
        "source": source_of(model),
        "licence": model.licence,
        "size_bytes": model.bytes,
        "memory_bytes": model.memory_bytes,
        "here": sizes == [file.bytes for file in model.files],
        "speed": str(speed) if speed is not None else None,
    }


def source_of(model: Model) -> str:
    """Where its bytes come from: the publisher's hub, else packages, else our own."""
    hubs = dict.fromkeys(f"hub {file.hub.repo}" for file in model.files if file.hub is not None)
    packages = dict.fromkeys(f"package {package.name}" for package in model.packages)
    return ", ".join(hubs or packages) or "this package"


def _offered(client: Client, *, required: bool) -> dict[tuple[str, str], int] | None:
    """Slots by pipeline and model at the gateway; None if there is none."""
    try:
        listed = client.get("/v1/models").json()["data"]
    except ShoalError:
        if required:
            raise
        return None
    return {(model["pipeline"], model["id"]): model["slots"] for model in listed}


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """A line of figures for each model, and below it in words what it is and where it comes from."""
    head = ("pipeline", "model", ">size", ">memory", "here", ">slots", ">speed")
    first, *figures = columns(head, [_cells(row) for row in rows])
    lines = [first]
    for row, line in zip(rows, figures, strict=True):
        lines.append(line)
        for text in _words(row):
            lines += textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return lines


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    slots = "" if row["slots"] is None else str(row["slots"])
    if "licence" not in row:  # somebody else's model
        return (row["pipeline"], row["id"], "", "", "", slots, "")
    sizes = (megabytes(row["size_bytes"]), megabytes(row["memory_bytes"]))
    return (row["pipeline"], row["id"], *sizes, "yes" if row["here"] else "no", slots, row["speed"] or "-")


def _words(row: dict[str, Any]) -> tuple[str, ...]:
    return (row["method"], f"{row['licence']}; from {row['source']}") if "licence" in row else ()
