"""A connection without a network: what a caller is sent, and what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httptools

from shoal.runtime.caller import Caller
from shoal.runtime.door import Door, Handler
from shoal.runtime.hall import Hall, Limits


class Line(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self, routes: Mapping[str, Handler], limits: Limits | None = None) -> None:
        super().__init__()
        self.said = b""
        self.reads = True
        self.ended = asyncio.Event()
        self.hall = Hall(Door(routes).serve, limits or Limits())
        self.caller = Caller(self.hall)
        self.caller.connection_made(self)
        self._unsent_bytes = 0

    async def send(self, *pieces: bytes) -> bytes:
        """What comes of these bytes in a few turns of the loop."""
        for piece in pieces:
            if not self.is_closing():
                self.caller.data_received(piece)
        for _ in range(20 + sum(map(len, pieces)) // 10):
            await asyncio.sleep(0)
        return self.said

    def hang_up(self) -> None:
        """The client leaves."""
        self.abort()

    # What a caller uses of a transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closing()
        self.said += data

    def is_closing(self) -> bool:
        return self.ended.is_set()

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self.is_closing():
            self.ended.set()
            asyncio.get_running_loop().call_soon(self.caller.connection_lost, None)

    def pause_reading(self) -> None:
        assert self.reads
        self.reads = False

    def resume_reading(self) -> None:
        assert not self.reads
        self.reads = True

    def get_write_buffer_size(self) -> int:
        return self._unsent_bytes


class Said:
    """One answer, as a client's parser reads it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.whole = False


def answers(data: bytes) -> list[Said]:
    """All answers in these bytes. Raises if they are none."""
    reader = _Reader()
    reader.parser.feed_data(data)
    return reader.answers


class _Reader:
    def __init__(self) -> None:
        self.answers: list[Said] = []
        self.parser: Any = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.answers.append(Said())

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answers[-1].headers[name.decode()] = value.decode()

    def on_body(self, piece: bytes) -> None:
        self.answers[-1].body += piece

    def on_message_complete(self) -> None:
        self.answers[-1].whole = True
        self.answers[-1].status = self.parser.get_status_code()
