"""The one place where time is read: steady while the process lives, however the wall clock jumps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from shoal.units import Instant

NS_PER_MS = 1_000_000


class SystemClock:
    """Wall time at the start, plus what the monotonic clock has counted since."""

    def __init__(self) -> None:
        self._ahead_ns = time.time_ns() - time.monotonic_ns()

    def now(self) -> Instant:
        """This node's instant."""
        return Instant((time.monotonic_ns() + self._ahead_ns) // NS_PER_MS)

    def call_at(self, instant: Instant, call: Callable[[], None]) -> None:
        """Call back on the running loop at an instant, or soon after."""
        delay_s = max(0, instant - self.now()) / 1_000
        asyncio.get_running_loop().call_later(delay_s, call)


def stopwatch_s() -> float:
    """Seconds from some fixed moment, exact to microseconds: for measuring, never for deciding when."""
    return time.perf_counter()
