"""Lay what a tour made on one sheet, docs/tour.jpg, for README.md: `python docs/tour.py FOLDER` after `make demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

SHEET = Path(__file__).with_name("tour.jpg")
HEIGHT_PX, GAP_PX, TEXT_PX = 190, 12, 30
FRAMES = (0, 7, 15)
GROUND, INK = (252, 252, 250), (34, 34, 51)


def frames(path: Path) -> list[Image.Image]:
    """A film's pictures."""
    with av.open(path) as film:
        return [frame.to_image() for frame in film.decode(video=0)]


def cut_out(photograph: Path, mask: Path) -> Image.Image:
    """A photograph where its mask is white, as large as that is."""
    shape = Image.open(mask)
    picture = Image.open(photograph).convert("RGB")
    return Image.composite(picture, Image.new("RGB", picture.size, GROUND), shape).crop(shape.getbbox())


def row(pictures: list[tuple[Image.Image, str]]) -> Image.Image:
    """Pictures of one height beside each other, each with a word below."""
    scaled = [
        (pic.resize((round(pic.width * HEIGHT_PX / pic.height), HEIGHT_PX)), word) for pic, word in pictures
    ]
    line = Image.new("RGB", (sum(pic.width + GAP_PX for pic, _ in scaled), HEIGHT_PX + TEXT_PX), GROUND)
    draw, font, left = ImageDraw.Draw(line), ImageFont.load_default(13), 0
    for picture, word in scaled:
        line.paste(picture, (left, 0))
        draw.text((left, HEIGHT_PX + 6), word, INK, font)
        left += picture.width + GAP_PX
    return line


def sheet(folder: Path) -> Image.Image:
    """Two rows: what was drawn and cut out, and what moves."""
    film = frames(folder / "film.mp4")
    rows = [
        row(
            [
                (Image.open(folder / "enlarged.png"), "“a red heart”, enlarged"),
                (Image.open(folder / "coffee.jpg"), "a photograph"),
                (cut_out(folder / "coffee.jpg", folder / "mask.png"), "what was in the box"),
            ]
        ),
        row([(film[number], f"film, picture {number + 1} of {len(film)}") for number in FRAMES]),
    ]
    whole = Image.new("RGB", (max(line.width for line in rows), sum(line.height for line in rows)), GROUND)
    top = 0
    for line in rows:
        whole.paste(line, (0, top))
        top += line.height
    return whole


if __name__ == "__main__":
    sheet(Path(sys.argv[1])).save(SHEET, quality=88)
