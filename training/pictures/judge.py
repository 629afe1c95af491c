"""How well it paints: `python -m pictures.judge FOLDER`. Every question here was held back from training.

* fidelity: of a prompt's picture, is the nearest picture of the catalogue among those whose texts are nearest to the
  prompt? Beside it the same count with the prompts shuffled: chance.
* colour: is a thing asked for in a colour mostly of that colour?
* number: are there as many things as asked for?
* variety: how far apart the pictures of one prompt lie, against pictures of different prompts.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from PIL import Image, ImageDraw

from pictures import catalogue, variety
from pictures.catalogue import Entry
from pictures.data import on_ground, reader, reduced
from pictures.model import Painter, Shape
from shoal.worker.pipelines.painting import Floats, Network, Told, Wish, nothing, paint, to_pixels
from shoal.worker.pipelines.wording import Reader, meaning

WHITE = np.array((255, 255, 255), np.int32)
#: Written by hand, in nobody's words: none of them is a text of the catalogue.
FREE = (
    "a red heart", "a smiling yellow face", "a cute cat", "a dog looking at you", "a blue car",
    "a red sports car", "an umbrella in the rain", "a birthday cake with candles", "a green leaf", "a tall tree",
    "the sun behind a cloud", "a rocket flying to the moon", "a slice of pizza", "a ripe banana", "a purple flower",
    "a bunch of grapes", "a house with a garden", "a snowman in winter", "a football", "a guitar for rock music",
    "a sad crying face", "a very angry face", "a friendly robot", "a ghost for Halloween", "a pink pig",
    "a fish in the sea", "a little penguin", "a green frog on a leaf", "three ripe red apples", "two blue fish",
    "a star on a black background", "a hot cup of coffee",
)  # fmt: skip


@dataclass(frozen=True)
class How:
    """What the sampler is told beside words and seed."""

    steps: int = 25
    guidance: float = 4.0


class Judge:
    """The catalogue as pictures and as texts, and a painter to be judged."""

    def __init__(self, folder: Path, network: Network, side_px: int) -> None:
        self.entries = catalogue.load(folder)
        self.reader: Reader = reader(folder)
        self.network, self.side_px = network, side_px
        pictures = reduced(np.stack([entry.picture for entry in self.entries]), catalogue.SIDE_PX // side_px)
        self._seen = np.stack(
            [features(on_ground(picture, WHITE).transpose(2, 0, 1)) for picture in pictures]
        )

    @functools.cached_property
    def _vectors(self) -> list[Floats]:
        """What every picture is called, as vectors."""
        texts = [list(dict.fromkeys((*entry.texts[:2], *entry.keywords))) for entry in self.entries]
        flat = [text for some in texts for text in some]
        order = sorted(range(len(flat)), key=lambda place: len(flat[place]))
        found = np.empty((len(flat), 384), np.float32)
        for first in range(0, len(order), 64):
            places = order[first : first + 64]
            found[places] = meaning(*self.reader.read([flat[place] for place in places]))
        return np.split(found, np.cumsum([len(some) for some in texts])[:-1])

    def told(self, text: str) -> Told:
        words, mask = self.reader.read([text])
        return Told(words[0], mask[0])

    def paint(self, text: str, seed: int, how: How) -> Floats:
        prompt = self.told(text)
        wish = Wish(prompt, nothing(prompt.words.shape[1]), seed, how.steps, how.guidance)
        return paint(self.network, wish, self.side_px, lambda done, of: None)

    def nearest(self, image: Floats) -> int:
        """The catalogue's picture that looks most like it."""
        return int(np.square(self._seen - features(image)).sum(axis=1).argmin())

    def matches(self, text: str, most: int) -> list[int]:
        """The catalogue's pictures whose texts are nearest to this one."""
        vector = meaning(*self.reader.read([text]))[0]
        scores = np.array([(vectors @ vector).max() for vectors in self._vectors])
        return [int(index) for index in np.argsort(-scores)[:most]]

    def fidelity(self, prompts: Sequence[str], top: int, how: How) -> dict[str, float]:
        found = [self.nearest(self.paint(text, 1000 + number, how)) for number, text in enumerate(prompts)]
        wanted = [set(self.matches(text, top)) for text in prompts]
        return compared([[index in right for right in wanted] for index in found])


def features(image: Floats) -> npt.NDArray[np.float32]:
    """What two pictures are compared by: their coarse colours, and at half weight what is finer."""
    coarse = image.reshape(3, 8, image.shape[1] // 8, 8, image.shape[2] // 8).mean(axis=(2, 4))
    half = image.reshape(3, image.shape[1] // 2, 2, image.shape[2] // 2, 2).mean(axis=(2, 4))
    return np.concatenate((coarse.ravel() * np.sqrt(half.size / coarse.size), 0.5 * half.ravel())).astype(
        np.float32
    )


def held_back(entries: Sequence[Entry], most: int) -> dict[str, list[str]]:
    """Questions that training never saw, by kind; always the same ones."""
    seen = [entry for entry in entries if not entry.held_back]
    kinds = {
        "new words for pictures it knows": [
            text for entry in seen for text in entry.texts[1:] if catalogue.text_held_back(text)
        ],
        "pictures it never saw": [entry.name for entry in entries if entry.held_back],
    }
    chance = np.random.default_rng(catalogue.SEED)
    return {
        kind: [texts[index] for index in sorted(chance.permutation(len(texts))[:most])]
        for kind, texts in kinds.items()
    }


def colour_right(image: Floats, colour: str) -> bool:
    """Whether most of what is not ground has the colour's hue, or darkness."""
    pixels = np.concatenate((to_pixels(image), np.full((*image.shape[1:], 1), 255, np.uint8)), axis=2)
    hue, saturation, value, _ = variety.hsv(pixels)
    figure = (saturation > 0.15) | (value < 0.85)
    if figure.sum() < 0.03 * figure.size:
        return False
    target = variety.COLOURS[colour][0]
    if target is None:
        return bool(np.median(value[figure]) < 0.45 and np.median(saturation[figure]) < 0.35)
    coloured = figure & (saturation > 0.3)
    if not coloured.any():
        return False
    return float((np.abs((hue[coloured] - target + 0.5) % 1 - 0.5) < 0.08).mean()) > 0.5


def things(image: Floats) -> int:
    """How many separate figures stand on the ground."""
    figure = np.abs(image - 1).max(axis=0) > 0.25
    side, left, count = len(figure), figure.copy(), 0
    for place in zip(*np.nonzero(figure), strict=True):
        if not left[place]:
            continue
        stack, size = [place], 0
        left[place] = False
        while stack:
            row, column = stack.pop()
            size += 1
            for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if 0 <= near[0] < side and 0 <= near[1] < side and left[near]:
                    left[near] = False
                    stack.append(near)
        count += size > 0.015 * figure.size
    return count


def coloured_prompts(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Colour and text of things that training saw, but never in this colour."""
    return [
        (colour, text)
        for entry in entries
        if not entry.held_back
        for colour, text, _ in variety.tinted(entry)
        if catalogue.text_held_back(text)
    ]


def numbered_prompts(entries: Sequence[Entry]) -> list[tuple[int, str]]:
    """Number and text of things that training saw, but never so many; only of things in one piece."""
    numbers = {word: number for number, word in variety.NUMBERS.items()}
    return [
        (numbers[text.split()[0]], text)
        for entry in entries
        if not entry.held_back and things(on_ground(entry.picture, WHITE).transpose(2, 0, 1)) == 1
        for text, _ in variety.several(entry)
        if catalogue.text_held_back(text)
    ]


def scores(judge: Judge, most: int, how: How) -> dict[str, object]:
    """Every score, by name."""
    found: dict[str, object] = {}
    for kind, prompts in held_back(judge.entries, most).items():
        found[kind] = judge.fidelity(prompts, 10, how)
    found["written by hand"] = judge.fidelity(FREE, 10, how)
    names = [entry.name for entry in judge.entries if not entry.held_back]
    chance = np.random.default_rng(catalogue.SEED)
    known = [names[index] for index in chance.permutation(len(names))[:most]]
    found["names it knows"] = judge.fidelity(known, 1, how)
    colours = coloured_prompts(judge.entries)
    colours = [colours[index] for index in chance.permutation(len(colours))[:most]]
    images = [judge.paint(text, 2000 + number, how) for number, (_, text) in enumerate(colours)]
    found["new colours"] = compared(
        [[colour_right(image, colour) for colour, _ in colours] for image in images]
    )
    numbers = numbered_prompts(judge.entries)
    numbers = [numbers[index] for index in chance.permutation(len(numbers))[:most]]
    counts = [things(judge.paint(text, 3000 + place, how)) for place, (_, text) in enumerate(numbers)]
    found["new numbers"] = compared([[count == number for number, _ in numbers] for count in counts])
    found["variety"] = seeds_apart(judge, how)
    return found


def compared(rights: list[list[bool]]) -> dict[str, float]:
    """How often answer n is right for question n, and for any question: that is chance."""
    table = np.array(rights)
    return {"prompts": len(table), "right": float(table.diagonal().mean()), "chance": float(table.mean())}


def seeds_apart(judge: Judge, how: How, prompts: int = 8, seeds: int = 4) -> dict[str, float]:
    """Mean distance of pictures of one prompt, and of different ones."""
    sets = [
        np.stack([features(judge.paint(text, seed, how)) for seed in range(seeds)])
        for text in FREE[: prompts * 4 : 4]
    ]
    within = [np.linalg.norm(one[i] - one[j]) for one in sets for i in range(seeds) for j in range(i)]
    between = [np.linalg.norm(a[0] - b[0]) for i, a in enumerate(sets) for b in sets[:i]]
    return {"one prompt": float(np.mean(within)), "different prompts": float(np.mean(between))}


def sheet(judge: Judge, prompts: Sequence[str], path: Path, how: How) -> None:
    """Pictures with their prompts beneath."""
    columns, cell, room = 8, 96, 26
    rows = -(-len(prompts) // columns)
    page = Image.new("RGB", (columns * cell, rows * (cell + room)), "white")
    draw = ImageDraw.Draw(page)
    for number, text in enumerate(prompts):
        image = Image.fromarray(to_pixels(judge.paint(text, number, how)))
        left, top = number % columns * cell, number // columns * (cell + room)
        page.paste(image.resize((cell - 4, cell - 4), Image.Resampling.BICUBIC), (left + 2, top + 2))
        draw.multiline_text((left + 3, top + cell), "\n".join(wrap(text, 15)[:2]), fill="black", spacing=1)
    page.save(path)


def from_state(path: Path) -> tuple[Network, int]:
    """The average of a training under way."""
    painter = Painter(Shape())
    painter.load_state_dict(torch.load(path, weights_only=True)["average"])
    painter.eval()

    def network(image: Floats, time: Floats, words: Floats, mask: Floats) -> Floats:
        with torch.no_grad():
            return np.asarray(
                painter(*(torch.from_numpy(part) for part in (image, time, words, mask))).numpy()
            )

    return network, painter.shape.side_px


def from_onnx(path: Path) -> tuple[Network, int]:
    """The network as workers run it."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def network(image: Floats, time: Floats, words: Floats, mask: Floats) -> Floats:
        return np.asarray(session.run(None, {"image": image, "time": time, "words": words, "mask": mask})[0])

    return network, Shape().side_px


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--onnx", type=Path, help="judge this file rather than the training under way")
    arguments.add_argument(
        "--sheet", type=Path, help="only paint the prompts written by hand, into this file"
    )
    arguments.add_argument("--most", type=int, default=64, help="prompts of each kind")
    arguments.add_argument("--steps", type=int, default=25)
    arguments.add_argument("--guidance", type=float, default=4.0)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    judged = Judge(
        given.folder, *(from_onnx(given.onnx) if given.onnx else from_state(given.folder / "state.pt"))
    )
    how_ = How(given.steps, given.guidance)
    if given.sheet:
        sheet(judged, FREE, given.sheet, how_)
    else:
        print(json.dumps(scores(judged, given.most, how_), indent=1))
