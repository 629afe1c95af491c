"""Pictures between two: RIFE's network (HDv3), built from its weights as a graph for onnxruntime.

The network guesses how each pixel of the unseen picture moved from the one before and to the one after it, coarsely
first and finer twice more; both pictures are then pulled along and mixed. It makes nothing up that neither shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.worker.pipelines.checkpoint import read_tensors
from shoal.worker.pipelines.network import Network
from shoal.worker.pipelines.picture import Pixels, resize
from shoal.worker.pipelines.session import open_session

#: The three guesses work at a quarter, a half and all of the picture.
SCALES = (4, 2, 1)
#: The coarsest guess halves its quarter three times.
STRIDE = 32
#: Motion is guessed on a copy this long. Larger is slower and blind to wide motion, for the network looks only so far.
WORK_SIDE_MAX = 384

Array: TypeAlias = npt.NDArray[np.float32]
#: The name of a value in the graph.
Value: TypeAlias = str
#: An input: its name and its shape.
Port: TypeAlias = tuple[Value, Sequence[int | str]]

#: The pictures before and after.
PAIR: Port = ("pair", [2, 3, "height", "width"])
#: What `places` gives.
PLACES: tuple[Port, ...] = (("grid", [1, "height", "width", 2]), ("pixel", [2]))
#: What the network says, on its small copy.
GUESSED: tuple[Port, ...] = (("motion", [2, 4, "rows", "columns"]), ("mask", [2, 1, "rows", "columns"]))
#: How far the moment is from the picture before and from the one after.
SPANS: Port = ("spans", [2, 1, 1, 1])


class Interpolator:
    """Finds pictures between two of one size."""

    def __init__(self, weights: Path, threads: int) -> None:
        self._sessions = [
            open_session(graph, threads) for graph in (guessing(read_tensors(weights)), mixing())
        ]

    def between(self, before: Pixels, after: Pixels, moments: Sequence[float]) -> Iterator[Pixels]:
        """The pictures at these moments, where 0 is the first of the two and 1 the other.

        Motion is guessed once, for the middle; other moments follow it in a straight line, best near the middle.
        """
        height, width, _ = before.shape
        across, down = work_size(width, height)
        guess, mix = self._sessions
        small = batch([resize(picture, across, down) for picture in (before, after)])
        motion, mask = guess.run(None, {"pair": small} | places(across, down))
        stretch = np.array([width / across, height / down] * 2, np.float32).reshape(1, 4, 1, 1)
        inputs = {"pair": batch([before, after]), "motion": motion * stretch, "mask": mask} | places(
            width, height
        )
        for moment in moments:
            spans = np.array([moment, 1 - moment], np.float32).reshape(2, 1, 1, 1)
            [found] = mix.run(None, inputs | {"spans": spans})
            yield (found[0].transpose(1, 2, 0).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def work_size(width: int, height: int) -> tuple[int, int]:
    """The size of the copy on which motion is guessed, in whole strides."""
    scale = min(1.0, WORK_SIDE_MAX / max(width, height))
    across, down = (max(1, round(side * scale / STRIDE)) * STRIDE for side in (width, height))
    return across, down


def batch(pictures: list[Pixels]) -> Array:
    """Pictures as the network takes them: number x colour x height x width, from 0 to 1."""
    return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def places(width: int, height: int) -> dict[str, Array]:
    """Where each pixel is, x and y from -1 to 1, and how far a step of one pixel goes."""
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    grid = np.stack([across, down], axis=-1)[None].astype(np.float32)
    return {"grid": grid, "pixel": np.array([2 / (width - 1), 2 / (height - 1)], np.float32)}


def guessing(weights: Mapping[str, Array]) -> bytes:
    """The network: a pair of pictures in, the motion of the middle one's pixels and its mask out.

    Everything is done for both directions at once: row 0 of a batch looks from the picture before to the one after,
    row 1 looks back, so that turning a batch over swaps what is known of the two.
    """
    graph = Graph(weights)
    motion, mask, pulled = graph.nothing(channels=4), graph.nothing(channels=1), "pair"
    for number, scale in enumerate(SCALES):
        seen = graph.join(pulled, graph.turned(pulled), mask)
        more_motion, more_mask = graph.guess(seen, motion, f"module.block{number}", scale)
        swapped = graph.pick(graph.turned(more_motion), [2, 3, 0, 1], axis=1)
        motion = graph.add(motion, graph.half(graph.add(more_motion, swapped)))
        mask = graph.add(mask, graph.half(graph.op("Sub", more_mask, graph.turned(more_mask))))
        pulled = graph.pull(motion)
    return graph.model([PAIR, *PLACES], [motion, mask])


def mixing() -> bytes:
    """Both pictures pulled along the motion to a moment, and mixed there by the mask and by how near each is."""
    graph = Graph({})
    away = graph.op("Mul", graph.enlarged("motion", channels=4), graph.add("spans", "spans"))
    near = graph.turned("spans")
    weight = graph.op("Mul", graph.op("Sigmoid", graph.enlarged("mask", channels=1)), near)
    both = graph.op("ReduceSum", weight, graph.number([0]), keepdims=1)
    mixed = graph.op("Mul", graph.pull(away), graph.op("Div", weight, both))
    picture = graph.op("ReduceSum", mixed, graph.number([0]), keepdims=1)
    return graph.model([PAIR, *PLACES, *GUESSED, SPANS], [picture])


class Graph:
    """Nodes as they are added; each verb returns the name of what its node gives."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self._weights = weights
        self._network = Network()
        self._known: set[str] = set()
        self.op = self._network.apply

    def number(self, values: object, kind: npt.DTypeLike = np.int64) -> Value:
        """A constant."""
        array = np.array(values, kind)
        return self._constant(f"{array.dtype}{array.tolist()}", array)

    def _weight(self, name: str, *, slope: bool = False) -> Value:
        array = self._weights[name]
        return self._constant(name, array.reshape(-1, 1, 1) if slope else array)

    def _constant(self, name: str, array: npt.NDArray[Any]) -> Value:
        if name not in self._known:
            self._known.add(name)
            self._network.weight(name, array)
        return name

    def add(self, one: Value, other: Value) -> Value:
        return self.op("Add", one, other)

    def half(self, value: Value) -> Value:
        return self.op("Mul", value, self.number(0.5, np.float32))

    def join(self, *parts: Value) -> Value:
        return self.op("Concat", *parts, axis=1)

    def pick(self, value: Value, which: list[int], axis: int) -> Value:
        return self.op("Gather", value, self.number(which), axis=axis)

    def turned(self, value: Value) -> Value:
        """The batch with its two rows swapped."""
        return self.pick(value, [1, 0], axis=0)

    def nothing(self, *, channels: int) -> Value:
        """Zeros of the pair's size."""
        one = self.op("Mul", self.pick("pair", [0], axis=1), self.number(0, np.float32))
        return self.join(*[one] * channels)

    def resize(self, value: Value, factor: float) -> Value:
        if factor == 1:
            return value
        return self._resize(value, "", self.number([1, 1, factor, factor], np.float32))

    def enlarged(self, value: Value, *, channels: int) -> Value:
        """As large as the pair."""
        sides = self.op("Slice", self.op("Shape", "pair"), self.number([2]), self.number([4]))
        return self._resize(value, "", "", self.op("Concat", self.number([2, channels]), sides, axis=0))

    def _resize(self, *inputs: Value) -> Value:
        return self.op("Resize", *inputs, mode="linear", coordinate_transformation_mode="half_pixel")

    def pull(self, motion: Value) -> Value:
        """Each of the pair with its pixels where the motion says that they have gone."""
        steps = self.op("Transpose", self.pick(motion, [0, 1], axis=1), perm=[0, 2, 3, 1])
        places = self.add("grid", self.op("Mul", steps, "pixel"))
        return self.op("GridSample", "pair", places, mode="bilinear", padding_mode="border", align_corners=1)

    def guess(self, seen: Value, motion: Value, block: str, scale: int) -> tuple[Value, Value]:
        """What one block adds to the motion and to the mask."""
        moved = self.op("Mul", self.resize(motion, 1 / scale), self.number(1 / scale, np.float32))
        value = self.join(self.resize(seen, 1 / scale), moved)
        value = self._layer(self._layer(value, f"{block}.conv0.0", 2), f"{block}.conv0.1", 2)
        for number in range(4):
            layer = f"{block}.convblock{number}"
            value = self.add(self._layer(self._layer(value, f"{layer}.0"), f"{layer}.1"), value)
        found = self.resize(self._quadrupled(value, f"{block}.conv1"), scale)
        mask = self.resize(self._quadrupled(value, f"{block}.conv2"), scale)
        return self.op("Mul", found, self.number(scale, np.float32)), mask

    def _layer(self, value: Value, name: str, stride: int = 1) -> Value:
        parameters = (self._weight(f"{name}.0.weight"), self._weight(f"{name}.0.bias"))
        value = self.op("Conv", value, *parameters, strides=[stride] * 2, pads=[1] * 4, kernel_shape=[3, 3])
        return self.op("PRelu", value, self._weight(f"{name}.1.weight", slope=True))

    def _quadrupled(self, value: Value, name: str) -> Value:
        """Twice twice as large."""
        value = self._doubled(value, f"{name}.0")
        value = self.op("PRelu", value, self._weight(f"{name}.1.weight", slope=True))
        return self._doubled(value, f"{name}.2")

    def _doubled(self, value: Value, name: str) -> Value:
        parameters = (self._weight(f"{name}.weight"), self._weight(f"{name}.bias"))
        return self.op("ConvTranspose", value, *parameters, strides=[2, 2], pads=[1] * 4, kernel_shape=[4, 4])

    def model(self, inputs: Sequence[Port], outputs: Sequence[Value]) -> bytes:
        """The whole."""
        return self._network.graph(dict(inputs), outputs)
