"""Every call in examples/, as a newcomer types it, against a running network; and what it left is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from running import Up, up
from shoal.cli.network import REAL_PIPELINES
from shoal.worker.models import models_home

EXAMPLES = Path(__file__).parents[2] / "examples"
CUP = (280, 120)
TALK = "Many small computers can do the work of a large one. Nobody pays for work that did not arrive."
SIGN = ["SHOAL HARBOUR", "Boats leave at 9:30 and 16:45", "Please do not feed the gulls"]

Look = Callable[[Path, str], None]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("network")
    models = models_home(os.environ)
    models.mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(models)
    with up(home, "--pipelines", ",".join(REAL_PIPELINES), "--workers", "1") as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the examples in it, where the calls leave what they make."""
    (tmp_path / "examples").symlink_to(EXAMPLES)
    return tmp_path


def said(network: Up, desk: Path, *command: str) -> str:
    ended = subprocess.run(
        command,
        cwd=desk,
        env=os.environ | {"SHOAL_URL": network.note["gateway"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture


def pixels(path: Path) -> npt.NDArray[np.float32]:
    return np.asarray(opened(path).convert("RGB"), np.float32)


def frames(path: Path) -> npt.NDArray[np.float32]:
    with av.open(path) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]).astype(
            np.float32
        )


def apart(one: Path, other: Path) -> float:
    """How far two pictures are apart, brought to one size."""
    large, small = opened(one).convert("RGB"), opened(other).convert("RGB")
    return float(np.abs(np.asarray(large.resize(small.size), np.float32) - np.asarray(small)).mean())


def a_chat_streamed(desk: Path, out: str) -> None:
    events = [line.removeprefix("data: ") for line in out.splitlines() if line]
    assert len(events) > 2
    assert "Paris" in "".join(json.loads(event)["choices"][0]["delta"]["content"] for event in events)


def a_chat(desk: Path, out: str) -> None:
    assert "Paris" in out


def talk_as_json(desk: Path, out: str) -> None:
    heard = json.loads(out)
    assert heard["text"].strip() == TALK
    assert heard["chunks"][-1]["timestamp"][1] > 4


def talk_with_times(desk: Path, out: str) -> None:
    lines = [line.split(" s: ") for line in out.splitlines()]
    assert " ".join(text for _, text in lines) == TALK
    assert out.startswith("  0.0 to ")


def speech(desk: Path, out: str) -> None:
    with wave.open(str(desk / "spoken.wav")) as sound:
        assert 1 < sound.getnframes() / sound.getframerate() < 6
        assert np.frombuffer(sound.readframes(sound.getnframes()), np.int16).std() > 300


def a_drawing(desk: Path, out: str) -> None:
    drawn = pixels(desk / "drawn.png")
    assert drawn.shape == (256, 256, 3)
    red, green, blue = drawn[64:192, 64:192].mean(axis=(0, 1))
    assert red > 1.5 * max(green, blue), "a red heart"
    assert drawn[:8, :8].min() > 200, "on white ground"


def a_painting(desk: Path, out: str) -> None:
    painted = desk / "painted.png"
    assert opened(painted).size == (600, 400)
    assert 10 < apart(painted, EXAMPLES / "coffee.jpg") < 120, "the same cup, otherwise"


def an_enlargement(factor: int) -> Look:
    def look(desk: Path, out: str) -> None:
        enlarged = desk / "enlarged.png"
        assert opened(enlarged).size == (256 * factor, 256 * factor)
        assert apart(enlarged, EXAMPLES / "stars.jpg") < 8

    return look


def a_film(count: int) -> Look:
    def look(desk: Path, out: str) -> None:
        film = frames(desk / "film.mp4")
        assert film.shape == (count, 168, 256, 3)
        assert np.abs(np.diff(film, axis=0)).mean() > 0.5

    return look


def a_mask(desk: Path, out: str) -> None:
    answer = json.loads((desk / "masks.json").read_text())
    [mask] = np.array(json.loads(answer["masks"]))
    assert mask.shape == (400, 600)
    assert mask[CUP[1], CUP[0]] == 1
    assert mask[:10].sum() == mask[:, :50].sum() == 0


def a_cut_out(desk: Path, out: str) -> None:
    seen = np.asarray(opened(desk / "cut-out.png"))[..., 3]
    assert (seen[CUP[1], CUP[0]], seen[5, 5], seen[395, 595]) == (255, 0, 0)
    assert 0.4 < (seen > 0).mean() < 0.55
    assert out.startswith("score [0.")


def the_sign(desk: Path, out: str) -> None:
    assert json.loads(out)["text"].splitlines() == SIGN


def the_cat_and_the_sign(desk: Path, out: str) -> None:
    cat, *sign = out.splitlines()
    assert "cat" in cat
    assert "no captioning model" in cat
    assert sign == SIGN


def vectors(desk: Path, out: str) -> None:
    data = json.loads((desk / "vectors.json").read_text())["data"]
    assert [len(item["embedding"]) for item in data] == [384, 384]


def likeness(desk: Path, out: str) -> None:
    kitten, engine = (float(line.split()[0]) for line in out.splitlines())
    assert kitten > 0.6
    assert engine < 0.4


LOOKS: dict[str, tuple[Look, Look]] = {
    "llm": (a_chat_streamed, a_chat),
    "audio-to-text": (talk_as_json, talk_with_times),
    "text-to-speech": (speech, speech),
    "text-to-image": (a_drawing, a_drawing),
    "image-to-image": (a_painting, a_painting),
    "image-to-video": (a_film(16), a_film(25)),
    "upscale": (an_enlargement(2), an_enlargement(4)),
    "segment-anything-2": (a_mask, a_cut_out),
    "image-to-text": (the_sign, the_cat_and_the_sign),
    "embeddings": (vectors, likeness),
}


def test_there_is_a_call_of_both_kinds_for_each_pipeline_and_each_is_looked_at() -> None:
    for folder in ("curl", "python"):
        assert {path.stem for path in (EXAMPLES / folder).iterdir()} == set(REAL_PIPELINES) == set(LOOKS)


@pytest.mark.timeout(1_500)  # the first time, models are fetched
@pytest.mark.parametrize("pipeline", LOOKS)
def test_curl(network: Up, desk: Path, pipeline: str) -> None:
    LOOKS[pipeline][0](desk, said(network, desk, "sh", f"examples/curl/{pipeline}.sh"))


@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("pipeline", LOOKS)
def test_python(network: Up, desk: Path, pipeline: str) -> None:
    LOOKS[pipeline][1](desk, said(network, desk, sys.executable, f"examples/python/{pipeline}.py"))
