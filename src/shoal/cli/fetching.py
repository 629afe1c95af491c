"""Models fetched before they are needed, with a word on how far it is: a bar in a terminal, else lines."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from shoal.cli.network import models_of
from shoal.cli.terminal import megabytes
from shoal.wire.pipelines import pipeline
from shoal.worker.models import Model, ensure, find, folder_of, models_home
from shoal.worker.sources import sources

#: In plain lines, progress is said every so many per cent.
STEP_PER_CENT = 20


def fetch_models(pipelines: Sequence[str], console: Console) -> None:
    """Bring the default model of each pipeline here; those that are here are only checked."""
    models = [
        find(name, model) for name in pipelines if pipeline(name).has_models for model in models_of(name)
    ]
    home = models_home(os.environ)
    absent = [model for model in models if not folder_of(model, home).is_dir()]
    if absent:
        total = megabytes(sum(model.bytes for model in absent))
        console.print(f"fetching models ({total}) into {home}: once, and checked by their hashes")
    for model in models:
        if console.is_terminal:
            _with_bar(model, console)
        else:
            _with_lines(model, console)
    if models:
        console.print(f"models: {', '.join(model.id for model in models)}")


def _with_bar(model: Model, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(model.id, total=model.bytes)

        def progress(_: Model, done_bytes: int, total_bytes: int) -> None:
            bar.update(task, completed=done_bytes, total=total_bytes)

        ensure(model, models_home(os.environ), progress, sources(os.environ))


def _with_lines(model: Model, console: Console) -> None:
    said = -1

    def progress(_: Model, done_bytes: int, total_bytes: int) -> None:
        nonlocal said
        step = 100 * done_bytes // max(1, total_bytes) // STEP_PER_CENT
        if step > said and done_bytes < total_bytes:
            console.print(
                f"fetching {model.id}: {step * STEP_PER_CENT} % of {megabytes(total_bytes)}", markup=False
            )
        elif said >= 0 and done_bytes == total_bytes and step > said:
            console.print(f"fetched {model.id}", markup=False)
        said = max(said, step)

    ensure(model, models_home(os.environ), progress, sources(os.environ))
