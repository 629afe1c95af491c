"""The tour's rooms with pictures: drawn and enlarged, cut out, read, filmed; and vectors, which cannot be seen.

What was made is looked at before it is shown: an answer that is not as it was asked for ends the tour.
"""

from __future__ import annotations

import base64
import json
import math
import operator
from pathlib import Path
from typing import Any

from shoal.cli import png
from shoal.cli.buyer import File, Job, read_file
from shoal.cli.gallery import Exhibit, Gallery
from shoal.cli.guide import Guide, facts, same_words
from shoal.errors import Failed
from shoal.wire.picture import measure
from shoal.wire.pipelines import PIXELS_MAX

SIDE_PX, FACTOR = 256, 2
DRAWN = {"prompt": "a red heart", "width": SIDE_PX, "height": SIDE_PX, "seed": 4}
#: Round the cup and its saucer in examples/coffee.jpg.
BOX = [72, 14, 484, 392]
SIGN = "SHOAL HARBOUR. Boats leave at 9:30 and 16:45. Please do not feed the gulls."
FRAMES, FPS = 16, 8
FILM = {"width": 256, "height": 168, "num_frames": FRAMES, "fps": FPS, "motion_bucket_id": 180, "seed": 4}
#: The second means what the first does, in other words; the third does not.
SENTENCES = (
    "A small fish swims through the sea.",
    "Something with fins is moving in the ocean.",
    "The bank raised its interest rates.",
)


#: A line of 1 and 0 for each line of a picture.
Mask = list[list[int]]


class Exhibition:
    """One station a method; each sends real jobs, and hangs what they made in the gallery."""

    def __init__(self, guide: Guide, gallery: Gallery, examples: Path) -> None:
        self._guide = guide
        self._page = guide.page
        self._gallery = gallery
        self._examples = examples

    def draw(self) -> None:
        """A picture from a few words, which another model then enlarges."""
        self._page.line(f"> {DRAWN['prompt']}")
        job = self._done("text-to-image", DRAWN)
        drawn = File("image", "drawn.png", self._guide.file_of(job))
        self._show(f"“{DRAWN['prompt']}”, drawn", job, _size(drawn.data, SIDE_PX), made=drawn)
        self._page.line(f"> the same, {FACTOR} times as wide and as high")
        job = self._done("upscale", {"prompt": "", "factor": FACTOR}, drawn)
        enlarged = File("image", "enlarged.png", self._guide.file_of(job))
        self._show("The same, enlarged", job, _size(enlarged.data, FACTOR * SIDE_PX), made=enlarged)

    def cut_out(self) -> None:
        """An object that a box was put around, without what surrounds it."""
        photograph = read_file(self._examples / "coffee.jpg", "image")
        self._page.line(f"> {photograph.name}, and a box: {BOX}")
        asked = {"box": json.dumps(BOX), "multimask_output": False, "return_logits": False}
        job = self._done("segment-anything-2", asked, photograph)
        answer = self._guide.buyer.answer(job["id"])
        [mask], [score] = json.loads(answer["masks"]), json.loads(answer["scores"])
        shape = File("image", "mask.png", as_picture(mask))
        share = sum(map(sum, mask)) / sum(map(len, mask))
        said = f"a cup with its saucer, {share:.0%} of the picture; the mask's score is {score:.2f}"
        self._page.line(f"the mask is in {self._gallery.keep(shape)}")
        made = File("image", "cut-out.svg", cut(photograph.data, shape.data, mask))
        self._show("A cup, cut out of a photograph", job, said, made=made, source=photograph)

    def read(self) -> None:
        """Text that was only pixels."""
        sign = read_file(self._examples / "sign.png", "image")
        self._page.line(f"> {sign.name}: what does it say?")
        job = self._done("image-to-text", {"prompt": "What does it say?"}, sign)
        text = str(self._guide.buyer.answer(job["id"])["text"])
        said = f"{text}\n{same_words(SIGN, text)} are those on the sign"
        self._show("A sign, read", job, said, source=sign)

    def film(self) -> None:
        """A still picture, brought into motion."""
        photograph = read_file(self._examples / "cat.jpg", "image")
        self._page.line(f"> {photograph.name}, as a film of {FRAMES} pictures")
        job = self._done("image-to-video", FILM, photograph)
        made = File("video", "film.mp4", self._guide.file_of(job))
        said = f"{FRAMES / FPS:g} seconds of film, {len(made.data):,} bytes"
        self._show("A photograph, brought into motion", job, said, made=made, source=photograph)

    def compare(self) -> None:
        """Three sentences as vectors: what means the same lies near."""
        for sentence in SENTENCES:
            self._page.line(f"> {sentence}")
        job = self._done("embeddings", {"input": list(SENTENCES)})
        first, second, third = (item["embedding"] for item in self._guide.buyer.answer(job["id"])["data"])
        near, far = cosine(first, second), cosine(first, third)
        if near <= far:
            raise Failed(f"{job['id']}: what means the same is {near:.2f} alike, and what does not {far:.2f}")
        self._page.line(
            f"{len(first)} numbers each: the first two are {near:.2f} alike, the first and the third {far:.2f}"
        )
        self._guide.tell(job)

    def _done(self, pipeline: str, params: dict[str, Any], file: File | None = None) -> Job:
        return self._guide.done(self._guide.submit(pipeline, params, file=file))

    def _show(
        self, title: str, job: Job, said: str, *, made: File | None = None, source: File | None = None
    ) -> None:
        """Say what came back and where it lies, tell of the job, and hang it in the gallery."""
        for line in said.splitlines():
            self._page.line(line)
        for file in (source, made):
            if file is not None:
                path = self._gallery.keep(file)
        if made is not None:
            self._page.line(f"in {path}")
        self._gallery.hang(
            Exhibit(
                job=job["id"],
                title=title,
                said=said,
                facts=tuple(facts(self._guide.tell(job))),
                made="" if made is None else made.name,
                source="" if source is None else source.name,
            )
        )


def as_picture(mask: Mask) -> bytes:
    """A mask as PNG: white what is kept, black what is not. Raises `Failed` if it keeps nothing."""
    pixels = bytes(255 * inside for line in mask for inside in line)
    if not any(pixels):
        raise Failed("the mask is empty")
    return png.encode(len(mask[0]), pixels, channels=png.GREY)


def cut(photograph: bytes, shape: bytes, mask: Mask) -> bytes:
    """A photograph seen through its mask, as SVG: the smallest part of it that holds the whole object."""
    rows = [y for y, line in enumerate(mask) if any(line)]
    columns = [x for x, column in enumerate(zip(*mask, strict=True)) if any(column)]
    left, top = columns[0], rows[0]
    size = f'width="{len(mask[0])}" height="{len(mask)}"'
    part = (columns[-1] + 1 - left, rows[-1] + 1 - top)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{part[0]}" height="{part[1]}" '
        f'viewBox="{left} {top} {part[0]} {part[1]}">\n'
        f'<mask id="shape"><image {size} href="{_data_url(shape, "image/png")}"/></mask>\n'
        f'<image {size} href="{_data_url(photograph, "image/jpeg")}" mask="url(#shape)"/>\n</svg>\n'
    ).encode()


def cosine(one: list[float], other: list[float]) -> float:
    """How alike two vectors are: 1 if they point the same way."""
    product: float = sum(map(operator.mul, one, other))
    return product / (math.hypot(*one) * math.hypot(*other))


def _size(data: bytes, side_px: int) -> str:
    """A square picture's size, if it is as was asked for."""
    picture = measure(data, PIXELS_MAX)
    if (picture.width, picture.height) != (side_px, side_px):
        raise Failed(f"the picture has {picture.width} x {picture.height} pixels, not {side_px} x {side_px}")
    return f"{picture.width} x {picture.height} pixels, {len(data):,} bytes"


def _data_url(data: bytes, content_type: str) -> str:
    return f"data:{content_type};base64,{base64.b64encode(data).decode()}"
