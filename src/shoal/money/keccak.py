"""Keccak-256, the hash of Ethereum: what names a node, a ticket and a win.

`safe-pysha3` computes it where it is installed (Linux); elsewhere the rounds
below do, some hundred times slower and otherwise no different.
"""

from __future__ import annotations

from collections.abc import Callable

try:
    from sha3 import keccak_256 as _native
except ImportError:
    _native = None

_RATE_BYTES = 136
_MASK = 2**64 - 1


def _round_constants() -> tuple[int, ...]:
    """The 24 constants, by the shift register that defines them."""
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for power in range(7):
            if register & 1:
                constant |= 1 << (1 << power) - 1
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return tuple(constants)


def _lanes_of_the_walk() -> tuple[tuple[int, int], ...]:
    """Where each lane goes and by how many bits it turns: lane (x, y) is the one at x + 5y."""
    x, y, walk = 1, 0, []
    for step in range(1, 25):
        x, y = y, (2 * x + 3 * y) % 5
        walk.append((x + 5 * y, step * (step + 1) // 2 % 64))
    return tuple(walk)


_ROUNDS = _round_constants()
_WALK = _lanes_of_the_walk()


def _turned(lane: int, bits: int) -> int:
    return (lane << bits | lane >> 64 - bits) & _MASK if bits else lane


def _permute(lanes: list[int]) -> None:
    """Keccak-f[1600], in place."""
    for constant in _ROUNDS:
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        for place in range(25):
            x = place % 5
            lanes[place] ^= columns[x - 1] ^ _turned(columns[(x + 1) % 5], 1)
        carried = lanes[1]
        for place, bits in _WALK:
            lanes[place], carried = _turned(carried, bits), lanes[place]
        for row in range(0, 25, 5):
            five = lanes[row : row + 5]
            for x in range(5):
                lanes[row + x] = five[x] ^ (~five[(x + 1) % 5] & five[(x + 2) % 5] & _MASK)
        lanes[0] ^= constant


def keccak256_by_hand(data: bytes) -> bytes:
    """The 32 bytes that `data` hashes to, by nothing but Python."""
    lanes = [0] * 25
    padded = bytearray(data) + b"\x01" + bytes(-(len(data) + 1) % _RATE_BYTES)
    padded[-1] |= 0x80
    for block in range(0, len(padded), _RATE_BYTES):
        for place in range(_RATE_BYTES // 8):
            start = block + 8 * place
            lanes[place] ^= int.from_bytes(padded[start : start + 8], "little")
        _permute(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _keccak256_native(data: bytes) -> bytes:
    digest: bytes = _native(data).digest()
    return digest


#: The 32 bytes that data hashes to.
keccak256: Callable[[bytes], bytes] = _keccak256_native if _native else keccak256_by_hand
