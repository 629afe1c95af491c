"""More pictures out of the same ones: in another colour, several at once, on a ground of some colour.

Each comes with the words that say so: this is where the network learns what colours and numbers mean.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from pictures.catalogue import SIDE_PX, Entry, Picture, plural, with_article

#: Hue in turns (None keeps none), how saturated, how bright.
COLOURS: dict[str, tuple[float | None, float, float]] = {
    "red": (0.0, 1.0, 1.0),
    "orange": (0.075, 1.05, 1.05),
    "yellow": (0.145, 1.05, 1.15),
    "green": (0.34, 0.95, 0.9),
    "blue": (0.59, 1.0, 1.0),
    "purple": (0.78, 0.85, 0.9),
    "pink": (0.92, 0.6, 1.15),
    "brown": (0.065, 0.75, 0.6),
    "black": (None, 0.0, 0.3),
}
GROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "red": (225, 60, 55),
    "orange": (250, 150, 50),
    "yellow": (255, 220, 80),
    "green": (90, 180, 90),
    "blue": (80, 150, 235),
    "purple": (150, 90, 200),
    "pink": (250, 165, 195),
    "brown": (130, 90, 60),
    "black": (25, 25, 25),
}
NUMBERS = {2: "two", 3: "three", 4: "four"}
#: Where the copies stand, as parts of the side: left, top, size.
PLACES = {
    2: ((0.02, 0.26, 0.47), (0.51, 0.26, 0.47)),
    3: ((0.27, 0.03, 0.46), (0.02, 0.51, 0.46), (0.52, 0.51, 0.46)),
    4: ((0.03, 0.03, 0.46), (0.51, 0.03, 0.46), (0.03, 0.51, 0.46), (0.51, 0.51, 0.46)),
}
#: Less colour than this and there is nothing to recolour.
SHARE_COLOURED_MIN = 0.35
HUE_REACH = 0.12


def tinted(entry: Entry) -> Iterator[tuple[str, str, Picture]]:
    """Colour, text and picture, in every colour but its own."""
    hue = dominant_hue(entry.picture)
    if hue is None or not entry.thing:
        return
    words = [word for word in entry.name.split() if word not in COLOURS]
    if not words:
        return
    name = " ".join(words)
    for colour, (target, saturation, value) in COLOURS.items():
        text = f"{with_article(colour)} {name}" if plural(name) != name else f"{colour} {name}"
        yield colour, text, recoloured(entry.picture, hue, target, saturation, value)


def several(entry: Entry) -> Iterator[tuple[str, Picture]]:
    """Text and picture of two, three and four of a thing."""
    if not entry.thing:
        return
    for number, word in NUMBERS.items():
        yield f"{word} {plural(entry.name)}", arranged([entry.picture] * number)


def arranged(pictures: list[Picture]) -> Picture:
    """Two to four pictures on one."""
    whole = Image.new("RGBA", (SIDE_PX, SIDE_PX))
    for picture, (left, top, size) in zip(pictures, PLACES[len(pictures)], strict=True):
        side = round(size * SIDE_PX)
        small = Image.fromarray(picture).convert("RGBa").resize((side, side), Image.Resampling.BOX)
        whole.paste(small.convert("RGBA"), (round(left * SIDE_PX), round(top * SIDE_PX)))
    return np.asarray(whole)


def dominant_hue(picture: Picture) -> float | None:
    """The hue of most of what is coloured; none where little is."""
    hue, saturation, value, cover = hsv(picture)
    weight = cover * saturation * value * ((saturation > 0.25) & (value > 0.25))
    if (weight > 0.1).sum() < SHARE_COLOURED_MIN * (cover > 0.5).sum():
        return None
    counts, edges = np.histogram(hue, 24, (0, 1), weights=weight)
    smooth = counts + 0.5 * (np.roll(counts, 1) + np.roll(counts, -1))
    return float(edges[smooth.argmax()] + 0.5 / 24)


def recoloured(
    picture: Picture, hue: float, target: float | None, saturation: float, value: float
) -> Picture:
    """The picture with its dominant hue moved to another; other hues stay."""
    now, strength, bright, _ = hsv(picture)
    away = np.abs((now - hue + 0.5) % 1 - 0.5)
    share = np.clip((HUE_REACH - away) / 0.03, 0, 1) * np.clip((strength - 0.12) / 0.1, 0, 1)
    moved = now if target is None else (target + ((now - hue + 0.5) % 1 - 0.5) * 0.4) % 1
    full = np.maximum(strength, 0.6) if target is not None else strength
    painted = _rgb(moved, np.clip(full * saturation, 0, 1), np.clip(bright * value, 0, 1))
    colours = picture[:, :, :3] * (1 - share[:, :, None]) + painted * share[:, :, None]
    out: Picture = np.concatenate((colours.round().astype(np.uint8), picture[:, :, 3:]), axis=2)
    return out


def hsv(picture: Picture) -> tuple[npt.NDArray[np.float64], ...]:
    """Hue, saturation, value and cover, each from 0 to 1."""
    parts = np.asarray(Image.fromarray(picture[:, :, :3]).convert("HSV")) / 255
    return parts[:, :, 0], parts[:, :, 1], parts[:, :, 2], picture[:, :, 3] / 255


def _rgb(
    hue: npt.NDArray[np.float64], saturation: npt.NDArray[np.float64], value: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.stack(np.vectorize(colorsys.hsv_to_rgb)(hue, saturation, value), axis=2) * 255
