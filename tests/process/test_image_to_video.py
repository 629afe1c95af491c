"""The image-to-video runner: a film of the asked length, size and pace, whose motion is as much as was asked."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from runner import Runner, start

COFFEE = (Path(__file__).parents[2] / "examples" / "coffee.jpg").read_bytes()
SMALL = {"width": 192, "height": 128, "num_frames": 9, "fps": 12, "seed": 4}

Frames = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("image-to-video", tmp_path_factory.mktemp("i2v"), threads=2)
    yield runner
    runner.stop()


def ask(runner: Runner, files: dict[str, bytes] | None = None, **fields: Any) -> httpx.Response:
    return runner.client.post("/image-to-video", files=files or {"image": COFFEE}, data=SMALL | fields)


def film(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    [image] = answer.json()["images"]
    assert image["nsfw"] is False
    assert image["url"].startswith("data:video/mp4;base64,")
    return base64.b64decode(image["url"].partition(",")[2])


def frames(data: bytes) -> Frames:
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(
            np.float32
        )


def motion(pictures: Frames) -> float:
    """How much a pixel changes from frame to frame."""
    return float(np.abs(np.diff(pictures, axis=0)).mean())


@pytest.mark.parametrize(
    ("count", "fps", "width", "height"), [(9, 12, 192, 128), (2, 1, 64, 64), (12, 60, 128, 72)]
)
def test_a_film_is_as_long_and_as_large_as_was_asked(
    camera: Runner, count: int, fps: int, width: int, height: int
) -> None:
    answer = ask(camera, num_frames=count, fps=fps, width=width, height=height)
    data = film(answer)
    with av.open(io.BytesIO(data)) as container:
        [stream] = container.streams
        assert isinstance(stream, av.VideoStream)
        assert container.format.name.startswith("mov,mp4")
        assert (stream.average_rate, stream.pix_fmt) == (Fraction(fps), "yuv420p")
    assert frames(data).shape == (count, height, width, 3)
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it still loads
    assert int(answer.headers["shoal-units"]) == count * width * height


def test_more_motion_moves_more_and_none_stands_still(camera: Runner) -> None:
    moved = [motion(frames(film(ask(camera, motion_bucket_id=bucket)))) for bucket in (0, 40, 127, 255)]
    assert moved == sorted(moved)
    assert moved[0] < 0.5
    assert moved[1] > 1
    assert moved[3] > 2 * moved[1]


def test_a_seed_goes_the_same_way_twice_and_another_elsewhere(camera: Runner) -> None:
    first, again, other = (ask(camera, seed=seed) for seed in (1, 1, 2))
    assert first.content == again.content
    assert np.abs(frames(film(first))[-1] - frames(film(other))[-1]).mean() > 5


def test_frames_between_show_where_things_are_by_then(camera: Runner) -> None:
    """Two pictures of a known motion: the film's middle is the true middle, not a blend of both."""
    picture = Image.open(io.BytesIO(COFFEE)).convert("RGB").resize((600, 400))

    def view(left: int) -> Image.Image:
        return picture.crop((left, 60, left + 256, 60 + 256))

    def png(image: Image.Image) -> bytes:
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()

    before, true, after = view(100), view(108), view(116)
    size = {"width": 256, "height": 256, "num_frames": 5, "motion_bucket_id": 0}
    shown = frames(film(ask(camera, {"image": png(before), "end_image": png(after)}, **size)))
    middle, blend = np.asarray(true, np.float32), (np.asarray(before, np.float32) + np.asarray(after)) / 2
    assert np.square(shown[2] - middle).mean() < np.square(blend - middle).mean() / 10
    assert np.abs(shown[-1] - np.asarray(after)).mean() < 4


def test_whoever_listens_hears_of_each_frame(camera: Runner) -> None:
    answer = camera.client.post(
        "/image-to-video", files={"image": COFFEE}, data=SMALL, headers={"accept": "text/event-stream"}
    )
    events = [json.loads(part.removeprefix("data: ")) for part in answer.text.split("\n\n")[:10]]
    assert [event["progress"]["done"] for event in events[:9]] == list(range(1, 10))
    assert events[9]["units"] == 192 * 128 * 9


def test_a_caller_who_leaves_stops_the_camera(camera: Runner) -> None:
    """One slot: the next call is answered soon only if the film of 240 frames was given up."""
    listening = {"accept": "text/event-stream"}
    form = SMALL | {"num_frames": 240, "width": 512, "height": 320}
    with camera.client.stream(
        "POST", "/image-to-video", files={"image": COFFEE}, data=form, headers=listening
    ) as answer:
        assert "progress" in next(answer.iter_lines())
    assert film(ask(camera, num_frames=2))


@pytest.mark.parametrize(
    ("files", "fields", "status", "said"),
    [
        ({"image": COFFEE}, {"width": 100}, 400, "multiple of 8"),
        ({"image": COFFEE}, {"num_frames": 1}, 400, "$.num_frames"),
        ({"image": COFFEE}, {"num_frames": 1000}, 400, "$.num_frames"),
        ({"image": COFFEE}, {"motion_bucket_id": 256}, 400, "$.motion_bucket_id"),
        ({"image": COFFEE}, {"fps": 0}, 400, "$.fps"),
        ({"image": COFFEE}, {"model_id": "other/model"}, 400, "configured with rife-hdv3-camera-path"),
        ({"image": b"not a picture"}, {}, 415, "send png, jpeg, webp or gif"),
        ({"end_image": COFFEE}, {}, 400, "no file named image"),
    ],
)
def test_what_cannot_be_filmed_is_refused_in_a_line(
    camera: Runner, files: dict[str, bytes], fields: dict[str, Any], status: int, said: str
) -> None:
    answer = ask(camera, files, **fields)
    message = answer.json()["detail"]["msg"]
    assert (answer.status_code, said in message, "\n" in message) == (status, True, False), message
