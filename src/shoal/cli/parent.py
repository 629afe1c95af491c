"""Word of another process's end, for those that must not outlive it."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

LOOK_S = 1.0


def on_end_of(pid: int, act: Callable[[], None]) -> None:
    """Call `act`, in a thread of its own, once the process has ended."""
    threading.Thread(target=_wait, args=(pid, act), name=f"end of {pid}", daemon=True).start()


def _wait(pid: int, act: Callable[[], None]) -> None:
    if hasattr(os, "pidfd_open"):
        try:
            select.select([os.pidfd_open(pid)], [], [])
        except ProcessLookupError:
            pass
    else:
        never = threading.Event()
        while os.getppid() == pid:
            never.wait(LOOK_S)
    act()
