"""What is read of a checkpoint, and that nothing in one can be called."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from shoal.errors import Untrusted
from shoal.worker.pipelines.checkpoint import Tensors, read_tensors


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def whole(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def pair(*values: int) -> bytes:
    return b"(" + b"".join(map(whole, values)) + b"t"


def tensor(*, offset: int = 0, strides: tuple[int, int] = (3, 1)) -> bytes:
    """The opcodes for two rows of three numbers in a storage called s, as PyTorch writes them."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("s") + text("cuda:0") + whole(6)
    arguments = b"(" + storage + b"NtQ" + whole(offset) + pair(2, 3) + pair(*strides) + b"\x89"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"ccollections\nOrderedDict\n)RtR"


def checkpoint(tensors: bytes, *, numbers: int = 6) -> bytes:
    head = pickle.dumps(7, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    table = b"\x80\x02}" + text("weight") + tensors + b"s."
    data = np.arange(numbers, dtype="<f4").tobytes()
    return head + table + b"\x80\x02](" + text("s") + b"e." + (6).to_bytes(8, "little") + data


def read(data: bytes, folder: Path) -> Tensors:
    path = folder / "weights.pkl"
    path.write_bytes(data)
    return read_tensors(path)


def test_numbers_are_read_under_their_names(tmp_path: Path) -> None:
    arrays = read(checkpoint(tensor()), tmp_path)
    assert list(arrays) == ["weight"]
    np.testing.assert_array_equal(arrays["weight"], [[0, 1, 2], [3, 4, 5]])


def test_numbers_may_lie_in_another_order(tmp_path: Path) -> None:
    arrays = read(checkpoint(tensor(strides=(1, 2))), tmp_path)
    np.testing.assert_array_equal(arrays["weight"], [[0, 2, 4], [1, 3, 5]])


def test_nothing_in_a_checkpoint_is_called(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    call = b"cos\nsystem\n" + b"\x85".join((text(f"touch {trace}"), b"R"))
    with pytest.raises(Untrusted, match="os system"):
        read(checkpoint(call), tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "data",
    [
        checkpoint(tensor(offset=1)),
        checkpoint(tensor(offset=-1)),
        checkpoint(tensor(strides=(4, 1))),
        checkpoint(tensor(), numbers=5),
    ],
)
def test_what_is_not_where_it_says_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(Untrusted):
        read(data, tmp_path)
