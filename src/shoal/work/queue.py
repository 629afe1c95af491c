"""The queue: bounded, fair between clients by weight, and only ever emptied by a free slot.

Fair queueing by start tags (Goyal, Vin and Cheng 1996): a job's tag is the
work that its client had ahead of it when it came, divided by the client's
weight; the least tag goes first. A client with a thousand jobs delays one with
a single job by one job, and nobody who waits is overtaken for ever.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from shoal.errors import Busy
from shoal.ids import ClientId, JobId

#: What a job needs: (pipeline, model).
Need = tuple[str, str]
#: The classes that a job may wait in, and what one weighs beside another. None is ever starved.
PRIORITIES = {"high": 16, "normal": 4, "low": 1}
#: Tags are whole numbers, so that they add up the same everywhere: work units times this, by weight.
TAG_SCALE = 720_720

#: Where a job stands in its line: its tag, then its number.
Place = tuple[int, int, JobId]


class Line:
    """The jobs that wait for one (pipeline, model), in order."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        #: The tag of whoever was served last: a client that comes now starts there.
        self.clock = 0
        #: Where each client's next job starts.
        self.starts: dict[tuple[ClientId, str], int] = {}


class FairQueue:
    """Jobs that wait, by need and client. Limits: in all, and for one client."""

    def __init__(self, *, jobs_max: int, jobs_per_client_max: int) -> None:
        self._jobs_max = jobs_max
        self._jobs_per_client_max = jobs_per_client_max
        self._lines: dict[Need, Line] = {}
        self._where: dict[JobId, tuple[Need, ClientId, Place]] = {}
        self._per_client: dict[ClientId, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, job: JobId) -> bool:
        return job in self._where

    def __iter__(self) -> Iterator[JobId]:
        return iter(self._where)

    def admit(self, client: ClientId) -> None:
        """Raise `Busy` if there is no room for one more job of this client."""
        if len(self._where) >= self._jobs_max:
            raise Busy(f"the queue is full: {self._jobs_max} jobs wait; try again later")
        if self._per_client.get(client, 0) >= self._jobs_per_client_max:
            raise Busy(f"{self._jobs_per_client_max} of your jobs wait already; try again when one is done")

    def push(
        self,
        job: JobId,
        need: Need,
        client: ClientId,
        *,
        cost: int = 1,
        weight: int = 1,
        priority: str = "normal",
    ) -> None:
        """Let a job wait that costs so much work."""
        line = self._lines.setdefault(need, Line())
        flow = (client, priority)
        tag = max(line.clock, line.starts.get(flow, 0))
        line.starts[flow] = tag + cost * TAG_SCALE // (weight * PRIORITIES[priority])
        self._count += 1
        place = (tag, self._count, job)
        insort(line.places, place)
        self._where[job] = (need, client, place)
        self._per_client[client] = self._per_client.get(client, 0) + 1

    def needs(self) -> tuple[Need, ...]:
        """What the waiting jobs need."""
        return tuple(self._lines)

    def waits_for(self, need: Need) -> bool:
        """True if a job waits for this."""
        return need in self._lines

    def waiting(self, need: Need) -> Iterator[JobId]:
        """The jobs that wait for this, in the order in which free slots would take them."""
        line = self._lines.get(need)
        for place in line.places if line is not None else ():
            yield place[2]

    def position(self, job: JobId) -> int:
        """How many jobs would be taken before this one."""
        need, _, place = self._where[job]
        return bisect_left(self._lines[need].places, place)

    def ahead(self, need: Need, client: ClientId, weight: int, priority: str) -> int:
        """How many jobs would be taken before one that this client pushed now."""
        line = self._lines.get(need)
        if line is None:
            return 0
        tag = max(line.clock, line.starts.get((client, priority), 0))
        return bisect_left(line.places, (tag, self._count + 1, JobId("")))

    def remove(self, job: JobId) -> None:
        """Take a job out."""
        need, client, place = self._where.pop(job)
        line = self._lines[need]
        del line.places[bisect_left(line.places, place)]
        line.clock = max(line.clock, place[0])
        if not line.places:
            del self._lines[need]
        self._per_client[client] -= 1
        if not self._per_client[client]:
            del self._per_client[client]
