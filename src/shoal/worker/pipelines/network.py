"""Networks written down as ONNX, for weights that come without a graph of their own.

Only what a convolutional network needs. A graph made here is bytes for onnxruntime; nothing is computed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

OPSET = 16
IR_VERSION = 8
#: Kinds of number.
FLOAT, INT64 = 1, 7

Floats: TypeAlias = npt.NDArray[np.float32]
Wholes: TypeAlias = npt.NDArray[np.int64]
Attribute: TypeAlias = int | float | str | Sequence[int]
#: Each side's size, or a name where any will do.
Shape: TypeAlias = Sequence[int | str]
IMAGE: Shape = (1, 3, "h", "w")


def varint(number: int) -> bytes:
    """A number as protobuf has it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def whole(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def blob(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def attribute(name: str, value: Attribute) -> bytes:
    """AttributeProto: a field for each kind of value, and which kind it is."""
    if isinstance(value, int):
        said = whole(3, value) + whole(20, 2)
    elif isinstance(value, float):
        said = varint(2 << 3 | 5) + struct.pack("<f", value) + whole(20, 1)
    elif isinstance(value, str):
        said = blob(4, value) + whole(20, 3)
    else:
        said = b"".join(whole(8, number) for number in value) + whole(20, 7)
    return blob(1, name) + said


class Network:
    """A graph that grows by one operation at a time."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._weights: list[bytes] = []

    def weight(self, name: str, numbers: Floats | Wholes) -> str:
        """TensorProto: numbers that are part of the graph."""
        kind = INT64 if numbers.dtype == np.int64 else FLOAT
        shape = b"".join(whole(1, size) for size in numbers.shape)
        data = np.ascontiguousarray(numbers, np.int64 if kind == INT64 else np.float32).tobytes()
        self._weights.append(shape + whole(2, kind) + blob(8, name) + blob(9, data))
        return name

    def apply(self, operation: str, *inputs: str, **attributes: Attribute) -> str:
        """NodeProto: the name of what comes out."""
        out = f"value{len(self._nodes)}"
        node = b"".join(blob(1, name) for name in inputs) + blob(2, out) + blob(4, operation)
        node += b"".join(blob(5, attribute(name, value)) for name, value in attributes.items())
        self._nodes.append(node)
        return out

    def model(self, image: str, outputs: Sequence[str]) -> bytes:
        """The whole graph, from an image of any size to the named outputs."""
        return self.graph({image: IMAGE}, outputs)

    def graph(self, inputs: Mapping[str, Shape], outputs: Sequence[str]) -> bytes:
        """ModelProto: the whole graph, from the named inputs to the named outputs."""
        graph = b"".join(blob(1, node) for node in self._nodes) + blob(2, "network")
        graph += b"".join(blob(5, weight) for weight in self._weights)
        graph += b"".join(blob(11, given(name, shape)) for name, shape in inputs.items())
        graph += b"".join(blob(12, blob(1, name)) for name in outputs)
        return whole(1, IR_VERSION) + blob(7, graph) + blob(8, blob(1, "") + whole(2, OPSET))


def given(name: str, shape: Shape) -> bytes:
    """ValueInfoProto: an input of floats."""
    sides = b"".join(blob(1, blob(2, side) if isinstance(side, str) else whole(1, side)) for side in shape)
    return blob(1, name) + blob(2, blob(1, whole(1, FLOAT) + blob(2, sides)))
