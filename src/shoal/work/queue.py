"""The queue: bounded, fair between clients, and only ever emptied by a free slot.

Jobs for the same (pipeline, model) wait in one line per client; the lines are
served in turn, so that a client with a thousand jobs delays one with a single
job by one job, not by a thousand.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from shoal.errors import Busy
from shoal.ids import ClientId, JobId

#: What a job needs: (pipeline, model).
Need = tuple[str, str]


class FairQueue:
    """Jobs that wait, by need and client. Limits: in all, and for one client."""

    def __init__(self, *, jobs_max: int, jobs_per_client_max: int) -> None:
        self._jobs_max = jobs_max
        self._jobs_per_client_max = jobs_per_client_max
        self._lines: dict[Need, OrderedDict[ClientId, deque[JobId]]] = {}
        self._where: dict[JobId, tuple[Need, ClientId]] = {}
        self._per_client: dict[ClientId, int] = {}

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

    def push(self, job: JobId, need: Need, client: ClientId, *, first: bool = False) -> None:
        """Let a job wait. One that comes back from a failed attempt goes `first` in its client's line."""
        clients = self._lines.setdefault(need, OrderedDict())
        line = clients.setdefault(client, deque())
        if first:
            line.appendleft(job)
        else:
            line.append(job)
        self._where[job] = (need, client)
        self._per_client[client] = self._per_client.get(client, 0) + 1

    def needs(self) -> tuple[Need, ...]:
        """What the waiting jobs need."""
        return tuple(self._lines)

    def waits_for(self, need: Need) -> bool:
        """True if a job waits for this."""
        return need in self._lines

    def waiting(self, need: Need) -> Iterator[JobId]:
        """The jobs that wait for this, in the order in which free slots would take them."""
        lines = [iter(line) for line in self._lines.get(need, {}).values()]
        while lines:
            still = []
            for line in lines:
                job = next(line, None)
                if job is not None:
                    yield job
                    still.append(line)
            lines = still

    def position(self, job: JobId) -> int:
        """How many jobs would be taken before this one."""
        need, client = self._where[job]
        lines = self._lines[need]
        index = lines[client].index(job)
        ahead = True
        before = index
        for other, line in lines.items():
            if other == client:
                ahead = False
            else:
                before += min(len(line), index + 1 if ahead else index)
        return before

    def remove(self, job: JobId) -> None:
        """Take a job out: its client's line moves behind the others'."""
        need, client = self._where.pop(job)
        lines = self._lines[need]
        lines[client].remove(job)
        if lines[client]:
            lines.move_to_end(client)
        else:
            del lines[client]
            if not lines:
                del self._lines[need]
        self._per_client[client] -= 1
        if not self._per_client[client]:
            del self._per_client[client]
