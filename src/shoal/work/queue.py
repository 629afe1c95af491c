"""The queue: bounded, fair between clients by weight, and only ever emptied by a free slot.

Self-clocked fair queueing (Golestani 1994): a job's tag is the work that its
client has taken or asked for, divided by its weight; the least tag goes first.
Of two clients that both wait none gets ahead of the other by more than a job of
each, and who waits is not overtaken for ever, however many newcomers there are.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import islice
from operator import itemgetter

from shoal.errors import Busy
from shoal.ids import ClientId, JobId
from shoal.units import Instant

#: What a job needs: (pipeline, model).
Need = tuple[str, str]
#: The classes that a job may wait in, and what one weighs beside another. None is ever starved.
PRIORITIES = {"high": 16, "normal": 4, "low": 1}
#: Tags are whole numbers, so that they add up the same everywhere: work units times this, by weight.
TAG_SCALE = 720_720
#: What is out of date may be kept until it is more than what is not, and this.
SPARE = 16

#: Where a job stands in its line: its tag, then its number.
Place = tuple[int, int, JobId]
_NOWHERE: Place = (0, 0, JobId(""))


class Flow:
    """One client's jobs of one class in one line: a chain in which each is charged after the one before."""

    __slots__ = ("end", "key", "last", "since")

    def __init__(self, key: tuple[ClientId, str]) -> None:
        self.key = key
        #: The last that waits.
        self.last: Turn | None = None
        #: Where the next one's charge begins, unless the line's clock is past it.
        self.end = 0
        #: ... and how far that would fall if all that wait went away.
        self.since = 0


class Turn:
    """A job's place in its line, and what it takes from its client's share: `span`, from `start` on."""

    __slots__ = ("ahead", "behind", "flow", "line", "place", "returned", "since", "span", "start")

    def __init__(self, line: Line, flow: Flow, span: int) -> None:
        self.line = line
        self.flow = flow
        self.span = span
        self.place = _NOWHERE
        #: Where its charge begins, and where it would if none of its client's waited before it.
        self.start = self.since = 0
        #: It has been served before, and stands where it stood then.
        self.returned = False
        self.ahead: Turn | None = None
        self.behind: Turn | None = None

    @property
    def end(self) -> int:
        """Where its charge ends: its tag, unless it has come back."""
        return self.start + self.span


class Line:
    """The jobs that wait for one (pipeline, model), in order."""

    def __init__(self, need: Need) -> None:
        self.need = need
        self.places: list[Place] = []
        #: The tag of whoever was served last: a client that comes now is charged from there on.
        self.clock = 0
        self.flows: dict[tuple[ClientId, str], Flow] = {}
        #: Deadlines of those that wait; and of some that do not any more.
        self.deadlines: list[tuple[Instant, JobId]] = []
        #: How many are being served, and may come back.
        self.served = 0

    def charge(self, turn: Turn) -> None:
        """Put a job's work to its client's account, behind all that is there."""
        flow = turn.flow = self.flows.setdefault(turn.flow.key, turn.flow)
        turn.since = max(self.clock, flow.since)
        turn.start = max(self.clock, flow.end)
        flow.end = turn.end
        turn.ahead, flow.last = flow.last, turn
        if turn.ahead is not None:
            turn.ahead.behind = turn

    def spend(self, turn: Turn) -> None:
        """A job goes to a slot: what it takes is spent, and the clock follows."""
        following = turn.behind or turn.flow
        following.since = max(following.since, turn.since + turn.span)
        self._unlink(turn)
        self.clock = max(self.clock, turn.place[0])
        self._forget(turn.flow)

    def pass_by(self, turn: Turn) -> None:
        """A job goes to a slot and has not waited: as `charge` and then `spend`, after which nothing is behind it."""
        flow = turn.flow
        turn.since = max(self.clock, flow.since)
        turn.start = max(self.clock, flow.end)
        flow.since = turn.since + turn.span
        flow.end = self.clock = turn.end
        if flow.last is None:
            self.flows.pop(flow.key, None)

    def leave(self, turn: Turn) -> None:
        """A job goes unserved, as if it had never come: those behind it move up by what it would have taken."""
        behind, flow, given = turn.behind, turn.flow, turn.span
        self.step_out(turn)
        self._unlink(turn)
        while behind is not None and (given := min(given, behind.start - behind.since)):
            self._advance(behind, given)
            behind = behind.behind
        flow.end -= min(given, flow.end - flow.since)
        self._forget(flow)

    def _advance(self, turn: Turn, tags: int) -> None:
        turn.start -= tags
        if not turn.returned:
            del self.places[bisect_left(self.places, turn.place)]
            turn.place = (turn.end, *turn.place[1:])
            insort(self.places, turn.place)

    def step_out(self, turn: Turn) -> None:
        """A job waits no longer."""
        del self.places[bisect_left(self.places, turn.place)]

    def _unlink(self, turn: Turn) -> None:
        if turn.behind is not None:
            turn.behind.ahead = turn.ahead
        else:
            turn.flow.last = turn.ahead
        if turn.ahead is not None:
            turn.ahead.behind = turn.behind
        turn.ahead = turn.behind = None

    def _forget(self, flow: Flow) -> None:
        """Drop a client's account with its last job, unless it still owes for repeated work."""
        if flow.last is None and flow.end <= self.clock:
            del self.flows[flow.key]
        elif len(self.flows) > 2 * len(self.places) + SPARE:
            self.flows = {key: flow for key, flow in self.flows.items() if flow.last is not None}


class FairQueue:
    """Jobs that wait, by need and client. Limits: in all, and for one client.

    A job that is being served is remembered until it leaves, so that it can come back to its place.
    """

    def __init__(self, *, jobs_max: int, jobs_per_client_max: int) -> None:
        self._jobs_max = jobs_max
        self._jobs_per_client_max = jobs_per_client_max
        self._lines: dict[Need, Line] = {}
        self._waiting: dict[JobId, Turn] = {}
        self._served: dict[JobId, Turn] = {}
        self._per_client: dict[ClientId, int] = {}
        self._deadlines: list[tuple[Instant, JobId]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job: JobId) -> bool:
        return job in self._waiting

    def __iter__(self) -> Iterator[JobId]:
        return iter(self._waiting)

    def admit(self, client: ClientId, *, retry_after_ms: Callable[[int], int] | None = None) -> None:
        """Raise `Busy` if there is no room for one more job of this client.

        `retry_after_ms` tells when there is, given how many jobs have to leave the queue for that.
        """
        if len(self._waiting) >= self._jobs_max:
            said, leaving = f"the queue is full: {self._jobs_max} jobs wait; try again later", 1
        elif self._per_client.get(client, 0) >= self._jobs_per_client_max:
            said = f"{self._jobs_per_client_max} of your jobs wait already; try again when one has begun"
            leaving = self._first_of(client) + 1
        else:
            return
        raise Busy(said, retry_after_ms=retry_after_ms(leaving) if retry_after_ms is not None else 0)

    def _first_of(self, client: ClientId) -> int:
        """How many jobs are before the first of a client's, in the line where those are the fewest."""
        firsts = []
        for line in self._lines.values():
            for priority in PRIORITIES:
                flow = line.flows.get((client, priority))
                turn = flow.last if flow is not None else None
                while turn is not None and turn.ahead is not None:
                    turn = turn.ahead
                if turn is not None:
                    firsts.append(bisect_left(line.places, turn.place))
        return min(firsts, default=0)

    def push(
        self,
        job: JobId,
        need: Need,
        client: ClientId,
        *,
        cost: int = 1,
        weight: int = 1,
        priority: str = "normal",
        deadline: Instant | None = None,
    ) -> None:
        """Let a job wait that costs so much work; or again, where it stood before it was served."""
        turn = self._served.pop(job, None)
        if turn is None:
            turn = self._turn(need, (client, priority), _span(cost, weight, priority))
            turn.line.charge(turn)
            self._enter(job, turn, deadline)
        else:  # what its attempt took is spent, and what the next one takes comes on top
            turn.returned = True
            turn.line.served -= 1
            turn.line.charge(turn)
        insort(turn.line.places, turn.place)
        self._waiting[job] = turn
        if deadline is not None:
            heappush(turn.line.deadlines, (deadline, job))
        self._per_client[client] = self._per_client.get(client, 0) + 1

    def pass_by(
        self,
        job: JobId,
        need: Need,
        client: ClientId,
        *,
        cost: int = 1,
        weight: int = 1,
        priority: str = "normal",
        deadline: Instant | None = None,
    ) -> None:
        """A job comes and is served at once: as `push` and then `remove`, but it never waits."""
        turn = self._turn(need, (client, priority), _span(cost, weight, priority))
        turn.line.pass_by(turn)
        self._enter(job, turn, deadline)
        self._hand_out(job, turn)

    def needs(self) -> tuple[Need, ...]:
        """What the waiting jobs need."""
        return tuple(need for need, line in self._lines.items() if line.places)

    def count(self, need: Need) -> int:
        """How many jobs wait for this."""
        line = self._lines.get(need)
        return len(line.places) if line is not None else 0

    def waits_for(self, need: Need) -> bool:
        """True if a job waits for this."""
        line = self._lines.get(need)
        return line is not None and bool(line.places)

    def waiting(self, need: Need, first: int = 0) -> Iterator[JobId]:
        """The jobs that wait for this, in the order in which free slots would take them, from that place on."""
        line = self._lines.get(need)
        for place in islice(line.places, first, None) if line is not None else ():
            yield place[2]

    def urgent(self, need: Need, by: Instant) -> JobId | None:
        """The waiting job whose deadline comes first, if that is by then."""
        line = self._lines.get(need)
        while line is not None and line.deadlines and line.deadlines[0][0] <= by:
            job = line.deadlines[0][1]
            turn = self._waiting.get(job)
            if turn is not None and turn.line is line:
                return job
            heappop(line.deadlines)
        return None

    def position(self, job: JobId) -> int:
        """How many jobs would be taken before this one."""
        turn = self._waiting[job]
        return bisect_left(turn.line.places, turn.place)

    def ahead(
        self, need: Need, client: ClientId, *, cost: int, weight: int, priority: str, served: int = 0
    ) -> int:
        """How many jobs would be taken before one that this client pushed now, or once the first few are served."""
        line = self._lines.get(need)
        if line is None:
            return 0
        clock = max(line.clock, line.places[served - 1][0]) if served else line.clock
        flow = line.flows.get((client, priority))
        start = clock if flow is None else max(clock, flow.end)
        place = (start + _span(cost, weight, priority), self._count + 1, JobId(""))
        return bisect_left(line.places, place, lo=served) - served

    def remove(self, job: JobId) -> None:
        """A job is being served: it either comes back with `push` or leaves."""
        turn = self._step_out(job)
        turn.line.step_out(turn)
        self._hand_out(job, turn)
        turn.line.spend(turn)

    def leave(self, job: JobId) -> None:
        """A job will not be back, whether it was served or waits. Who has not been served has spent nothing."""
        turn = self._served.pop(job, None)
        if turn is not None:
            turn.line.served -= 1
        else:
            turn = self._step_out(job)
            turn.line.leave(turn)
        line = turn.line
        if not line.places and not line.served:
            del self._lines[line.need]
        elif len(line.deadlines) > 2 * len(line.places) + SPARE:
            line.deadlines = [due for due in line.deadlines if due[1] in self._waiting]
            heapify(line.deadlines)
        if len(self._deadlines) > 2 * (len(self._waiting) + len(self._served)) + SPARE:
            self._deadlines = [
                due for due in self._deadlines if due[1] in self._waiting or due[1] in self._served
            ]
            heapify(self._deadlines)

    def expired(self, now: Instant) -> list[JobId]:
        """The jobs, waiting or being served, whose deadline has come since it was asked last.

        The youngest is first: as they leave in this order, none moves up that is to leave as well.
        """
        due = []
        while self._deadlines and self._deadlines[0][0] <= now:
            job = heappop(self._deadlines)[1]
            turn = self._waiting.get(job) or self._served.get(job)
            if turn is not None:
                due.append(turn.place)
        return [job for _, _, job in sorted(due, key=itemgetter(1), reverse=True)]

    def _turn(self, need: Need, key: tuple[ClientId, str], span: int) -> Turn:
        line = self._lines.get(need)
        if line is None:
            line = self._lines[need] = Line(need)
        return Turn(line, line.flows.get(key) or Flow(key), span)

    def _enter(self, job: JobId, turn: Turn, deadline: Instant | None) -> None:
        """Give a job that is charged its place."""
        self._count += 1
        turn.place = (turn.end, self._count, job)
        if deadline is not None:
            heappush(self._deadlines, (deadline, job))

    def _hand_out(self, job: JobId, turn: Turn) -> None:
        self._served[job] = turn
        turn.line.served += 1

    def _step_out(self, job: JobId) -> Turn:
        turn = self._waiting.pop(job)
        client = turn.flow.key[0]
        self._per_client[client] -= 1
        if not self._per_client[client]:
            del self._per_client[client]
        return turn


def _span(cost: int, weight: int, priority: str) -> int:
    """What a job takes of its client's share, in tags."""
    return max(1, cost * TAG_SCALE // (weight * PRIORITIES[priority]))
