"""Checkpoints are read as data: tensors come out, and what would run is refused."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

import numpy as np
import pytest

from shoal.errors import Untrusted
from shoal.worker.pipelines.checkpoint import read_tensors


class Tensor:
    """Pickles as PyTorch's tensors did before its files were archives."""

    def __init__(
        self, key: str, count: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
    ):
        self.where = (("storage", FloatStorage, key, "cpu", count, None), offset, shape, strides)

    def __reduce__(self) -> Any:
        storage, *where = self.where
        return _rebuild_tensor_v2, (Storage(storage), *where, False, OrderedDict())


class Storage:
    def __init__(self, name: tuple[Any, ...]) -> None:
        self.name = name


class FloatStorage:
    """A name."""


def _rebuild_tensor_v2(*_: object) -> None:
    """A name."""


FloatStorage.__module__, _rebuild_tensor_v2.__module__ = "torch", "torch._utils"


class Pickler(pickle._Pickler):
    """Writes storages by name, and classes by name without looking for them."""

    def persistent_id(self, value: object) -> object:
        return value.name if isinstance(value, Storage) else None

    def save_global(self, value: Any, name: str | None = None) -> None:
        self.write(pickle.GLOBAL + f"{value.__module__}\n{value.__name__}\n".encode())
        self.memoize(value)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, type: save_global, FunctionType: save_global}


def written(table: object, storages: dict[str, np.ndarray[Any, Any]], path: Path) -> Path:
    file = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, table, list(storages)):
        Pickler(file, 2).dump(value)
    for numbers in storages.values():
        file.write(struct.pack("<q", len(numbers)) + numbers.astype("<f4").tobytes())
    path.write_bytes(file.getvalue())
    return path


def test_tensors_come_out_as_they_lie_in_their_storage(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype=np.float32)
    table = OrderedDict(
        plain=Tensor("7", 6, (2, 3), (3, 1)),
        turned=Tensor("7", 6, (3, 2), (1, 3)),
        part=Tensor("7", 6, (2,), (1,), 4),
    )
    tensors = read_tensors(written(table, {"7": numbers}, tmp_path / "x.pth"))
    assert np.array_equal(tensors["plain"], numbers.reshape(2, 3))
    assert np.array_equal(tensors["turned"], numbers.reshape(2, 3).T)
    assert np.array_equal(tensors["part"], [4, 5])


def test_a_call_of_anything_else_is_refused_and_not_made(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "made",)

    with pytest.raises(Untrusted, match=r"may hold only tensors|no table of tensors needs"):
        read_tensors(written(OrderedDict(x=Evil()), {}, tmp_path / "x.pth"))
    assert not (tmp_path / "made").exists()


def test_a_tensor_outside_its_storage_is_refused(tmp_path: Path) -> None:
    table = OrderedDict(x=Tensor("7", 6, (4, 3), (3, 1)))
    with pytest.raises(Untrusted, match="outside its storage"):
        read_tensors(written(table, {"7": np.zeros(6, np.float32)}, tmp_path / "x.pth"))


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = written(
        OrderedDict(x=Tensor("7", 6, (6,), (1,))), {"7": np.zeros(6, np.float32)}, tmp_path / "x.pth"
    )
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(Untrusted, match="ends too early"):
        read_tensors(path)
