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

    __slots__ = ("_awaited", "_cancelled", "_coroutine", "_then", "over")

    def __init__(self, coroutine: Coroutine[Any, None, T], then: Callable[[T | Exception], object]) -> None:
        """`then` is called with what came of it, be it an error; at once if nothing had to be awaited."""
        #: True once `then` is called.
        self.over = False
        self._coroutine = coroutine
        self._then = then
        self._awaited: Later[Any] | asyncio.Future[Any] | None = None
        self._cancelled = False
        self._go_on(None)

    def cancel(self) -> None:
        """Raise `CancelledError` where it waits, now or when asyncio gets to it; or where it waits next."""
        awaited = self._awaited
        if isinstance(awaited, asyncio.Future):
            self._cancelled = not awaited.cancel()
        else:
            self._cancelled = True
            if awaited is not None:
                self._go_on(awaited)

    def _go_on(self, came: object) -> None:
        if came is not self._awaited:
            return  # it does not wait for this any more
        self._awaited = None
        try:
            awaited = self._next()
        except StopIteration as end:
            self._end(end.value)
        except asyncio.CancelledError:
            self._end(Abandoned())
        except Exception as error:  # noqa: BLE001
            self._end(error)
        else:
            if awaited is None:  # it only gives way, as `asyncio.sleep(0)` does
                awaited = Later()
                asyncio.get_running_loop().call_soon(awaited.set, None)
            self._awaited = awaited
            awaited.add_done_callback(self._go_on)
            if self._cancelled:
                self.cancel()

    def _next(self) -> Any:
        if not self._cancelled:
            return self._coroutine.send(None)
        self._cancelled = False
        return self._coroutine.throw(asyncio.CancelledError)

    def _end(self, outcome: T | Exception) -> None:
        self.over = True
        self._then(outcome)


class Abandoned(Exception):
    """What an errand waited for was cancelled, or the errand itself."""


async def in_task(coroutine: Coroutine[Any, None, T]) -> T:
    """What an errand brings, for a task: one that awaits no `Later` itself."""
    came: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def hand_over(outcome: T | Exception) -> None:
        if came.done():
            return
        if isinstance(outcome, Exception):
            came.set_exception(outcome)
        else:
            came.set_result(outcome)

    errand = Errand(coroutine, hand_over)
    try:
        return await came
    finally:
        if not errand.over:
            errand.cancel()
