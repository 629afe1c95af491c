"""Why a contract said no: the reason that a revert carries, read from its bytes."""

from __future__ import annotations

#: `Error(string)` and `Panic(uint256)`.
_ERROR = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")

_PANICS = {
    0x01: "an assertion failed",
    0x11: "an amount is out of bounds",
    0x12: "a division by zero",
    0x32: "an index is out of bounds",
}

REASON_BYTES_MAX = 1_024


def reason_of(data: bytes) -> str:
    """The reason in a revert's data, "" if there is none in it."""
    if data[:4] == _ERROR and len(data) >= 68:
        start = 4 + int.from_bytes(data[4:36])
        length = int.from_bytes(data[start : start + 32])
        text = data[start + 32 : start + 32 + min(length, REASON_BYTES_MAX)]
        return text.decode("utf-8", "replace")
    if data[:4] == _PANIC and len(data) >= 36:
        number = int.from_bytes(data[4:36])
        return _PANICS.get(number, f"panic {number:#x}")
    return f"reverted with 0x{data[:36].hex()}" if data else ""
