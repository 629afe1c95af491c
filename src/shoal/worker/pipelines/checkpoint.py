"""Tensors out of a PyTorch checkpoint, without PyTorch.

Such a file is a pickle, which is a program. It is read here as data: only the few instructions that make up a
table of tensors are understood, nothing in it is ever called, and anything else is refused.
"""

from __future__ import annotations

import pickletools
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from shoal.errors import Untrusted

Tensors = dict[str, npt.NDArray[Any]]

#: The first three values of the file: its magic number, its version, and who wrote it.
PREAMBLE = 3
MARK = object()
KINDS: dict[str, np.dtype[Any]] = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch LongStorage": np.dtype("<i8"),
}
TABLE, TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
#: The name of a class or function is a word like any other.
LITERALS = {"BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "GLOBAL"}
CONSTANTS = {"MARK": MARK, "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_tensors(path: Path) -> Tensors:
    """Every tensor of a checkpoint by its name."""
    with path.open("rb") as file:
        for _ in range(PREAMBLE):
            read_value(file)
        table, keys = read_value(file), read_value(file)
        storages = {storage[2]: KINDS[storage[1]] for storage, *_ in table.values()}
        data = {key: read_numbers(file, storages[key]) for key in keys}
    return {name: view(data[storage[2]], *where) for name, (storage, *where) in table.items()}


def read_numbers(file: IO[bytes], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """One storage: how many numbers, then the numbers."""
    [count] = struct.unpack("<q", file.read(8))
    numbers = np.frombuffer(file.read(count * kind.itemsize), kind)
    if len(numbers) != count:
        raise Untrusted("the checkpoint ends too early")
    return numbers


def view(
    data: npt.NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> npt.NDArray[Any]:
    """A tensor as it lies in its storage."""
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if min((*strides, offset)) < 0 or last >= len(data):
        raise Untrusted("a tensor of the checkpoint lies outside its storage")
    steps = tuple(step * data.itemsize for step in strides)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(data[offset:], shape, steps))


def read_value(file: IO[bytes]) -> Any:
    """One pickled value, if it is made of nothing but tables, lists, words, numbers and tensors."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in LITERALS:
            stack.append(argument)
        elif opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[int(argument or 0)] = stack[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif opcode.name not in ("PROTO", "STOP"):
            build(opcode.name, stack)
    [value] = stack
    return value


def build(name: str, stack: list[Any]) -> None:
    """Carry out one instruction that makes something of what lies on the stack."""
    if name in CONSTANTS:
        stack.append(CONSTANTS[name])
    elif name in TUPLES:
        stack.append(tuple(take(stack, TUPLES[name])))
    elif name == "TUPLE":
        stack.append(tuple(since_mark(stack)))
    elif name in ("EMPTY_DICT", "EMPTY_LIST"):
        stack.append({} if name == "EMPTY_DICT" else [])
    elif name in ("SETITEM", "SETITEMS"):
        items = take(stack, 2) if name == "SETITEM" else since_mark(stack)
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name in ("APPEND", "APPENDS"):
        items = take(stack, 1) if name == "APPEND" else since_mark(stack)
        stack[-1].extend(items)
    elif name == "REDUCE":
        stack.append(reduced(*take(stack, 2)))
    elif name == "BUILD":
        stack.pop()  # what a table says about itself; not needed
    elif name != "BINPERSID":  # a storage is named by the tuple that lies there already
        raise Untrusted(f"the checkpoint holds the instruction {name}, which no table of tensors needs")


def reduced(what: str, arguments: tuple[Any, ...]) -> Any:
    """What a call in the file stands for: a table, or a tensor by its place; no call is ever made."""
    if what == TABLE:
        return {}
    if what == TENSOR:
        return arguments
    raise Untrusted(f"the checkpoint asks for {what}; it may hold only tensors")


def take(stack: list[Any], count: int) -> list[Any]:
    taken = stack[-count:]
    del stack[-count:]
    return taken


def since_mark(stack: list[Any]) -> list[Any]:
    begin = max(index for index, value in enumerate(stack) if value is MARK)
    taken = stack[begin + 1 :]
    del stack[begin:]
    return taken
