"""The segment-anything-2 runner: a picture, points and boxes in; masks, scores and logits out, in SAM 2's form.

There is no SAM 2 in it: no package holds its weights. `cutout` says what is done instead. A prompt that makes no sense
is refused before any work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Annotated, TypeVar

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from shoal.errors import Refused
from shoal.wire.requests import SegmentAnything2Request
from shoal.worker.pipelines import cutout, picture
from shoal.worker.pipelines.cutout import Cut, Prompt
from shoal.worker.pipelines.efficientnet import EfficientNet
from shoal.worker.pipelines.form import read_request
from shoal.worker.pipelines.network import Floats
from shoal.worker.pipelines.picture import Pixels
from shoal.worker.pipelines.server import (
    Answer,
    Call,
    Hands,
    Reply,
    Settings,
    Step,
    encode,
    main,
    require_model,
)

T = TypeVar("T")

BODY_BYTES_MAX = 20 << 20
#: Three masks as JSON take fifteen bytes a pixel.
PIXELS_MAX = 2048 * 2048
POINTS_MAX, BOXES_MAX = 64, 16
WEIGHTS = "efficientnet-lite2.pth"
#: The size of the logits that can be sent back as `mask_input`.
LOW_RESOLUTION = 256

Point = tuple[float, float]
Points = Annotated[tuple[Point, ...], Meta(max_length=POINTS_MAX)]
Box = tuple[float, float, float, float]
Boxes = Annotated[tuple[Box, ...], Meta(min_length=1, max_length=BOXES_MAX)]
Row = Annotated[tuple[float, ...], Meta(min_length=LOW_RESOLUTION, max_length=LOW_RESOLUTION)]
Logits = Annotated[tuple[Row, ...], Meta(min_length=LOW_RESOLUTION, max_length=LOW_RESOLUTION)]
Guess = Annotated[tuple[Logits, ...], Meta(min_length=1, max_length=1)]
WANTED = {
    "point_coords": f"[[x, y], ...], at most {POINTS_MAX} of them",
    "point_labels": "[1, 0, ...], one for each point: 1 in the object, 0 out of it",
    "box": f"[left, top, right, bottom], or a list of at most {BOXES_MAX} of those",
    "mask_input": f"one mask of an earlier answer's logits, [[[...]]] of {LOW_RESOLUTION} x {LOW_RESOLUTION} numbers",
}


class SegmentAnything2:
    """What a classifier notices, a tree of regions, and GrabCut; implements `server.Pipeline`."""

    name = "segment-anything-2"
    body_bytes_max = BODY_BYTES_MAX

    def load(self, settings: Settings) -> None:
        cv2.setNumThreads(settings.threads)
        self._network = EfficientNet(settings.model_dir / WEIGHTS, settings.threads, "features")
        self._model_id = settings.model_id

    def answer(self, call: Call, hands: Hands) -> Awaitable[Reply]:
        request, files = read_request(call.content_type, call.body, SegmentAnything2Request, files=("image",))
        require_model(request.model_id, self._model_id)
        return hands.steps(call, lambda step: self._segment(request, files["image"], step))

    def _segment(self, request: SegmentAnything2Request, image: bytes, step: Step) -> Answer:
        pixels = picture.decode(image, pixels_max=PIXELS_MAX)
        prompts = list(read_prompts(request, pixels.shape[1], pixels.shape[0]))
        guess = read_guess(request.mask_input)
        cuts: list[Cut] = []
        for done, prompt in enumerate(prompts, start=1):
            found = self._cut(pixels, prompt, guess)
            if not found:
                raise Refused(
                    "nothing stands out there; put a point in the middle of the object, or a box around it"
                )
            cuts += found if request.multimask_output and len(prompts) == 1 else found[:1]
            step(done, len(prompts))
        return Answer(encode(said(cuts, logits=request.return_logits)), pixels.shape[0] * pixels.shape[1])

    def _cut(self, pixels: Pixels, prompt: Prompt, guess: Floats | None) -> list[Cut]:
        frame = cutout.frame_for(pixels, prompt.box)
        part = pixels[frame.top : frame.bottom, frame.left : frame.right]
        return cutout.cut(pixels, self._network.features(part), frame, prompt, guess)


def read_prompts(request: SegmentAnything2Request, width: int, height: int) -> Iterator[Prompt]:
    """One prompt, or one for each of several boxes; Refused if it cannot be meant."""
    points = read("point_coords", request.point_coords, Points) or ()
    labels = read("point_labels", request.point_labels, tuple[int, ...]) or ()
    if len(points) != len(labels):
        raise Refused(f"{len(points)} points have {len(labels)} labels; send one label for each point")
    if not set(labels) <= {0, 1}:
        raise Refused(f"point_labels are {WANTED['point_labels']}")
    single = request.box.lstrip().startswith("[") and not request.box.replace(" ", "").startswith("[[")
    boxes = read("box", f"[{request.box}]" if single else request.box, Boxes) or ()
    scale = (1, 1) if request.normalize_coords else (width, height)
    points = tuple((x * scale[0], y * scale[1]) for x, y in points)
    boxes = tuple((a * scale[0], b * scale[1], c * scale[0], d * scale[1]) for a, b, c, d in boxes)
    for x, y in points:
        if not (0 <= x <= width and 0 <= y <= height):
            raise Refused(f"the point {x:g}, {y:g} lies outside the picture of {width} x {height} pixels")
    for left, top, right, bottom in boxes:
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise Refused(
                f"the box {left:g}, {top:g}, {right:g}, {bottom:g} is no box in the picture of {width} x {height} "
                "pixels; send [left, top, right, bottom]"
            )
    if points and len(boxes) > 1:
        raise Refused("points go with one box at most; send several boxes without points")
    inside = tuple(point for point, label in zip(points, labels, strict=True) if label)
    outside = tuple(point for point, label in zip(points, labels, strict=True) if not label)
    if not (inside or boxes or request.mask_input):
        raise Refused("say where the object is: point_coords and point_labels (1 for a point in it), or box")
    yield from (Prompt(inside, outside, box) for box in boxes or (None,))


def read_guess(text: str) -> Floats | None:
    """An earlier answer's logits, with or without the outer list."""
    if not text:
        return None
    nested = text.replace(" ", "").startswith("[[[")
    rows = read("mask_input", text if nested else f"[{text}]", Guess)
    return np.array(rows, np.float32).reshape(LOW_RESOLUTION, LOW_RESOLUTION)


def read(name: str, text: str, kind: type[T]) -> T | None:
    """A list that came as JSON inside the form."""
    if not text.strip():
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise Refused(f"{name} is not valid ({error}); send {WANTED[name]}") from error


def said(cuts: list[Cut], *, logits: bool) -> dict[str, str]:
    """MasksResponse: three texts, each the JSON of nested lists."""
    low = (written(low_resolution(one.logits)) for one in cuts)
    masks = (written(one.logits) if logits else written_flat(one.logits > 0) for one in cuts)
    return {
        "masks": f"[{','.join(masks)}]",
        "scores": encode([round(one.score, 3) for one in cuts]).decode(),
        "logits": f"[{','.join(low)}]",
    }


def low_resolution(logits: Floats) -> Floats:
    """The whole picture's logits, in the square that `mask_input` takes."""
    size = LOW_RESOLUTION, LOW_RESOLUTION
    return np.asarray(cv2.resize(logits, size, interpolation=cv2.INTER_AREA), np.float32)


#: Each tenth from the least logit to the greatest, as wide as the widest.
CELL = 5
CELLS = np.array([f"{tenth / 10:4.1f},".encode() for tenth in range(-99, 100)], f"S{CELL}")


def written(numbers: Floats) -> str:
    """Rows of numbers with one decimal: a table look-up, for there are millions."""
    tenths = np.rint(numbers * 10).astype(np.int16) + 99
    return rows_of(CELLS[tenths], CELL)


def written_flat(mask: npt.NDArray[np.bool_]) -> str:
    """Rows of 1 and 0."""
    return rows_of(np.array([b"0,", b"1,"], "S2")[mask.astype(np.int8)], 2)


def rows_of(cells: npt.NDArray[np.bytes_], width: int) -> str:
    joined = cells.tobytes()
    length = cells.shape[1] * width
    rows = (joined[start : start + length - 1] for start in range(0, len(joined), length))
    return f"[[{'],['.join(row.decode() for row in rows)}]]"


if __name__ == "__main__":
    main(SegmentAnything2())
