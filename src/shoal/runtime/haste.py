"""When a commit is made: here or by the thread, now or a turn of the loop later. Learned from how it went of late."""

from __future__ import annotations

from shoal.units import SECOND_MS

#: The weight of the newest commit in the mean time of a commit.
MEAN_WEIGHT = 0.05
#: One commit counts for at most so many quick ones: a stall that does not come again says nothing about the disk.
STALL_QUICKS = 4
#: The weight of the newest in the share of those commits that did not wait in vain for company ...
COMPANY_WEIGHT = 0.1
#: ... how small that share may be ...
COMPANY_SHARE_MIN = 1 / 16
#: ... and how often waiting is tried when it is smaller.
COMPANY_TRIED_EVERY = 16


class Haste:
    """Whether the disk is so quick that handing a commit to another thread would cost more than the commit.

    Waking a thread and waiting for it takes some 0.3 ms of processor here; a
    sync on a good disk takes 0.2 ms of mere waiting. A disk that has once been
    slow is left to the thread for a while.
    """

    def __init__(self, quick_ms: float, slow_commits: int) -> None:
        self.quick_s = quick_ms / SECOND_MS
        self._pause = slow_commits
        self._slow_left = 0
        self._mean_s = 0.0

    def __bool__(self) -> bool:
        if self._slow_left:
            self._slow_left -= 1
            return False
        return self.quick_s > 0

    def learn(self, took_s: float) -> None:
        """A commit took so long."""
        took_s = min(took_s, STALL_QUICKS * self.quick_s)
        self._mean_s += MEAN_WEIGHT * (took_s - self._mean_s)
        if self._mean_s > self.quick_s:
            self._slow_left, self._mean_s = self._pause, 0.0


class Company:
    """Whether a commit that waits for one more turn of the loop gets company.

    With many jobs at once it often does (a gateway's four times of ten with 16
    clients, seven with 64), and two commits become one; with one job at a time
    the turn is lost. So it goes by how that went of late, and tries again now and then.
    """

    def __init__(self) -> None:
        self._share = 0.0
        self._asked = 0

    def __bool__(self) -> bool:
        self._asked += 1
        return self._share >= COMPANY_SHARE_MIN or self._asked % COMPANY_TRIED_EVERY == 0

    def learn(self, *, came: bool) -> None:
        """Another fact came, or none."""
        self._share += COMPANY_WEIGHT * (came - self._share)
