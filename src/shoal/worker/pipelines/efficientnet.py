"""EfficientNet-Lite (Tan and Le, 2019): what is in a picture, by a network that was taught ImageNet's 1,000 classes.

The weights come from a checkpoint; the graph is built here. `classify` gives a probability for each class,
`features` what the network notices at each place, which tells one thing from another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from shoal.worker.pipelines.checkpoint import Tensors, read_tensors
from shoal.worker.pipelines.network import Floats, Network
from shoal.worker.pipelines.picture import Pixels
from shoal.worker.pipelines.session import open_session

#: The groups of blocks whose first halves the picture.
HALVING = (1, 2, 3, 5)
#: The groups whose outcome `features` gives: edges and textures, parts, things.
NOTICED = (2, 4, 6)
#: The size that Lite2 was taught at, and the middle part of a picture that it was shown.
SIDE, MIDDLE = 260, 0.875
MEAN, SPREAD = 127.0, 128.0
EPSILON = 1e-3
FEATURE_SIDE = 480
STRIDE = 32


class EfficientNet:
    """One network, for one of its two uses."""

    def __init__(self, weights: Path, threads: int, use: Literal["classify", "features"]) -> None:
        self._session = open_session(draw(read_tensors(weights), use), threads)

    def classify(self, pixels: Pixels) -> Floats:
        """The probability of each class."""
        height, width = pixels.shape[:2]
        side = max(1, int(min(height, width) * MIDDLE))
        top, left = (height - side) // 2, (width - side) // 2
        [outputs] = self._run(scaled(pixels[top : top + side, left : left + side], SIDE, SIDE))
        return np.asarray(outputs[0], np.float32)

    def features(self, pixels: Pixels) -> list[Floats]:
        """Three maps, height x width x channels, from fine to coarse."""
        height, width = pixels.shape[:2]
        scale = FEATURE_SIDE / max(height, width)
        size = [max(STRIDE, round(length * scale / STRIDE) * STRIDE) for length in (width, height)]
        return [noticed[0].transpose(1, 2, 0) for noticed in self._run(scaled(pixels, *size))]

    def _run(self, pixels: Pixels) -> list[Floats]:
        image = (pixels.astype(np.float32) - MEAN) / SPREAD
        outputs: list[Floats] = self._session.run(None, {"image": image.transpose(2, 0, 1)[None]})
        return outputs


def scaled(pixels: Pixels, width: int, height: int) -> Pixels:
    shrinks = width < pixels.shape[1] and height < pixels.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=how), np.uint8)


def draw(tensors: Tensors, use: str) -> bytes:
    """The graph that belongs to the weights: their shapes say how wide and how deep it is."""
    network = Network()
    network.weight("low", np.zeros((), np.float32))
    network.weight("high", np.full((), 6, np.float32))
    value = convolution(network, tensors, "image", "_conv_stem", "_bn0", stride=2)
    group, width = -1, 0
    groups: list[str] = []
    for block in range(blocks_of(tensors)):
        stem = f"_blocks.{block}"
        first = block == 0 or len(tensors[f"{stem}._bn2.weight"]) != width
        width, group = len(tensors[f"{stem}._bn2.weight"]), group + first
        out = value
        if f"{stem}._expand_conv.weight" in tensors:
            out = convolution(network, tensors, out, f"{stem}._expand_conv", f"{stem}._bn0")
        stride = 2 if first and group in HALVING else 1
        out = convolution(network, tensors, out, f"{stem}._depthwise_conv", f"{stem}._bn1", stride=stride)
        out = convolution(network, tensors, out, f"{stem}._project_conv", f"{stem}._bn2", active=False)
        value = out if first else network.apply("Add", value, out)
        groups[group:] = [value]
    if use == "features":
        return network.model("image", [groups[group] for group in NOTICED])
    value = convolution(network, tensors, value, "_conv_head", "_bn1")
    value = network.apply("Flatten", network.apply("GlobalAveragePool", value))
    weight, bias = (network.weight(name, tensors[name]) for name in ("_fc.weight", "_fc.bias"))
    return network.model(
        "image", [network.apply("Softmax", network.apply("Gemm", value, weight, bias, transB=1))]
    )


def blocks_of(tensors: Tensors) -> int:
    return sum(name.endswith("._project_conv.weight") for name in tensors)


def convolution(
    network: Network,
    tensors: Tensors,
    value: str,
    name: str,
    norm: str,
    *,
    stride: int = 1,
    active: bool = True,
) -> str:
    """A convolution, its normalisation, and, where it is active, a bend."""
    kernel = tensors[f"{name}.weight"]
    grouped = len(kernel) if name.endswith("._depthwise_conv") else 1
    value = network.apply(
        "Conv",
        value,
        network.weight(name, kernel),
        kernel_shape=kernel.shape[2:],
        strides=(stride, stride),
        auto_pad="SAME_UPPER",
        group=grouped,
    )
    fields = (f"{norm}.{field}" for field in ("weight", "bias", "running_mean", "running_var"))
    normal = [network.weight(field, tensors[field]) for field in fields]
    value = network.apply("BatchNormalization", value, *normal, epsilon=EPSILON)
    return network.apply("Clip", value, "low", "high") if active else value
