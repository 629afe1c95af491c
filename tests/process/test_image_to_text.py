"""The image-to-text runner: text read exactly, things named, and an answer that says how it was made."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from runner import Runner, start

EXAMPLES = Path(__file__).parents[2] / "examples"
SIGN = (EXAMPLES / "sign.png").read_bytes()
WRITTEN = "SHOAL HARBOUR\nBoats leave at 9:30 and 16:45\nPlease do not feed the gulls"
HOW = "(Composed from a tagger and OCR; no captioning model.)"


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("image-to-text", tmp_path_factory.mktemp("itt"), threads=2)
    yield runner
    runner.stop()


def ask(runner: Runner, data: bytes, **fields: Any) -> httpx.Response:
    return runner.client.post("/image-to-text", files={"image": ("x", data)}, data=fields)


def told(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def changed(data: bytes, width: int, degrees: float = 0) -> bytes:
    with Image.open(io.BytesIO(data)) as picture:
        turned = picture.convert("RGB").rotate(degrees, Image.Resampling.BICUBIC, fillcolor=(196, 178, 132))
        file = io.BytesIO()
        turned.resize((width, width * picture.height // picture.width)).save(file, "JPEG", quality=90)
        return file.getvalue()


@pytest.mark.parametrize("prompt", ["What does it say?", "Read this.", "OCR", "which words are on the sign"])
def test_who_asks_for_text_gets_the_text_alone(seeing: Runner, prompt: str) -> None:
    answer = ask(seeing, SIGN, prompt=prompt)
    assert told(answer) == WRITTEN
    assert answer.headers["shoal-units"] == str(640 * 400)


def test_text_is_read_from_a_larger_a_smaller_and_a_tilted_picture(seeing: Runner) -> None:
    assert told(ask(seeing, changed(SIGN, 1800), prompt="read")) == WRITTEN
    assert told(ask(seeing, changed(SIGN, 420), prompt="read")) == WRITTEN
    assert told(ask(seeing, changed(SIGN, 900, degrees=7), prompt="read")) == WRITTEN


def test_a_cat_is_called_a_cat_and_the_answer_says_how_it_was_made(seeing: Runner) -> None:
    text = told(ask(seeing, (EXAMPLES / "cat.jpg").read_bytes(), prompt="Describe the picture."))
    assert text.startswith("Probably a cat (")
    assert text.endswith(f"No text was found. {HOW}")


def test_what_is_seen_and_what_is_read_stand_in_one_statement(seeing: Runner) -> None:
    assert "espresso" in told(ask(seeing, (EXAMPLES / "coffee.jpg").read_bytes()))
    assert "'SHOAL HARBOUR / Boats leave" in told(ask(seeing, SIGN))


def test_an_empty_picture_is_not_talked_about(seeing: Runner) -> None:
    file = io.BytesIO()
    Image.new("RGB", (1, 1), (9, 99, 199)).save(file, "PNG")
    assert "No text was found." in told(ask(seeing, file.getvalue()))
    assert told(ask(seeing, file.getvalue(), prompt="what does it say")) == ""


def test_steps_are_told_and_the_answer_comes_last(seeing: Runner) -> None:
    headers = {"accept": "text/event-stream"}
    answer = seeing.client.post("/image-to-text", files={"image": ("x", SIGN)}, headers=headers)
    *events, done = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert done == "[DONE]"
    assert [set(json.loads(event)) for event in events] == [{"progress"}, {"answer", "units"}]


@pytest.mark.parametrize(
    ("data", "fields", "status", "why"),
    [
        (b"no picture", {}, 415, "send png, jpeg, webp or gif"),
        (SIGN[:2000], {}, 415, "damaged"),
        (b"", {}, 400, "no file named image"),
        (SIGN, {"model_id": "other"}, 400, "called with other"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_one_line(
    seeing: Runner, data: bytes, fields: dict[str, Any], status: int, why: str
) -> None:
    answer = ask(seeing, data, **fields)
    assert answer.status_code == status
    message = answer.json()["detail"]["msg"]
    assert why in message
    assert "\n" not in message
