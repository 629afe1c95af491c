"""Reads a checkpoint of PyTorch's first format without PyTorch: names and arrays of numbers.

A pickle can name any function for its reader to call. This one knows three names, none of which does anything
but hold numbers; a file that names another is refused, and so is one whose numbers are not where it says.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from shoal.errors import Untrusted

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
ITEM_BYTES = 4
ITEMS_MAX = 1 << 28

Array = npt.NDArray[np.float32]


class Storage(Struct, frozen=True):
    """A run of numbers that the file holds further back, under a key."""

    key: str
    items: int


class Tensor(Struct, frozen=True):
    """A view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]


class FloatStorage:
    """Stands for the kind of number; this file holds no other."""


def _tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> Tensor:
    expected, items = [], 1
    for side in reversed(shape):
        expected.append(items)
        items *= side
    if strides != tuple(reversed(expected)) or offset < 0 or offset + items > storage.items:
        raise Untrusted("the checkpoint holds a tensor that does not lie in one piece")
    return Tensor(storage, offset, shape)


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): FloatStorage,
}


class Reader(pickle.Unpickler):
    """An unpickler that knows three names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise Untrusted(f"the checkpoint names {module}.{name}, which is not read")
        return KNOWN[module, name]

    def persistent_load(self, word: Any) -> Storage:
        match word:
            case ("storage", kind, str(key), str(), int(items), None) if kind is FloatStorage:
                if 0 < items <= ITEMS_MAX:
                    return Storage(key, items)
        raise Untrusted(f"the checkpoint refers to {word!r:.100}, which is not read")


def read(data: bytes) -> dict[str, Array]:
    """The arrays of a checkpoint by their names. Raises `Untrusted` for anything else."""
    file = io.BytesIO(data)
    try:
        return _read(file)
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise Untrusted(f"the checkpoint cannot be read: {error}") from error


def _read(file: io.BytesIO) -> dict[str, Array]:
    magic, version, _system = (Reader(file).load() for _ in range(3))
    if magic != MAGIC or version != VERSION:
        raise Untrusted("the file is no checkpoint of PyTorch's first format")
    tensors: dict[str, Tensor] = Reader(file).load()
    keys: list[str] = Reader(file).load()
    sizes = {tensor.storage.key: tensor.storage.items for tensor in tensors.values()}
    storages = {key: _numbers(file, sizes[key]) for key in keys}
    return {
        name: storages[tensor.storage.key][tensor.offset :][: int(np.prod(tensor.shape))].reshape(
            tensor.shape
        )
        for name, tensor in tensors.items()
    }


def _numbers(file: io.BytesIO, items: int) -> Array:
    said = int.from_bytes(file.read(8), "little")
    data = file.read(items * ITEM_BYTES)
    if said != items or len(data) != items * ITEM_BYTES:
        raise Untrusted("the checkpoint ends too early, or says two sizes for one tensor")
    return np.frombuffer(data, "<f4")
