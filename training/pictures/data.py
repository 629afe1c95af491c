"""The training set: pictures with what they may be called, read once and kept in one file; batches drawn from it.

Shifts, mirror images and coloured grounds are made anew for every batch. What is held back is never drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pictures import catalogue, sources
from pictures.catalogue import Entry, Picture
from pictures.variety import GROUNDS, arranged, several, tinted
from shoal.worker.pipelines.wording import Reader

PAIRS = 3_000
GROUNDS_PER_PICTURE = 3
TOKENS = 20
SHIFT_PX_MAX = 2
#: How often each kind is drawn.
SHARES = {"plain": 0.70, "tinted": 0.13, "several": 0.07, "grounded": 0.07, "pairs": 0.03}
#: How often a picture is called by its name rather than by anything else it may be called.
NAME_SHARE = 0.35
#: How often it has no words at all.
WORDLESS_SHARE = 0.1


@dataclass(frozen=True)
class Batch:
    pictures: Tensor  # N,3,S,S in -1..1
    words: Tensor  # N,T,W
    mask: Tensor  # N,T


class TrainingSet:
    """Everything in memory; `draw` gives the next batch of a seeded chance."""

    def __init__(self, path: Path, side_px: int) -> None:
        held = np.load(path)
        self._shift_px_max = SHIFT_PX_MAX * side_px // catalogue.SIDE_PX
        self._pictures = reduced(held["pictures"], catalogue.SIDE_PX // side_px)
        self._mirrored = held["mirrored"]
        self._grounds = held["grounds"]
        self._words, self._lengths = held["words"], held["lengths"]
        self._first_text, self._texts = held["first_text"], held["texts"]
        kinds = held["kinds"]
        self._by_kind = [np.flatnonzero(kinds == kind) for kind in range(len(SHARES))]

    def draw(self, size: int, chance: np.random.Generator) -> Batch:
        kinds = chance.choice(len(SHARES), size, p=list(SHARES.values()))
        chosen = np.array([chance.choice(self._by_kind[kind]) for kind in kinds])
        texts = np.array([self._text(index, chance) for index in chosen])
        pictures = np.stack([self._picture(index, chance) for index in chosen])
        mask = (np.arange(TOKENS)[None, :] < self._lengths[texts][:, None]).astype(np.float32)
        mask[chance.random(size) < WORDLESS_SHARE] = 0
        return Batch(
            torch.from_numpy(pictures).permute(0, 3, 1, 2),
            torch.from_numpy(self._words[texts].astype(np.float32) * mask[:, :, None]),
            torch.from_numpy(mask),
        )

    def _text(self, index: int, chance: np.random.Generator) -> int:
        first, end = self._first_text[index], self._first_text[index + 1]
        picked = first if chance.random() < NAME_SHARE else chance.integers(first, end)
        return int(self._texts[picked])

    def _picture(self, index: int, chance: np.random.Generator) -> npt.NDArray[np.float32]:
        picture = self._pictures[self._grounds[index, 3]]
        if self._mirrored[index] and chance.random() < 0.5:
            picture = picture[:, ::-1]
        shift = chance.integers(-self._shift_px_max, self._shift_px_max + 1, 2)
        return on_ground(np.roll(picture, shift, (0, 1)), self._grounds[index, :3])


def reduced(pictures: Picture, times: int) -> Picture:
    """So many times smaller; colours are weighed by how much they cover."""
    number, side = len(pictures), pictures.shape[1] // times
    blocks = pictures.reshape(number, side, times, side, times, 4)
    cover = blocks[..., 3:].astype(np.uint32)
    total = cover.sum(axis=(2, 4))
    colours = (blocks[..., :3] * cover).sum(axis=(2, 4)) // np.maximum(total, 1)
    return np.concatenate((colours, total // times**2), axis=3).astype(np.uint8)


def on_ground(picture: Picture, ground: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """The picture on a colour, as numbers from -1 to 1."""
    cover = picture[:, :, 3:].astype(np.float32) / 255
    colours = picture[:, :, :3].astype(np.float32) * cover + ground.astype(np.float32) * (1 - cover)
    return np.asarray(colours / 127.5 - 1, np.float32)


class Gathering:
    """Examples as they are found, before they are packed."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self.kinds: list[int] = []
        self.mirrored: list[bool] = []
        self.grounds: list[tuple[int, int, int, int]] = []
        self.texts: list[list[str]] = []

    def keep(self, picture: Picture) -> int:
        self.pictures.append(picture)
        return len(self.pictures) - 1

    def add(self, kind: str, picture: int, texts: list[str], mirrored: bool, ground: str = "white") -> None:
        shown = [text for text in texts[:1] if kind == "plain" or not catalogue.text_held_back(text)]
        shown += [text for text in texts[1:] if not catalogue.text_held_back(text)]
        if shown:
            self.kinds.append(list(SHARES).index(kind))
            self.mirrored.append(mirrored)
            self.grounds.append((*GROUNDS[ground], picture))
            self.texts.append(shown)


def gather(entries: list[Entry]) -> Gathering:
    """Every example that training may see."""
    chance, found = random.Random(catalogue.SEED), Gathering()
    seen = [entry for entry in entries if not entry.held_back]
    for entry in seen:
        plain = found.keep(entry.picture)
        found.add("plain", plain, list(entry.texts), entry.mirrored)
        for colour in chance.sample(list(GROUNDS)[1:], GROUNDS_PER_PICTURE):
            found.add("grounded", plain, [f"{entry.name} on a {colour} background"], entry.mirrored, colour)
        for _, text, picture in tinted(entry):
            found.add("tinted", found.keep(picture), [text], entry.mirrored)
        for text, picture in several(entry):
            found.add("several", found.keep(picture), [text], entry.mirrored)
    for _ in range(PAIRS):
        one, other = chance.sample(seen, 2)
        text = f"{catalogue.with_article(one.name)} and {catalogue.with_article(other.name)}"
        found.add("pairs", found.keep(arranged([one.picture, other.picture])), [text], False)
    return found


def prepare(folder: Path) -> Path:
    """Fetch, gather, read every text and pack it all; done once."""
    path = folder / "training-set.npz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    sources.fetch(folder)
    found = gather(catalogue.load(folder))
    texts = list(dict.fromkeys(text for texts in found.texts for text in texts))
    places = {text: place for place, text in enumerate(texts)}
    words, lengths = read_all(reader(folder), texts)
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        pictures=np.stack(found.pictures),
        kinds=np.array(found.kinds),
        mirrored=np.array(found.mirrored),
        grounds=np.array(found.grounds),
        words=words,
        lengths=lengths,
        texts=np.array([places[text] for texts in found.texts for text in texts]),
        first_text=np.cumsum([0, *(len(texts) for texts in found.texts)]),
    )
    part.rename(path)
    return path


def reader(folder: Path) -> Reader:
    """The same network and vocabulary as the worker's, laid side by side as it expects them."""
    beside = folder / "minilm"
    beside.mkdir(exist_ok=True)
    for wanted in sources.PYPI:
        target = beside / wanted.name
        if not target.exists():
            target.write_bytes(sources.place(wanted, folder).read_bytes())
    return Reader(beside, threads=2)


def read_all(reader: Reader, texts: list[str]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]:
    """The words of every text, cut or filled to TOKENS."""
    words = np.zeros((len(texts), TOKENS, 384), np.float16)
    lengths = np.zeros(len(texts), np.int64)
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for first in range(0, len(order), 128):
        places = order[first : first + 128]
        states, mask = reader.read([texts[place] for place in places])
        long = min(TOKENS, states.shape[1])
        words[places, :long] = states[:, :long]
        lengths[places] = np.minimum(mask.sum(axis=1), TOKENS)
    return words, lengths
