"""Coroutines that go on in the very call that brings what they await: no task, no turn of the loop in between.

An errand may await a `Later`, or a future or a task of asyncio's. What asks
which task it runs in (`asyncio.timeout`, say) needs a real one: await a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Later(Generic[T]):
    """A value that comes once, for one who waits."""

    __slots__ = ("_call", "_done", "_error", "_value")

    _value: T

    def __init__(self) -> None:
        self._done = False
        self._error: Exception | None = None
        self._call: Callable[[Later[T]], object] | None = None

    def done(self) -> bool:
        """True once it has come."""
        return self._done

    def result(self) -> T:
        """The value, which must have come. Raises the error that came instead."""
        assert self._done, "it has not come yet"
        if self._error is not None:
            raise self._error
        return self._value

    def set(self, value: T) -> None:
        """Here it is; unless something has come before."""
        if not self._done:
            self._value = value
            self._end()

    def fail(self, error: Exception) -> None:
        """An error comes instead; unless something has come before."""
        if not self._done:
            self._error = error
            self._end()

    def add_done_callback(self, call: Callable[[Later[T]], object]) -> None:
        """Call when it comes. Only one waits."""
        assert self._call is None
        assert not self._done
        self._call = call

    def __await__(self) -> Generator[Later[T], None, T]:
        if not self._done:
            yield self
        return self.result()

    def _end(self) -> None:
        self._done = True
        call, self._call = self._call, None
        if call is not None:
            call(self)


class Errand(Generic[T]):
    """Runs a coroutine as far as it comes, now and whenever something that it awaits is there."""

    __slots__ = ("_coroutine", "_then")

    def __init__(self, coroutine: Coroutine[Any, None, T], then: Callable[[T | Exception], object]) -> None:
        """`then` is called with what came of it, be it an error; at once if nothing had to be awaited."""
        self._coroutine = coroutine
        self._then = then
        self._go_on()

    def _go_on(self, _: object = None) -> None:
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as end:
            self._then(end.value)
        except asyncio.CancelledError:
            self._then(Abandoned())
        except Exception as error:  # noqa: BLE001
            self._then(error)
        else:
            if awaited is None:  # it only gives way, as `asyncio.sleep(0)` does
                asyncio.get_running_loop().call_soon(self._go_on)
            else:
                awaited.add_done_callback(self._go_on)


class Abandoned(Exception):
    """What an errand waited for was cancelled."""
