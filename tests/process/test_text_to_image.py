"""The text-to-image runner with its real networks: what is asked for is what comes, in size, number and luck."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runner import Runner, start

MODEL = "shoal/emoji-64"


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("text-to-image", tmp_path_factory.mktemp("text-to-image"), threads=2)
    yield runner
    runner.stop()


def draw(runner: Runner, prompt: str, **more: Any) -> list[dict[str, Any]]:
    asked = {"prompt": prompt, "width": 64, "height": 64, "num_inference_steps": 6, "seed": 1} | more
    answer = runner.client.post("/text-to-image", json=asked)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["images"])


def pixels(image: dict[str, Any]) -> np.ndarray[Any, Any]:
    head, _, data = image["url"].partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def figure(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The pixels that are not the white ground."""
    return picture[(picture.min(axis=2) < 200)]


def test_words_decide_what_is_drawn(painter: Runner) -> None:
    heart = figure(pixels(draw(painter, "a red heart", num_inference_steps=20)[0]))
    assert len(heart) > 400
    assert heart[:, 0].mean() > 2 * heart[:, 1].mean()
    leaf = figure(pixels(draw(painter, "a green leaf", num_inference_steps=20)[0]))
    assert len(leaf) > 200
    assert leaf[:, 1].mean() > 1.2 * leaf[:, 0].mean()


def test_one_seed_is_one_picture_and_picture_k_has_the_kth_seed(painter: Runner) -> None:
    three = draw(painter, "a cat", num_images_per_prompt=3, seed=40)
    assert [image["seed"] for image in three] == [40, 41, 42]
    assert len({image["url"] for image in three}) == 3
    assert draw(painter, "a cat", num_images_per_prompt=3, seed=40) == three
    assert draw(painter, "a cat", seed=42) == [three[2]]
    assert all(pixels(image).std() > 10 for image in three)


def test_several_prompts_stand_in_one(painter: Runner) -> None:
    both = draw(painter, "a red heart | a blue heart", num_images_per_prompt=2)
    assert [image["seed"] for image in both] == [1, 2, 3, 4]
    assert both[0] == draw(painter, "a red heart")[0]
    assert both[2] == draw(painter, "a blue heart", seed=3)[0]


def test_guidance_steps_and_a_negative_prompt_change_the_picture(painter: Runner) -> None:
    plain = draw(painter, "a cat")[0]["url"]
    others = [
        draw(painter, "a cat", **more)[0]["url"]
        for more in (
            {"guidance_scale": 1},
            {"num_inference_steps": 7},
            {"negative_prompt": "an orange cat"},
            {"seed": 2},
        )
    ]
    assert len({plain, *others}) == 5


@pytest.mark.parametrize(("width", "height"), [(64, 64), (512, 512), (320, 200), (100, 256), (33, 17)])
def test_the_size_is_the_one_that_was_asked(painter: Runner, width: int, height: int) -> None:
    picture = pixels(draw(painter, "a red heart", width=width, height=height)[0])
    assert picture.shape == (height, width, 3)
    assert picture.std() > 10
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    middle = picture[top : top + side, left : left + side]
    assert len(figure(middle)) > 0.9 * len(figure(picture)), "the square stands in the middle"


def test_steps_are_told_to_those_who_listen(painter: Runner) -> None:
    asked = {"prompt": "a cat|a dog", "width": 64, "height": 64, "num_inference_steps": 3, "seed": 1}
    answer = painter.client.post("/text-to-image", json=asked, headers={"accept": "text/event-stream"})
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    *steps, last, end = events
    assert [json.loads(step)["progress"] for step in steps] == [
        {"done": number, "of": 6} for number in range(1, 7)
    ]
    assert len(json.loads(last)["answer"]["images"]) == 2
    assert end == "[DONE]"


def test_a_caller_who_leaves_stops_the_work(painter: Runner) -> None:
    long = {"prompt": "a cat", "width": 64, "height": 64, "num_inference_steps": 200}
    long |= {"num_images_per_prompt": 10}
    with painter.client.stream(
        "POST", "/text-to-image", json=long, headers={"accept": "text/event-stream"}
    ) as answer:
        for line in answer.iter_lines():
            assert "progress" in line
            break
    # The runner has one slot: this is answered soon only because the other picture is no longer painted.
    assert len(draw(painter, "a dog", num_inference_steps=1)) == 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"prompt": " | "}, "Prompt must be provided."),
        ({"loras": '{"some/lora": 1.0}'}, "takes no LoRAs"),
        ({"loras": "no json"}, "loras is no JSON"),
        ({"model_id": "some/other"}, f"configured with {MODEL}"),
        ({"prompt": "a|" * 30 + "a", "num_images_per_prompt": 2}, "at most 40"),
        ({"width": 2048, "height": 2048, "num_images_per_prompt": 10, "prompt": "a|b"}, "too many"),
        ({"width": 8}, "width"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
    ],
)
def test_what_cannot_be_drawn_is_refused(painter: Runner, more: dict[str, Any], told: str) -> None:
    answer = painter.client.post("/text-to-image", json={"prompt": "a cat"} | more)
    assert answer.status_code == 400
    assert told in answer.json()["detail"]["msg"]


def test_empty_loras_are_no_loras(painter: Runner) -> None:
    assert draw(painter, "a cat", loras="{}") == draw(painter, "a cat")
