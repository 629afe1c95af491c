"""Draw `emoji-64.png` anew: `.venv/bin/python docs/models/draw.py`. Thirty-two prompts that training never saw.

The pictures are the first that come, seeds 0 to 31, none chosen. They are drawn by the worker's own code.
"""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, ImageDraw

from shoal.worker.models import Model, ensure, find, models_home
from shoal.worker.pipelines.painting import Wish, nothing
from shoal.worker.pipelines.text_to_image import GUIDANCE_BEST, Studio
from shoal.worker.sources import sources

PAGE = Path(__file__).with_name("emoji-64.png")
COLUMNS, CELL_PX, WORDS_PX = 8, 96, 26
STEPS = 25
LINE_CHARACTERS = 15

#: Written by hand; the judge of training/pictures asks the same.
PROMPTS = (
    "a red heart",
    "a smiling yellow face",
    "a cute cat",
    "a dog looking at you",
    "a blue car",
    "a red sports car",
    "an umbrella in the rain",
    "a birthday cake with candles",
    "a green leaf",
    "a tall tree",
    "the sun behind a cloud",
    "a rocket flying to the moon",
    "a slice of pizza",
    "a ripe banana",
    "a purple flower",
    "a bunch of grapes",
    "a house with a garden",
    "a snowman in winter",
    "a football",
    "a guitar for rock music",
    "a sad crying face",
    "a very angry face",
    "a friendly robot",
    "a ghost for Halloween",
    "a pink pig",
    "a fish in the sea",
    "a little penguin",
    "a green frog on a leaf",
    "three ripe red apples",
    "two blue fish",
    "a star on a black background",
    "a hot cup of coffee",
)


def quiet(model: Model, done: int, total: int) -> None:
    """Progress that nobody watches."""


def lines(text: str) -> list[str]:
    """The words in lines that fit beneath a picture."""
    found = [""]
    for word in text.split():
        if found[-1] and len(found[-1]) + len(word) >= LINE_CHARACTERS:
            found.append("")
        found[-1] = f"{found[-1]} {word}".strip()
    return found


def main() -> None:
    model = find("text-to-image", "shoal/emoji-64")
    studio = Studio(ensure(model, models_home(os.environ), quiet, sources(os.environ)), threads=1)
    rows = -(-len(PROMPTS) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * CELL_PX, rows * (CELL_PX + WORDS_PX)), "white")
    pen = ImageDraw.Draw(page)
    for number, prompt in enumerate(PROMPTS):
        wish = Wish(studio.told(prompt), nothing(384), number, STEPS, GUIDANCE_BEST)
        picture = Image.fromarray(studio.paint(wish, lambda done, of: None))
        left, top = number % COLUMNS * CELL_PX, number // COLUMNS * (CELL_PX + WORDS_PX)
        page.paste(picture.resize((CELL_PX - 4, CELL_PX - 4), Image.Resampling.BICUBIC), (left + 2, top + 2))
        for place, line in enumerate(lines(prompt)[:2]):
            pen.text((left + 3, top + CELL_PX + place * 11), line, fill="black")
    page.quantize(255).save(PAGE, optimize=True)
    print(f"{PAGE} {PAGE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
