"""Who used the processors between two looks at the whole machine.

Strangers are told from the kernel's threads, which work for whoever writes to a
disk or sends to a socket, most of all for the system that is being measured.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.processes import Usage, everybody, machine_busy_ns, usage, used_ns


@dataclass(frozen=True, slots=True)
class Used:
    """Processor time between two looks."""

    wall_ns: int
    crew_ns: int
    foreign_ns: int


@dataclass(frozen=True, slots=True)
class Look:
    """Processor time so far, of everybody."""

    at_ns: int
    busy_ns: int
    users: Usage
    kernel: Usage

    @classmethod
    def now(cls) -> Look:
        users, kernel = everybody()
        return cls(time.monotonic_ns(), machine_busy_ns(), usage(users), usage(kernel))

    def since(self, before: Look, *, crew: Sequence[int], ours: Sequence[int]) -> Used:
        """Split what was used since `before` between the crew, the measuring itself, and strangers."""
        crew_ns = self.used_by(before, crew)
        known_ns = crew_ns + self.used_by(before, ours)
        strangers_ns = used_ns(before.users, self.users) - known_ns
        # A stranger that was born and died in between shows only in the machine's own count.
        unexplained_ns = self.busy_ns - before.busy_ns - known_ns - used_ns(before.kernel, self.kernel)
        return Used(self.at_ns - before.at_ns, crew_ns, max(strangers_ns, unexplained_ns))

    def used_by(self, before: Look, pids: Sequence[int]) -> int:
        members = set(pids)
        return used_ns(
            before.users, {thread: ns for thread, ns in self.users.items() if thread[0] in members}
        )
