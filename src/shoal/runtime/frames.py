"""A link's bytes: messages cut into frames on one side, made whole on the other.

A frame is `length u32 · kind u8 · number u32 · body`, big-endian. Small messages
go first and large ones take turns, so that a heartbeat never waits behind an
answer of 100 MiB: a message may overtake a larger one. Nothing here does I/O.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from enum import IntEnum

from shoal.errors import Untrusted
from shoal.units import KIB, MIB

#: A larger message is cut into frames of this size.
CUT_BYTES = 256 * KIB
#: What is taken from a peer at most, in one frame.
FRAME_BYTES_MAX = 1 * MIB
#: What is taken from a peer at most, in one message and in all its unfinished messages together.
MESSAGE_BYTES_MAX = 256 * MIB
#: So many messages of one link may be unfinished at once.
OPEN_MESSAGES_MAX = 16

HEADER = struct.Struct(">IBI")
HEADER_BYTES = HEADER.size


class Kind(IntEnum):
    """What a frame's body is."""

    WHOLE = 0
    PART = 1
    LAST = 2
    PING = 3
    FAREWELL = 4


#: Plain numbers, because looking up a member of an enum costs as much as the rest of a small frame.
_WHOLE, _PART, _LAST, _PING, _FAREWELL = (int(kind) for kind in Kind)

PING = HEADER.pack(0, _PING, 0)


def frame(kind: int, number: int, body: bytes | memoryview) -> bytes:
    """One frame in bytes."""
    return b"".join((HEADER.pack(len(body), kind, number), body))


class FrameReader:
    """Bytes in, messages out, within limits. After it has raised it is of no further use."""

    def __init__(self, frame_bytes_max: int, message_bytes_max: int, open_messages_max: int) -> None:
        self.limit(frame_bytes_max, message_bytes_max, open_messages_max)
        self._rest = bytearray()
        self._open: dict[int, bytearray] = {}
        self._open_bytes = 0

    def limit(self, frame_bytes_max: int, message_bytes_max: int, open_messages_max: int) -> None:
        """Set the limits for every frame that has not been handed on yet."""
        self._frame_bytes_max = frame_bytes_max
        self._message_bytes_max = message_bytes_max
        self._open_messages_max = open_messages_max
        #: Almost every frame is a whole message within this: nothing else is to be said against it.
        self._whole_bytes_max = min(frame_bytes_max, message_bytes_max)

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """Every message (`WHOLE`) and `FAREWELL` that these bytes complete. Run it to its end.

        It works one frame at a time, so that a limit set after one message holds
        for the next. Raises `Untrusted` past a limit.
        """
        rest = self._rest
        if rest:
            rest += data
        view = memoryview(rest or data)
        size, start = len(view), 0
        while size - start >= HEADER_BYTES:
            length, kind, number = HEADER.unpack_from(view, start)
            if kind != _WHOLE or not 0 < length <= self._whole_bytes_max:
                self._check(length, kind)
            end = start + HEADER_BYTES + length
            if end > size:
                break
            body = view[start + HEADER_BYTES : end]
            start = end
            if kind in (_WHOLE, _FAREWELL):
                yield kind, body
            elif kind != _PING:
                self._append(number, body)
                if kind == _LAST:
                    yield _WHOLE, self._finish(number)
        # What is left over is copied only if a frame stood before it: no byte is copied again and again.
        if start or not rest:
            self._rest = bytearray(view[start:])

    def _check(self, length: int, kind: int) -> None:
        """Judge a frame by its header, before its body is waited for."""
        if kind == _PING:
            if length:
                raise Untrusted("a ping carries something")
        elif kind > _FAREWELL:
            raise Untrusted(f"there is no frame of kind {kind}")
        elif length > self._frame_bytes_max:
            raise Untrusted(f"a frame of {length} bytes is over the limit of {self._frame_bytes_max}")
        elif not length:
            raise Untrusted("a frame carries nothing")
        elif length > self._message_bytes_max:
            raise Untrusted(f"a message is over the limit of {self._message_bytes_max} bytes")

    def _append(self, number: int, body: memoryview) -> None:
        if self._open_bytes + len(body) > self._message_bytes_max:
            raise Untrusted(f"unfinished messages are over the limit of {self._message_bytes_max} bytes")
        if number not in self._open and len(self._open) >= self._open_messages_max:
            raise Untrusted(f"more than {self._open_messages_max} messages are unfinished")
        self._open.setdefault(number, bytearray()).extend(body)
        self._open_bytes += len(body)

    def _finish(self, number: int) -> memoryview:
        message = self._open.pop(number)
        self._open_bytes -= len(message)
        return memoryview(message)


class _Cut:
    """A large message on its way: how far it has been sent."""

    __slots__ = ("number", "rest", "size")

    def __init__(self, number: int, message: bytes) -> None:
        self.number = number
        self.size = len(message)
        self.rest = memoryview(message)


class FrameWriter:
    """Messages in, bytes out: all small ones at once, then one frame of a large one."""

    def __init__(
        self,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        open_messages_max: int = OPEN_MESSAGES_MAX,
        cut_bytes: int = CUT_BYTES,
    ) -> None:
        self._cut_bytes = cut_bytes
        self._message_bytes_max = message_bytes_max
        self._open_messages_max = open_messages_max
        self._small: list[bytes | memoryview] = []
        self._small_bytes = 0
        self._waiting: deque[bytes] = deque()
        self._open: deque[_Cut] = deque()
        self._open_bytes = 0
        self._large_bytes = 0
        self._number = 0

    def __bool__(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._small or self._open or self._waiting)

    @property
    def pending_bytes(self) -> int:
        """Bytes of messages that were added and not yet taken."""
        return self._small_bytes + self._large_bytes

    def add(self, message: bytes) -> None:
        """Queue a message; a large one only once, for it may be said again while it is under way.

        Raises `ValueError` for one that no other side would take.
        """
        size = len(message)
        if not 0 < size <= self._message_bytes_max:
            raise ValueError(f"a message has 1 to {self._message_bytes_max} bytes, this one {size}")
        if size <= self._cut_bytes:
            self._small_bytes += size
            self._small += (HEADER.pack(size, _WHOLE, 0), message)
        elif message not in self._waiting and all(message != cut.rest.obj for cut in self._open):
            self._large_bytes += size
            self._waiting.append(message)

    def add_ping(self) -> None:
        """Queue a sign of life."""
        self._small.append(PING)

    def add_farewell(self, message: bytes) -> None:
        """Queue the last frame of a link in place of the large messages that are still under way."""
        self._open.clear()
        self._waiting.clear()
        self._open_bytes = self._large_bytes = 0
        self._small.append(frame(_FAREWELL, 0, message))

    def take(self) -> bytes:
        """The next bytes to write; none if there is nothing."""
        pieces, self._small, self._small_bytes = self._small, [], 0
        if self._waiting:
            self._open_more()
        if self._open:
            pieces += self._next_part()
        return b"".join(pieces)

    def _open_more(self) -> None:
        """Begin as many large messages as the other side is willing to hold unfinished."""
        while self._waiting and len(self._open) < self._open_messages_max:
            if self._open_bytes + len(self._waiting[0]) > self._message_bytes_max:
                return
            self._number = (self._number + 1) & 0xFFFFFFFF
            cut = _Cut(self._number, self._waiting.popleft())
            self._open_bytes += cut.size
            self._open.append(cut)

    def _next_part(self) -> tuple[bytes, memoryview]:
        cut = self._open.popleft()
        part, cut.rest = cut.rest[: self._cut_bytes], cut.rest[self._cut_bytes :]
        self._large_bytes -= len(part)
        if cut.rest:
            self._open.append(cut)
            return HEADER.pack(len(part), _PART, cut.number), part
        self._open_bytes -= cut.size
        return HEADER.pack(len(part), _LAST, cut.number), part
