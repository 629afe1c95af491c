"""The upscale runner: larger by what was asked, truer than plain enlarging, in steps, and never beyond its limits."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from runner import Runner, start

ORIGINAL = 384


@pytest.fixture(scope="module")
def upscale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("upscale", tmp_path_factory.mktemp("upscale"), threads=2)
    yield runner
    runner.stop()


def drawing() -> Image.Image:
    """Shapes with smooth clear edges, four times as large as the picture that is sent."""
    picture = Image.new("RGB", (2 * ORIGINAL, 2 * ORIGINAL), (245, 235, 200))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((120, 80, 600, 520), fill=(200, 30, 40), outline=(20, 20, 20), width=28)
    draw.polygon([(80, 740), (380, 400), (680, 740)], fill=(30, 90, 200))
    draw.line((40, 40, 720, 660), fill=(10, 60, 20), width=28)
    return picture.resize((ORIGINAL, ORIGINAL), Image.Resampling.LANCZOS)


def small() -> Image.Image:
    return drawing().resize((ORIGINAL // 4, ORIGINAL // 4), Image.Resampling.BOX)


def file(picture: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue()


def ask(runner: Runner, data: bytes, **fields: Any) -> httpx.Response:
    return runner.client.post("/upscale", files={"image": ("x", data)}, data={"prompt": "", **fields})


def picture(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    [image] = answer.json()["images"]
    kind, _, data = image["url"].partition(",")
    assert kind == "data:image/png;base64"
    assert image["nsfw"] is False
    return Image.open(io.BytesIO(base64.b64decode(data)))


def error(first: Image.Image, second: Image.Image) -> float:
    """The mean square of how far two pictures are apart."""
    distance = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    return float((distance**2).mean())


def sharpness(picture: Image.Image) -> float:
    """The steepest step of each column, on average."""
    grey = np.asarray(picture.convert("L"), np.float64)
    return float(np.abs(np.diff(grey, axis=0)).max(axis=0).mean())


def test_what_was_made_small_comes_back_truer_than_by_plain_enlarging(upscale: Runner) -> None:
    answer = ask(upscale, file(small()))
    large = picture(answer)
    assert large.size == (ORIGINAL, ORIGINAL)
    assert answer.headers["shoal-units"] == str((ORIGINAL // 4) ** 2)
    plain = small().resize(large.size, Image.Resampling.BICUBIC)
    assert error(large, drawing()) < 0.8 * error(plain, drawing())
    assert sharpness(large) > 1.5 * sharpness(plain)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_it_is_as_large_as_was_asked(upscale: Runner, factor: int) -> None:
    large = picture(ask(upscale, file(small().crop((0, 0, 50, 30))), factor=factor))
    assert large.size == (50 * factor, 30 * factor)


def test_no_seam_shows_where_tiles_meet(upscale: Runner) -> None:
    """A ramp over two tiles rises evenly, across their border as elsewhere."""
    ramp = np.broadcast_to(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], (140, 200, 3))
    large = np.asarray(picture(ask(upscale, file(Image.fromarray(np.ascontiguousarray(ramp))))), np.int32)
    for line, steps in ((4 * 128, np.abs(np.diff(large, axis=1))), (4 * 128, np.abs(np.diff(large, axis=0)))):
        axis = 1 if steps.shape[1] < large.shape[1] else 0
        assert np.take(steps, line - 1, axis=axis).mean() <= steps.mean() + 2


def test_the_smallest_and_the_oddest_pictures_pass(upscale: Runner) -> None:
    assert picture(ask(upscale, file(Image.new("RGB", (1, 1), (9, 99, 199))))).size == (4, 4)
    assert picture(ask(upscale, file(Image.new("L", (3, 200), 40), "JPEG"))).size == (12, 800)


def test_steps_are_told_and_the_answer_comes_last(upscale: Runner) -> None:
    wide = file(Image.new("RGB", (300, 60), (1, 2, 3)))
    headers = {"accept": "text/event-stream, */*"}
    answer = upscale.client.post("/upscale", files={"image": ("x", wide)}, headers=headers)
    assert answer.headers["content-type"] == "text/event-stream"
    *events, done = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert done == "[DONE]"
    told = [json.loads(event) for event in events]
    assert [event.get("progress") for event in told] == [{"done": n, "of": 3} for n in (1, 2, 3)] + [None]
    assert told[-1]["units"] == 300 * 60
    assert told[-1]["answer"]["images"][0]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("data", "fields", "status", "told"),
    [
        (b"no picture", {}, 415, "send png, jpeg, webp or gif"),
        (file(small())[:200], {}, 415, "damaged"),
        (file(Image.new("L", (1100, 1000))), {}, 413, "1100 x 1000 pixels, the limit is 1048576"),
        (b"", {}, 400, "no file named image"),
        (file(small()), {"factor": 5}, 400, "factor"),
        (file(small()), {"model_id": "other"}, 400, "called with other"),
    ],
)
def test_what_cannot_be_enlarged_is_refused(
    upscale: Runner, data: bytes, fields: dict[str, Any], status: int, told: str
) -> None:
    answer = ask(upscale, data, **fields)
    assert answer.status_code == status
    assert told in answer.json()["detail"]["msg"]
