"""The path of a camera over a still picture: what part of it is seen at each moment. Pure.

A path is smooth, stays inside the picture, and shows it in the film's own proportions. How far it goes is the
motion that was asked for; which way, the seed's choice.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from msgspec import Struct

#: At full motion, how much of the picture's width a view leaves out for the camera to travel through or zoom into.
TRAVEL = 0.35
MOTION_MAX = 255
#: How far a zoom leans to one side, as a part of the room that there is.
LEAN = 0.6
#: A zoom in, a zoom out, or a look from one edge to the other.
WAYS = ("in", "out", "across")

#: Left, top, right and bottom in pixels of the picture, not always whole ones.
View: TypeAlias = tuple[float, float, float, float]


class Camera(Struct, frozen=True):
    """One way over one picture: from a view to another. Positions go from -1 to 1 through the room that there is."""

    width: int
    height: int
    zoom_from: float
    zoom_to: float
    position_from: tuple[float, float]
    position_to: tuple[float, float]

    def view(self, moment: float) -> View:
        """What is seen, from moment 0 to 1: starting gently and ending gently."""
        done = (1 - math.cos(math.pi * moment)) / 2
        part = 1 / between(self.zoom_from, self.zoom_to, done)
        left, top = (
            side * (1 - part) / 2 * (1 + between(here, there, done))
            for side, here, there in zip(self.size, self.position_from, self.position_to, strict=True)
        )
        return left, top, left + self.width * part, top + self.height * part

    @property
    def size(self) -> tuple[int, int]:
        """Of the picture."""
        return self.width, self.height


def between(here: float, there: float, done: float) -> float:
    return here + (there - here) * done


def camera(width: int, height: int, motion: int, seed: int) -> Camera:
    """The path for a picture of this size, by motion (0 to 255) and seed."""
    luck = np.random.default_rng(seed)
    zoom = 1 / (1 - TRAVEL * motion / MOTION_MAX)
    way = WAYS[luck.integers(len(WAYS))]
    angle = luck.uniform(0, 2 * math.pi)
    x, y = math.cos(angle), math.sin(angle)
    if way == "across":
        reach = max(abs(x), abs(y))  # from edge to edge
        start, end = (-x / reach, -y / reach), (x / reach, y / reach)
        return Camera(width, height, zoom, zoom, start, end)
    aim = (x * LEAN, y * LEAN)
    zooms = (1.0, zoom) if way == "in" else (zoom, 1.0)
    return Camera(width, height, *zooms, aim, aim)
