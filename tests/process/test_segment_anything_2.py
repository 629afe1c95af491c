"""The segment-anything-2 runner: masks that cover what is known to be there, for prompts that make sense."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from runner import Runner, start

COFFEE = (Path(__file__).parents[2] / "examples/coffee.jpg").read_bytes()
#: The cup, its saucer and the spoon, outlined by hand on the photograph.
OUTLINE = [
    *[(77, 180), (100, 120), (150, 75), (178, 68), (190, 55), (220, 32), (260, 20), (300, 18), (340, 26)],
    *[(375, 45), (398, 68), (412, 66), (424, 74), (420, 90), (413, 106), (440, 128), (468, 170), (478, 230)],
    *[(462, 290), (412, 350), (340, 380), (270, 388), (200, 370), (130, 322), (90, 270), (76, 225)],
]
CUP_AND_SAUCER = [72, 14, 484, 392]

Mask = npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def cutting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("segment-anything-2", tmp_path_factory.mktemp("sam"), threads=2)
    yield runner
    runner.stop()


def ask(runner: Runner, data: bytes, **fields: Any) -> httpx.Response:
    form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return runner.client.post("/segment-anything-2", files={"image": ("x", data)}, data=form)


def cut(runner: Runner, data: bytes, **fields: Any) -> tuple[npt.NDArray[Any], list[float], npt.NDArray[Any]]:
    answer = ask(runner, data, **fields)
    assert answer.status_code == 200, answer.text
    found = {name: json.loads(text) for name, text in answer.json().items()}
    return np.array(found["masks"]), found["scores"], np.array(found["logits"])


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())


def file(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def star(width: int = 420, height: int = 300) -> tuple[bytes, Mask]:
    """A star, striped, on a noisy slope of colours, and where it is: the truth by construction."""
    corners = [
        (150 + r * math.cos(turn * math.pi / 5), 140 + r * math.sin(turn * math.pi / 5))
        for turn, r in enumerate((95, 50) * 5)
    ]
    shape = Image.new("L", (width, height))
    ImageDraw.Draw(shape).polygon(corners, fill=255)
    ys, xs = np.indices((height, width))
    ground = np.stack([40 + xs * 0.3, 90 + ys * 0.4, 170 - xs * 0.2], axis=2)
    stripes = np.where((xs // 9 % 2 == 0)[..., None], [225, 180, 40], [235, 120, 30])
    inside = np.asarray(shape) > 127
    noise = np.random.default_rng(5).normal(0, 8, (height, width, 1))
    pixels = np.where(inside[..., None], stripes, ground) + noise
    return file(Image.fromarray(pixels.clip(0, 255).astype(np.uint8))), inside


STAR, STARLIT = star()


def around(mask: Mask, margin: int = 3) -> list[int]:
    ys, xs = np.nonzero(mask)
    return [int(xs.min()) - margin, int(ys.min()) - margin, int(xs.max()) + margin, int(ys.max()) + margin]


def test_a_box_cuts_out_what_is_in_it(cutting: Runner) -> None:
    masks, scores, logits = cut(cutting, STAR, box=around(STARLIT))
    assert masks.shape == (len(scores), *STARLIT.shape)
    assert logits.shape == (len(scores), 256, 256)
    assert overlap(masks[0] > 0, STARLIT) > 0.95
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_a_box_cuts_a_cup_and_its_saucer_out_of_a_photograph(cutting: Runner) -> None:
    masks, _, _ = cut(cutting, COFFEE, box=CUP_AND_SAUCER, return_logits="false")
    drawn = Image.new("L", (600, 400))
    ImageDraw.Draw(drawn).polygon(OUTLINE, fill=255)
    assert set(np.unique(masks)) == {0, 1}
    assert overlap(masks[0] > 0, np.asarray(drawn) > 127) > 0.9


def test_a_point_offers_several_masks_and_one_of_them_is_the_object(cutting: Runner) -> None:
    asked = {"point_coords": [[150, 140]], "point_labels": [1]}
    masks, scores, _ = cut(cutting, STAR, **asked)
    assert 2 <= len(masks) <= 3
    assert all(mask[140, 150] > 0 for mask in masks)
    assert max(overlap(mask > 0, STARLIT) for mask in masks) > 0.9
    single, best, _ = cut(cutting, STAR, multimask_output="false", **asked)
    assert len(single) == 1
    assert best == scores[:1]
    assert np.array_equal(single[0], masks[0])


def test_points_in_the_object_and_out_of_it_are_heeded(cutting: Runner) -> None:
    points = [[150, 140], [171, 75], [400, 20], [20, 280]]
    masks, _, _ = cut(cutting, STAR, point_coords=points, point_labels=[1, 1, 0, 0])
    for mask in masks:
        assert [bool(mask[y, x] > 0) for x, y in points] == [True, True, False, False]
    assert max(overlap(mask > 0, STARLIT) for mask in masks) > 0.9


def test_shares_of_the_picture_mean_what_pixels_mean(cutting: Runner) -> None:
    left, top, right, bottom = around(STARLIT)
    shares = [left / 420, top / 300, right / 420, bottom / 300]
    masks, _, _ = cut(cutting, STAR, box=around(STARLIT))
    same, _, _ = cut(cutting, STAR, box=shares, normalize_coords="false")
    assert overlap(masks[0] > 0, same[0] > 0) > 0.99


def test_logits_can_be_sent_back_and_the_same_question_gets_the_same_answer(cutting: Runner) -> None:
    masks, scores, logits = cut(cutting, STAR, box=around(STARLIT))
    again = cut(cutting, STAR, box=around(STARLIT))
    assert np.array_equal(masks, again[0])
    assert scores == again[1]
    guided, _, _ = cut(cutting, STAR, mask_input=logits[:1].tolist())
    assert overlap(guided[0] > 0, STARLIT) > 0.9


def test_several_boxes_get_one_mask_each_in_their_order(cutting: Runner) -> None:
    boxes = [around(STARLIT), [300, 200, 400, 280]]
    masks, _, _ = cut(cutting, STAR, box=boxes)
    assert len(masks) == 2
    assert overlap(masks[0] > 0, STARLIT) > 0.95
    assert (masks[1] > 0)[:190].sum() == 0


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "say where the object is"),
        ({"point_coords": [[10, 10]], "point_labels": [0]}, "say where the object is"),
        ({"point_coords": [[10, 10], [20, 20]], "point_labels": [1]}, "2 points have 1 labels"),
        ({"point_coords": [[421, 10]], "point_labels": [1]}, "outside the picture of 420 x 300"),
        ({"point_coords": [[10, 10]], "point_labels": [2]}, "1 in the object, 0 out of it"),
        ({"point_coords": "[[1", "point_labels": [1]}, "point_coords is not valid"),
        ({"point_coords": [["a", 1]], "point_labels": [1]}, "send [[x, y], ...]"),
        ({"box": [30, 10, 20, 40]}, "no box in the picture"),
        ({"box": [1, 2, 3]}, "send [left, top, right, bottom]"),
        (
            {"box": [0, 0, 9, 9], "point_coords": [[1e400, 1]], "point_labels": [1]},
            "point_coords is not valid",
        ),
        ({"mask_input": [[1, 2], [3, 4]]}, "256 x 256"),
        ({"box": [0, 0, 50, 50], "model_id": "facebook/sam2-hiera-large"}, "called with facebook/sam2"),
    ],
)
def test_a_prompt_that_makes_no_sense_is_refused_in_one_line(
    cutting: Runner, fields: dict[str, Any], why: str
) -> None:
    answer = ask(cutting, STAR, **fields)
    assert answer.status_code == 400
    message = answer.json()["detail"]["msg"]
    assert why in message
    assert "\n" not in message


def test_a_picture_that_is_too_large_is_refused(cutting: Runner) -> None:
    answer = ask(cutting, file(Image.new("L", (2500, 2000))), box=[0, 0, 9, 9])
    assert answer.status_code == 413
    assert "2500 x 2000 pixels, the limit is 4194304" in answer.json()["detail"]["msg"]
