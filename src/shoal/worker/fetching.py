"""Having a runner's model here before it is started, with a line in the log for every tenth of it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from shoal.units import MIB
from shoal.worker.config import RunnerSettings
from shoal.worker.models import Model, ensure, find, models_home
from shoal.worker.sources import sources

log = logging.getLogger("shoal.worker")


def fetched(settings: RunnerSettings) -> Path:
    """The folder with a runner's model; says how far a download has come, every tenth of it."""
    model = find(settings.pipeline, settings.model)
    said = -1

    def progress(_: Model, done_bytes: int, total_bytes: int) -> None:
        nonlocal said
        tenth = 10 * done_bytes // max(1, total_bytes)
        if tenth > said and done_bytes < total_bytes:
            said = tenth
            log.info("fetching %s: %d of %d MB", model.id, done_bytes // MIB, total_bytes // MIB)

    return ensure(model, models_home(os.environ), progress, sources(os.environ))
