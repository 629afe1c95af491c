"""The tour with real models, as `make demo` shows it: every promise of it, read from what it wrote."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import av
import numpy as np
import pytest
from PIL import Image

from shoal.cli.network import TOUR_PIPELINES
from shoal.worker.models import models_home

FEES_WEI = 0
JOBS = 21


class Walked(NamedTuple):
    """A tour that is over."""

    said: str
    told: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    home = tmp_path_factory.mktemp("tour")
    models = models_home(os.environ)
    models.mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(models)
    report = home / "tour.json"
    ended = subprocess.run(
        [sys.executable, "-m", "shoal.cli.main", "up", "--demo", "--any-ports", "--json", str(report)],
        env=os.environ | {"SHOAL_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return Walked(ended.stdout, json.loads(report.read_text()), home / "demo")


@pytest.mark.timeout(1_500)  # the first time, models are fetched
def test_the_tour_comes_to_its_end_and_adds_up(tour: Walked) -> None:
    assert "\x1b" not in tour.said
    jobs, summary = tour.told["jobs"], tour.told["summary"]
    assert len(jobs) == len({job["id"] for job in jobs}) == JOBS
    assert {job["pipeline"] for job in jobs} == set(TOUR_PIPELINES)
    assert [job["state"] for job in jobs].count("cancelled") == 1
    assert {job["state"] for job in jobs} == {"done", "cancelled"}

    for job in jobs:
        assert job["charged_wei"] == job["orchestrator_wei"] + job["worker_wei"] > 0
        assert job["charged_wei"] == -(-job["units"] * job["price_wei"] // job["price_units"])
        assert job["failed_attempts_wei"] == 0
        assert re.fullmatch(r"worker-\d", job["worker"])
        assert re.fullmatch(r"orchestrator-\d", job["orchestrator"])
        assert job["method"]
    assert summary["charged_wei"] == sum(job["charged_wei"] for job in jobs)
    assert summary["charged_wei"] == summary["earned_wei"] + summary["fees_wei"]
    assert summary["earned_wei"] == summary["own_wei"] + summary["worker_wei"]
    assert (summary["fees_wei"], summary["holds_wei"]) == (FEES_WEI, 0)

    assert [job["attempts"] for job in jobs].count(2) == 1, "the murdered worker's job, and no other"
    crowd = jobs[10:18]
    assert {job["worker"] for job in crowd} == {"worker-1", "worker-2", "worker-3"}
    assert "19 of 19 words are those that were said" in tour.said
    assert "16 of 16 words are those on the sign" in tour.said
    assert "gets SIGKILL" in tour.said
    assert "refused: nobody offers 'gpt-17'" in tour.said


def test_what_it_made_lies_where_it_says(tour: Walked) -> None:
    assert tour.told["folder"] == str(tour.folder)
    for name in (
        "spoken.wav",
        "drawn.png",
        "enlarged.png",
        "mask.png",
        "cut-out.svg",
        "film.mp4",
        "gallery.html",
    ):
        assert f"{tour.folder / name}" in tour.said
    drawn = Image.open(tour.folder / "drawn.png").convert("RGB")
    enlarged = Image.open(tour.folder / "enlarged.png").convert("RGB")
    assert (drawn.size, enlarged.size) == ((256, 256), (512, 512))
    assert np.asarray(drawn).std() > 20
    apart = np.asarray(drawn, np.float32) - np.asarray(enlarged.resize((256, 256)), np.float32)
    assert np.abs(apart).mean() < 10, "the same picture"


def test_the_cut_out_is_the_cup_alone(tour: Walked) -> None:
    mask = np.asarray(Image.open(tour.folder / "mask.png"))
    assert mask.shape == (400, 600)
    assert set(np.unique(mask)) == {0, 255}
    assert mask[120, 280] == 255, "the cup"
    assert not mask[:10].any(), "the table"
    share = re.search(r"(\d+)% of the picture", tour.said)
    assert share is not None
    assert round(100 * (mask > 0).mean()) == int(share[1])

    drawing = ET.parse(tour.folder / "cut-out.svg").getroot()  # noqa: S314 - our own
    ys, xs = np.nonzero(mask)
    size = (xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min())
    assert drawing.get("viewBox") == f"{xs.min()} {ys.min()} {size[0]} {size[1]}"
    shape, photograph = (
        base64.b64decode((image.get("href") or "").partition(",")[2])
        for image in drawing.iter("{http://www.w3.org/2000/svg}image")
    )
    assert shape == (tour.folder / "mask.png").read_bytes()
    assert photograph == (tour.folder / "coffee.jpg").read_bytes()


def test_the_film_has_its_pictures_and_moves(tour: Walked) -> None:
    with av.open(tour.folder / "film.mp4") as film:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])
    assert frames.shape == (16, 168, 256, 3)
    assert all(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3)) > 0.5)


class Sources(HTMLParser):
    """What a page shows."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        self.names += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_shows_every_exhibit_and_fetches_nothing_from_elsewhere(tour: Walked) -> None:
    page = (tour.folder / "gallery.html").read_text()
    sources = Sources()
    sources.feed(page)
    assert set(sources.names) == {path.name for path in tour.folder.iterdir()} - {"gallery.html", "mask.png"}
    for exhibit in tour.told["exhibits"]:
        job = next(job for job in tour.told["jobs"] if job["id"] == exhibit["job"])
        assert job["id"] in page
        assert job["method"] in page
    assert len(tour.told["exhibits"]) == 6
