"""What is read of a checkpoint, and that nothing in one can be called."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from shoal.errors import Untrusted
from shoal.worker.pipelines.checkpoint import MAGIC, VERSION, read


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def whole(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def pair(*values: int) -> bytes:
    return b"(" + b"".join(map(whole, values)) + b"t"


def tensor(
    *, items: int = 6, offset: int = 0, strides: tuple[int, int] = (3, 1), kind: str = "FloatStorage"
) -> bytes:
    """The opcodes for two rows of three numbers in a storage called s, as PyTorch writes them."""
    storage = (
        b"("
        + text("storage")
        + b"ctorch\n"
        + kind.encode()
        + b"\n"
        + text("s")
        + text("cuda:0")
        + whole(items)
    )
    arguments = b"(" + storage + b"NtQ" + whole(offset) + pair(2, 3) + pair(*strides) + b"\x89"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"ccollections\nOrderedDict\n)RtR"


def checkpoint(tensors: bytes, *, magic: int = MAGIC, said: int = 6, numbers: int = 6) -> bytes:
    head = pickle.dumps(magic, 2) + pickle.dumps(VERSION, 2) + pickle.dumps({"little_endian": True}, 2)
    table = b"\x80\x02}" + text("weight") + tensors + b"s."
    data = np.arange(numbers, dtype="<f4").tobytes()
    return head + table + pickle.dumps(["s"], 2) + said.to_bytes(8, "little") + data


def test_numbers_are_read_under_their_names() -> None:
    arrays = read(checkpoint(tensor()))
    assert list(arrays) == ["weight"]
    np.testing.assert_array_equal(arrays["weight"], [[0, 1, 2], [3, 4, 5]])


def test_nothing_in_a_checkpoint_is_called(tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (trace,)

    with pytest.raises(Untrusted, match="which is not read"):
        read(pickle.dumps(Evil(), 2))
    with pytest.raises(Untrusted, match="names"):
        read(checkpoint(b"cos\nsystem\n" + b"(" + text(f"touch {trace}") + b"tR"))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04", "cannot be read"),
        (checkpoint(tensor(), magic=1), "no checkpoint"),
        (checkpoint(tensor(kind="LongStorage")), "names torch.LongStorage"),
        (checkpoint(tensor(strides=(1, 2))), "in one piece"),
        (checkpoint(tensor(offset=1)), "in one piece"),
        (checkpoint(tensor(offset=-1)), "in one piece"),
        (checkpoint(tensor(items=-1)), "refers to"),
        (checkpoint(tensor(), said=7), "two sizes"),
        (checkpoint(tensor(), numbers=5), "ends too early"),
        (checkpoint(whole(3)), "cannot be read"),
    ],
)
def test_what_is_not_as_it_says_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(Untrusted, match=said):
        read(data)
