"""`shoal models --measure`: what is here is started, timed and remembered; what is not here is left alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from running import shoal
from shoal.worker.models import ensure, find, folder_of, models_home
from shoal.worker.sources import sources

UPSCALE = find("upscale", "xinntao/realesr-animevideov3")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one small model."""
    real = ensure(UPSCALE, models_home(os.environ), lambda *_: None, sources(os.environ))
    here = models_home({"SHOAL_HOME": str(tmp_path)})
    folder_of(UPSCALE, here).parent.mkdir(parents=True)
    folder_of(UPSCALE, here).symlink_to(real)
    return tmp_path


def listed(home: Path, *flags: str) -> tuple[dict[str, Any], str]:
    """Each model's line, by its id, and what was said meanwhile."""
    said = shoal("models", "--json", *flags, home=home)
    assert said.returncode == 0, said.stderr
    return {model["id"]: model for model in json.loads(said.stdout)["models"]}, said.stderr


def test_what_is_here_is_measured_once_and_remembered(home: Path) -> None:
    before, _ = listed(home)
    assert before[UPSCALE.id]["here"]
    assert before[UPSCALE.id]["speed"] is None
    measured, told = listed(home, "--measure")
    assert told.splitlines() == [f"measuring {UPSCALE.id}"]
    assert measured[UPSCALE.id]["speed"].endswith("/s")
    assert [model["id"] for model in measured.values() if model["speed"]] == [UPSCALE.id]
    again, _ = listed(home)
    assert again[UPSCALE.id]["speed"] == measured[UPSCALE.id]["speed"]


def test_a_model_that_does_not_load_says_so_and_the_others_are_listed(home: Path) -> None:
    folder = folder_of(UPSCALE, models_home({"SHOAL_HOME": str(home)}))
    real = folder.resolve()
    folder.unlink()
    folder.mkdir()
    for file in UPSCALE.files:
        (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes(bytes((real / file.name).stat().st_size))
    listing, told = listed(home, "--measure")
    begun, why, ended = told.splitlines()
    assert begun == f"measuring {UPSCALE.id}"
    assert "cannot load its model" in why
    assert ended == f"  the runner of {UPSCALE.id} does not start; its extra may be missing"
    assert listing[UPSCALE.id]["speed"] is None
