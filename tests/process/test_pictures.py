"""A picture's way through a whole network of processes and back, and how far it is meanwhile."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from running import shoal, up
from shoal.cli.buyer import File, files_of
from shoal.worker.models import models_home


def picture(width: int, height: int) -> bytes:
    drawing = Image.new("RGB", (width, height), (240, 230, 200))
    ImageDraw.Draw(drawing).ellipse((10, 10, width - 10, height - 10), fill=(200, 30, 40))
    out = io.BytesIO()
    drawing.save(out, "PNG")
    return out.getvalue()


def test_a_picture_is_enlarged_in_steps_and_saved_and_vectors_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    models = models_home(os.environ)
    models.mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(models)
    monkeypatch.chdir(tmp_path)
    with up(home, "--pipelines", "upscale,embeddings") as network:
        told = []
        job = network.buyer.submit("upscale", {"factor": 2}, file=File("image", "a", picture(500, 260)))
        for name, value in network.buyer.follow(job["id"]):
            if name == "state":
                told.append(value["progress"])
                job = value
        assert job["state"] == "done", job["error"]
        assert told == sorted(told)
        assert len({share for share in told if 0 < share < 1}) >= 2
        assert job["units"] == 500 * 260
        [url] = files_of(network.buyer.answer(job["id"]))
        assert Image.open(io.BytesIO(network.buyer.file(url))).size == (1000, 520)

        (tmp_path / "small.png").write_bytes(picture(60, 40))
        ran = shoal("run", "upscale", "small.png", "-o", "large.png", "--params", '{"factor": 3}', home=home)
        assert ran.returncode == 0, ran.stderr
        assert "bytes of image/png in large.png" in ran.stdout
        assert Image.open(io.BytesIO((tmp_path / "large.png").read_bytes())).size == (180, 120)

        vectors = shoal("run", "embeddings", "a cat", "--json", home=home)
        assert len(json.loads(vectors.stdout)["result"]["data"][0]["embedding"]) == 384
