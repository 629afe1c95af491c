"""How well it paints: `python -m pictures.judge FOLDER`. Every question here was held back from training.

* fidelity: of a prompt's picture, is the nearest picture of the catalogue among those whose texts are nearest to the
  prompt? Beside it the same count with the prompts shuffled: chance.
* colour: is a thing asked for in a colour mostly of that colour?
* number: are there as many things as asked for?
* variety: how far apart the pictures of one prompt lie, against pictures of different prompts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

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
    "a sad crying face", "an angry face", "a robot", "a ghost for Halloween", "a pink pig", "a fish in the sea",
    "a penguin", "a green frog", "three red apples", "two blue fish", "a star on a black background", "a hot cup of coffee",
)  # fmt: skip


class Judge:
    """The catalogue as pictures and as texts, and a painter to be judged."""

    def __init__(self, folder: Path, network: Network, side_px: int) -> None:
        self.entries = catalogue.load(folder)
        self.reader: Reader = reader(folder)
        self.network, self.side_px = network, side_px
        pictures = reduced(np.stack([entry.picture for entry in self.entries]), catalogue.SIDE_PX // side_px)
        self._seen = np.stack([features(on_ground(picture, WHITE).transpose(2, 0, 1)) for picture in pictures])
        self._texts = [entry.texts[:4] + entry.keywords for entry in self.entries]
        self._vectors = [meaning(*self.reader.read(texts)) for texts in self._texts]

    def told(self, text: str) -> Told:
        words, mask = self.reader.read([text])
        return Told(words[0], mask[0])

    def paint(self, text: str, seed: int, steps: int = 25, guidance: float = 4.0) -> Floats:
        prompt = self.told(text)
        wish = Wish(prompt, nothing(prompt.words.shape[1]), seed, steps, guidance)
        return paint(self.network, wish, self.side_px, lambda done, of: None)

    def nearest(self, image: Floats) -> int:
        """The catalogue's picture that looks most like it."""
        return int(np.square(self._seen - features(image)).sum(axis=1).argmin())

    def matches(self, text: str, most: int) -> list[int]:
        """The catalogue's pictures whose texts are nearest to this one."""
        vector = meaning(*self.reader.read([text]))[0]
        scores = np.array([(vectors @ vector).max() for vectors in self._vectors])
        return [int(index) for index in np.argsort(-scores)[:most]]

    def fidelity(self, prompts: Sequence[str], top: int, **how: float) -> dict[str, float]:
        found = [self.nearest(self.paint(text, 1000 + number, **how)) for number, text in enumerate(prompts)]  # type: ignore[arg-type]
        wanted = [set(self.matches(text, top)) for text in prompts]
        right = np.mean([index in right for index, right in zip(found, wanted, strict=True)])
        away = max(1, len(prompts) // 2)
        chance = [
            found[(number + shift) % len(found)] in right
            for number, right in enumerate(wanted)
            for shift in range(1, away + 1)
        ]
        return {"prompts": len(prompts), "right": float(right), "chance": float(np.mean(chance))}


def features(image: Floats) -> npt.NDArray[np.float32]:
    """What two pictures are compared by: their coarse colours, and at half weight what is finer."""
    coarse = image.reshape(3, 8, image.shape[1] // 8, 8, image.shape[2] // 8).mean(axis=(2, 4))
    half = image.reshape(3, image.shape[1] // 2, 2, image.shape[2] // 2, 2).mean(axis=(2, 4))
    return np.concatenate((coarse.ravel() * np.sqrt(half.size / coarse.size), 0.5 * half.ravel())).astype(np.float32)


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
        kind: [texts[index] for index in sorted(chance.permutation(len(texts))[:most])] for kind, texts in kinds.items()
    }


def colour_right(image: Floats, colour: str) -> bool:
    """Whether most of what is not ground has the colour's hue, or darkness."""
    pixels = np.concatenate((to_pixels(image), np.full((*image.shape[1:], 1), 255, np.uint8)), axis=2)
    hue, saturation, value, _ = variety._hsv(pixels)  # noqa: SLF001
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


def sample(pairs: list[tuple[int, str]] | list[tuple[str, str]], most: int) -> list[tuple[object, str]]:
    chance = np.random.default_rng(catalogue.SEED)
    return [pairs[index] for index in sorted(chance.permutation(len(pairs))[:most])]


def scores(judge: Judge, most: int, **how: float) -> dict[str, object]:
    """Every score, by name."""
    found: dict[str, object] = {}
    for kind, prompts in held_back(judge.entries, most).items():
        found[kind] = judge.fidelity(prompts, 10, **how)
    found["written by hand"] = judge.fidelity(FREE, 10, **how)
    names = [entry.name for entry in judge.entries if not entry.held_back]
    chance = np.random.default_rng(catalogue.SEED)
    known = [names[index] for index in chance.permutation(len(names))[:most]]
    found["names it knows"] = judge.fidelity(known, 1, **how)
    colours = sample(coloured_prompts(judge.entries), most)
    images = [judge.paint(text, 2000 + number, **how) for number, (_, text) in enumerate(colours)]  # type: ignore[arg-type]
    found["new colours"] = share([colour_right(image, str(colour)) for image, (colour, _) in zip(images, colours)])
    other = colours[1:] + colours[:1]
    found["new colours, chance"] = share([colour_right(image, str(colour)) for image, (colour, _) in zip(images, other)])
    numbers = sample(numbered_prompts(judge.entries), most)
    found["new numbers"] = share(
        [things(judge.paint(text, 3000 + place, **how)) == number for place, (number, text) in enumerate(numbers)]  # type: ignore[arg-type]
    )
    found["variety"] = seeds_apart(judge, **how)
    return found


def share(rights: Sequence[bool]) -> dict[str, float]:
    return {"prompts": len(rights), "right": float(np.mean(rights))}


def seeds_apart(judge: Judge, prompts: int = 8, seeds: int = 4, **how: float) -> dict[str, float]:
    """Mean distance of pictures of one prompt, and of different ones."""
    sets = [
        np.stack([features(judge.paint(text, seed, **how)) for seed in range(seeds)])  # type: ignore[arg-type]
        for text in FREE[: prompts * 4 : 4]
    ]
    within = [np.linalg.norm(one[i] - one[j]) for one in sets for i in range(seeds) for j in range(i)]
    between = [np.linalg.norm(a[0] - b[0]) for i, a in enumerate(sets) for b in sets[:i]]
    return {"one prompt": float(np.mean(within)), "different prompts": float(np.mean(between))}


def sheet(judge: Judge, prompts: Sequence[str], path: Path, seeds: int = 1, **how: float) -> None:
    """Pictures with their prompts beneath."""
    columns, cell, room = 8, 96, 26
    rows = -(-len(prompts) * seeds // columns)
    page = Image.new("RGB", (columns * cell, rows * (cell + room)), "white")
    draw = ImageDraw.Draw(page)
    for number, (text, seed) in enumerate((text, seed) for text in prompts for seed in range(seeds)):
        image = Image.fromarray(to_pixels(judge.paint(text, seed, **how)))  # type: ignore[arg-type]
        left, top = number % columns * cell, number // columns * (cell + room)
        page.paste(image.resize((cell - 4, cell - 4), Image.Resampling.BICUBIC), (left + 2, top + 2))
        words, line, lines = text.split(), "", []
        for word in words:
            if len(line) + len(word) > 15:
                lines.append(line)
                line = ""
            line = f"{line} {word}".strip()
        for place, line_ in enumerate([*lines, line][:2]):
            draw.text((left + 3, top + cell + place * 11), line_, fill="black")
    page.save(path)


def from_state(path: Path) -> tuple[Network, int]:
    """The average of a training under way."""
    painter = Painter(Shape())
    painter.load_state_dict(torch.load(path, weights_only=True)["average"])
    painter.eval()

    def network(image: Floats, time: Floats, words: Floats, mask: Floats) -> Floats:
        with torch.no_grad():
            return np.asarray(painter(*(torch.from_numpy(part) for part in (image, time, words, mask))).numpy())

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
    arguments.add_argument("--sheet", type=Path, help="only paint the prompts written by hand, into this file")
    arguments.add_argument("--most", type=int, default=64, help="prompts of each kind")
    arguments.add_argument("--steps", type=int, default=25)
    arguments.add_argument("--guidance", type=float, default=4.0)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    judged = Judge(given.folder, *(from_onnx(given.onnx) if given.onnx else from_state(given.folder / "state.pt")))
    if given.sheet:
        sheet(judged, FREE, given.sheet, steps=given.steps, guidance=given.guidance)
    else:
        print(json.dumps(scores(judged, given.most, steps=given.steps, guidance=given.guidance), indent=1))
