"""A request's body as it arrives: within its limit, and all large ones together within another."""

from __future__ import annotations

from collections.abc import Callable

from shoal.errors import Busy, TooLarge
from shoal.runtime.errand import Later
from shoal.units import MIB

INTAKE_BYTES_MAX = 256 * MIB


class Left(Exception):
    """The client has gone before it was answered."""


class Intake:
    """The large bodies that are being read just now: all together they stay within a limit."""

    def __init__(self, bytes_max: int = INTAKE_BYTES_MAX) -> None:
        self._left_bytes = bytes_max

    def take(self, size_bytes: int) -> None:
        """Make room. Raises `Busy` if there is none."""
        if size_bytes > self._left_bytes:
            raise Busy("too much is being sent here at once; try again later")
        self._left_bytes -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        """So much has been read, or given up."""
        self._left_bytes += size_bytes


class Body:
    """One body. Its connection says what arrives; its handler reads it, once."""

    __slots__ = (
        "_arriving",
        "_error",
        "_intake",
        "_limit_bytes",
        "_on_wanted",
        "_pieces",
        "_taken_bytes",
        "declared_bytes",
        "size_bytes",
        "whole",
    )

    def __init__(
        self, intake: Intake, declared_bytes: int = 0, on_wanted: Callable[[], None] | None = None
    ) -> None:
        """`declared_bytes` is the length that its head names, if it names one; `on_wanted` asks for the rest."""
        self.declared_bytes = declared_bytes
        #: What has arrived so far.
        self.size_bytes = 0
        #: True once all of it has arrived.
        self.whole = False
        self._intake = intake
        self._on_wanted = on_wanted
        self._pieces: list[bytes] = []
        self._taken_bytes = 0
        self._limit_bytes = 0
        self._arriving: Later[None] | None = None
        self._error: Exception | None = None

    # Its connection says

    @property
    def wanted(self) -> bool:
        """True while somebody waits for the rest."""
        return self._arriving is not None and not self._arriving.done()

    def arrive(self, piece: bytes) -> None:
        """A piece has come."""
        self._pieces.append(piece)
        self.size_bytes += len(piece)
        if self._arriving is not None:
            try:
                self._take(len(piece))
            except (Busy, TooLarge) as error:
                self._arriving.fail(error)

    def end(self) -> None:
        """That was all of it."""
        self.whole = True
        if self._arriving is not None:
            self._arriving.set(None)

    def break_off(self, error: Exception) -> None:
        """No more will come."""
        self._error = error
        if self._arriving is not None:
            self._arriving.fail(error)

    # Its handler reads

    async def read(self, limit_bytes: int) -> bytes:
        """All of it. Raises `TooLarge` as soon as it is known to be, or why it was broken off."""
        self._limit_bytes = limit_bytes
        self._check(max(self.declared_bytes, self.size_bytes))
        if not self.whole:
            await self._gather()
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _gather(self) -> None:
        if self._error is not None:
            raise self._error
        try:
            self._take(self.size_bytes)
            if self._on_wanted is not None:
                self._on_wanted()
            self._arriving = Later()
            await self._arriving
        finally:
            self._intake.give_back(self._taken_bytes)

    def _take(self, size_bytes: int) -> None:
        self._check(self.size_bytes)
        self._intake.take(size_bytes)
        self._taken_bytes += size_bytes

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._limit_bytes:
            raise TooLarge(f"the body is larger than the {self._limit_bytes} bytes that are accepted here")
