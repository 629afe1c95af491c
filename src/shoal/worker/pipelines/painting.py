"""Pictures out of noise, step by step, as the words say: the sampler of our own picture model.

Pure but for the networks it is given: the same words, seed and numbers give the same picture, whatever is painted
beside it. It knows nothing of requests, files or sizes other than the network's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Pixels: TypeAlias = npt.NDArray[np.uint8]
#: (pictures N,3,S,S with noise, times N, words N,T,W, mask N,T) -> the pictures without noise.
Network: TypeAlias = Callable[[Floats, Floats, Floats, Floats], Floats]
#: Told how many steps of how many are done; may raise to stop.
Step: TypeAlias = Callable[[int, int], None]

#: Steps crowd where the picture's shape is decided, near the noise: 1 would space them evenly.
CROWDING = 1.5
#: Guidance pulls a picture's contrast up with it; so much of that is taken back.
RESCALED = 0.7


@dataclass(frozen=True)
class Told:
    """One text as the network reads it: a vector for each token, and which of them count."""

    words: Floats  # T,W
    mask: Floats  # T


@dataclass(frozen=True)
class Wish:
    """What to paint and how."""

    prompt: Told
    #: What to keep away from; without a counting token, the network's own idea of a picture of anything.
    negative: Told
    seed: int
    steps: int = 25
    #: How much further to go from the negative towards the prompt: 1 is the prompt alone.
    guidance: float = 5.0


def paint(
    network: Network,
    wish: Wish,
    side_px: int,
    step: Step,
    *,
    start: Floats | None = None,
    strength: float = 1.0,
) -> Floats:
    """A picture 3,S,S from -1 to 1.

    With `start`, a picture like that, it is painted over as much as `strength` says: 0 leaves it as it is.
    """
    noise = np.random.default_rng(wish.seed).standard_normal((3, side_px, side_px), np.float32)
    ways = times(wish.steps)
    begin = 0 if start is None else skipped(wish.steps, strength)
    image = noise if start is None else ways[begin] * start + (1 - ways[begin]) * noise
    words, mask = _side_by_side(wish)
    for number in range(begin, wish.steps):
        now, then = float(ways[number]), float(ways[number + 1])
        found = _guided(network, image, now, words, mask, wish.guidance)
        # Straight on from here to the picture that the network sees, as far as the step goes.
        image = image + (then - now) / (1 - now) * (found - image)
        step(number + 1 - begin, wish.steps - begin)
    return np.clip(image, -1, 1).astype(np.float32)


def skipped(steps: int, strength: float) -> int:
    """How many of the steps are not taken where a picture is painted over with less than full strength."""
    return round(steps * (1 - strength))


def times(steps: int) -> Floats:
    """From 0, all noise, to 1, none."""
    even = np.linspace(0, 1, steps + 1)
    return (even / (even + CROWDING * (1 - even))).astype(np.float32)


def _guided(
    network: Network, image: Floats, now: float, words: Floats, mask: Floats, guidance: float
) -> Floats:
    pair = 1 if guidance == 1 else 2
    images = np.repeat(image[None], pair, axis=0)
    seen = network(images, np.full(pair, now, np.float32), words[:pair], mask[:pair])
    if pair == 1:
        alone: Floats = np.clip(seen[0], -1, 1)
        return alone
    asked, otherwise = seen
    pulled = otherwise + guidance * (asked - otherwise)
    calmed = pulled.mean() + (pulled - pulled.mean()) * (asked.std() / max(float(pulled.std()), 1e-6))
    result: Floats = np.clip(RESCALED * calmed + (1 - RESCALED) * pulled, -1, 1).astype(np.float32)
    return result


def _side_by_side(wish: Wish) -> tuple[Floats, Floats]:
    """The prompt and the negative, the shorter filled up with what does not count."""
    told = (wish.prompt, wish.negative)
    long = max(len(one.mask) for one in told)
    words = np.stack([np.pad(one.words, ((0, long - len(one.mask)), (0, 0))) for one in told])
    mask = np.stack([np.pad(one.mask, (0, long - len(one.mask))) for one in told])
    return words.astype(np.float32), mask.astype(np.float32)


def nothing(width: int) -> Told:
    """No words at all."""
    return Told(np.zeros((1, width), np.float32), np.zeros(1, np.float32))


def to_pixels(image: Floats) -> Pixels:
    """3,S,S from -1 to 1 as S,S,3 bytes."""
    return np.asarray(((image.transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255), np.uint8)


def to_image(pixels: Pixels) -> Floats:
    """S,S,3 bytes as 3,S,S from -1 to 1."""
    return np.asarray(pixels.transpose(2, 0, 1) / 127.5 - 1, np.float32)
