"""The text in a picture: PP-OCRv6's two networks, one that finds lines of text and one that reads a line.

What is kept was read with some certainty; words stand in the order of reading, a line of the picture a line of text.
Text that stands on its head is not turned round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from shoal.worker.pipelines.picture import Pixels
from shoal.worker.pipelines.server import Step
from shoal.worker.pipelines.session import open_session

FINDER, READER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
#: The size at which text is looked for: the short side at least, the long side at most, both of whole strides.
SHORT_SIDE_MIN, LONG_SIDE_MAX, STRIDE = 736, 1600, 32
#: How sure the finder must be of a pixel, and of a box on the whole.
PIXEL_MIN, BOX_MIN = 0.3, 0.5
#: The finder marks the middle of a line; the line is larger than that by this much (Liao et al., 2020).
UNCLIP = 1.6
SIDE_PX_MIN = 3
BOXES_MAX = 300
#: What the reader sees of a line.
LINE_HEIGHT, LINE_WIDTH_MIN, LINE_WIDTH_MAX = 48, 320, 3200
TOGETHER = 6
#: A box this much taller than wide holds text that runs up or down.
UPRIGHT = 1.5
#: How sure the reader must be on the whole; of a single sign more so, for a ring or a stroke is easily taken for one.
SURE_MIN, SURE_ALONE_MIN = 0.5, 0.95

Floats = npt.NDArray[np.float32]


class Box(NamedTuple):
    """Where a line of text is: its corners from the upper left, clockwise."""

    corners: Floats

    @property
    def height(self) -> float:
        return float(np.linalg.norm(self.corners[0] - self.corners[3]))

    @property
    def middle(self) -> Floats:
        return np.asarray(self.corners.mean(0), np.float32)


class Reader:
    """Both networks; may be asked from several threads."""

    def __init__(self, model_dir: Path, threads: int) -> None:
        self._finder, self._reader = (open_session(model_dir / name, threads) for name in (FINDER, READER))
        letters = self._reader.get_modelmeta().custom_metadata_map["character"].splitlines()
        #: What each number stands for; the first for nothing at all.
        self._letters = np.array(["", *letters, " "])

    def read(self, pixels: Pixels, step: Step) -> str:
        """All text that was found, in lines."""
        picture = np.ascontiguousarray(
            pixels[:, :, ::-1]
        )  # both networks were taught blue before green before red
        boxes = sorted(self._find(picture), key=lambda box: float(box.middle[1]))[:BOXES_MAX]
        lines = [cut_out(picture, box) for box in boxes]
        words = [""] * len(lines)
        widest_last = sorted(range(len(lines)), key=lambda index: lines[index].shape[1])
        for start in range(0, len(lines), TOGETHER):
            some = widest_last[start : start + TOGETHER]
            for index, text in zip(some, self._spell([lines[index] for index in some]), strict=True):
                words[index] = text
            step(min(start + TOGETHER, len(lines)), len(lines))
        return "\n".join(in_order(boxes, words))

    def _find(self, picture: Pixels) -> Iterator[Box]:
        height, width = picture.shape[:2]
        scale = min(max(1.0, SHORT_SIDE_MIN / min(height, width)), LONG_SIDE_MAX / max(height, width))
        wide, high = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (width, height))
        seen = normal(np.asarray(cv2.resize(picture, (wide, high)), np.uint8))
        [[[sure]]] = self._finder.run(None, {self._finder.get_inputs()[0].name: seen[None]})
        marked = cv2.dilate((sure > PIXEL_MIN).astype(np.uint8), np.ones((2, 2), np.uint8))
        contours, _ = cv2.findContours(marked, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        back = np.array([width / wide, height / high], np.float32)
        for contour in contours:
            centre, sides, angle = cv2.minAreaRect(contour)
            if min(sides) < SIDE_PX_MIN or mean_inside(sure, np.asarray(contour, np.int32)) < BOX_MIN:
                continue
            more = UNCLIP * sides[0] * sides[1] / (sides[0] + sides[1])
            grown = cv2.boxPoints((centre, (sides[0] + more, sides[1] + more), angle)) * back
            yield Box(clockwise(np.clip(grown, 0, [width - 1, height - 1]).astype(np.float32)))

    def _spell(self, lines: list[Pixels]) -> Iterator[str]:
        width = max(LINE_WIDTH_MIN, *(line.shape[1] for line in lines))
        seen = np.zeros((len(lines), 3, LINE_HEIGHT, width), np.float32)
        for row, line in zip(seen, lines, strict=True):
            row[:, :, : line.shape[1]] = normal(line)
        [chances] = self._reader.run(None, {self._reader.get_inputs()[0].name: seen})
        for chance in chances:
            best, sure = chance.argmax(1), chance.max(1)
            new = (best != 0) & (best != np.roll(best, 1))
            new[0] = best[0] != 0
            text = "".join(self._letters[best[new]]).strip()
            alone = sum(letter.isalnum() for letter in text) < 2
            yield text if text and sure[new].mean() >= (SURE_ALONE_MIN if alone else SURE_MIN) else ""


def normal(picture: Pixels) -> Floats:
    """From -1 to 1, colours first."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / 127.5 - 1


def mean_inside(sure: Floats, contour: npt.NDArray[np.int32]) -> float:
    x, y, width, height = cv2.boundingRect(contour)
    inside = np.zeros((height, width), np.uint8)
    cv2.fillPoly(inside, [contour - [x, y]], 1)
    return float(cv2.mean(sure[y : y + height, x : x + width], inside)[0])


def clockwise(corners: Floats) -> Floats:
    """The corners from the upper left on; of a tilted box, from the end where it is read first."""
    left, right = np.split(corners[np.argsort(corners[:, 0], kind="stable")], 2)
    (upper_left, lower_left), (upper_right, lower_right) = (
        pair[np.argsort(pair[:, 1], kind="stable")] for pair in (left, right)
    )
    return np.stack([upper_left, upper_right, lower_right, lower_left])


def cut_out(picture: Pixels, box: Box) -> Pixels:
    """The line that a box holds, laid flat and as high as the reader wants it."""
    across, down = float(np.linalg.norm(box.corners[1] - box.corners[0])), box.height
    corners = box.corners
    if down >= across * UPRIGHT:
        corners, across, down = np.roll(corners, -1, axis=0), down, across
    width = int(np.clip(across * LINE_HEIGHT / max(down, 1), LINE_HEIGHT // 2, LINE_WIDTH_MAX))
    flat = np.array([[0, 0], [width, 0], [width, LINE_HEIGHT], [0, LINE_HEIGHT]], np.float32)
    how = cv2.getPerspectiveTransform(corners, flat)
    laid = cv2.warpPerspective(
        picture, how, (width, LINE_HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(laid, np.uint8)


def in_order(boxes: Iterable[Box], words: Iterable[str]) -> Iterator[str]:
    """Lines of text: what stands at one height, from left to right. The boxes come from top to bottom."""
    line: list[tuple[float, str]] = []
    height = 0.0
    for box, text in zip(boxes, words, strict=True):
        if not text:
            continue
        x, y = (float(place) for place in box.middle)
        if line and y - height > box.height / 2:
            yield " ".join(word for _, word in sorted(line))
            line = []
        height = y if not line else height
        line.append((x, text))
    if line:
        yield " ".join(word for _, word in sorted(line))
