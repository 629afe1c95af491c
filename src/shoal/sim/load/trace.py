"""A load as data: who sells, who asks for what and when, and what became of each job.

A trace says everything that a run needs, so that the simulator, a real network
and an oracle can be given the very same one. Its file is JSON lines: the trace
without its arrivals, then one arrival a line. Times are whole milliseconds
from the beginning of the trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import DecodeError, json
from msgspec.structs import replace

from shoal.errors import Refused
from shoal.machine import Value
from shoal.work.queue import Need


class Arrival(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One request. It comes when it comes, whatever became of those before it: the load is open."""

    at_ms: int
    pipeline: str
    model: str
    #: Whose job it is.
    tenant: str = "t0"
    #: What it takes on a node of speed 1, where nothing else runs.
    work_ms: int
    #: Work units, as the gateway measures and charges them.
    units: int = 1
    #: The answer is of use if it comes within this time from `at_ms`.
    deadline_ms: int
    session: str = ""
    priority: str = "normal"

    @property
    def need(self) -> Need:
        """What it takes to run this."""
        return (self.pipeline, self.model)


class Ware(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What each worker of an operator runs: so many jobs of this at once, at this price."""

    pipeline: str
    model: str
    slots: int = 1
    #: Price in wei of one work unit; None for what the table of pipelines says.
    wei: int | None = None
    #: What loading the model takes at the first job, 0 if it is loaded.
    cold_ms: int = 0
    batch: int = 1

    @property
    def need(self) -> Need:
        """What this runs."""
        return (self.pipeline, self.model)


class Taken(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Slots of an operator that another gateway's jobs hold for a while."""

    at_ms: int
    for_ms: int
    pipeline: str
    model: str
    slots: int = 1


#: What can go wrong with an operator.
TroubleKind = Literal["crash", "mute", "hang", "fail", "slow"]


class Trouble(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Something that goes wrong with an operator for a while.

    * `crash`: its processes die, and are started again when the time is over.
    * `mute`: it is cut off without a word; its work goes on.
    * `hang`: its runners never answer, while it says that all is well: a silent death.
    * `fail`: its runners fail every job at once.
    * `slow`: its runners take `factor` times as long.
    """

    kind: TroubleKind
    at_ms: int
    for_ms: int
    factor: float = 1.0


class Operator(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One orchestrator with its workers, which are all alike."""

    name: str
    wares: tuple[Ware, ...]
    workers: int = 1
    #: A job takes `work_ms / speed` here.
    speed: float = 1.0
    #: What a word takes from here to the gateway, on average.
    link_ms: int = 5
    stake: int = 1
    region: str = ""
    taken: tuple[Taken, ...] = ()
    troubles: tuple[Trouble, ...] = ()

    def slots(self, need: Need) -> int:
        """How many jobs of this can run here at once."""
        return self.workers * sum(ware.slots for ware in self.wares if ware.need == need)

    def run_ms(self, work_ms: int) -> int:
        """How long so much work takes here; at least 1 ms."""
        return max(1, round(work_ms / self.speed))


class Fleet(Value, frozen=True, kw_only=True):
    """Everybody who sells."""

    orchestrators: tuple[Operator, ...]

    def needs(self) -> tuple[Need, ...]:
        """What can be bought here."""
        return tuple(dict.fromkeys(ware.need for operator in self.orchestrators for ware in operator.wares))

    def slots(self, need: Need) -> int:
        """How many jobs of this can run at once."""
        return sum(operator.slots(need) for operator in self.orchestrators)

    def speed(self, need: Need) -> float:
        """Work that is done in a moment while every slot is busy: the sum of the slots' speeds."""
        return sum(operator.slots(need) * operator.speed for operator in self.orchestrators)


class Trace(Value, frozen=True, kw_only=True):
    """One load on one fleet."""

    name: str
    #: Where its figures come from, and what was assumed where the source is silent.
    source: str = ""
    fleet: Fleet
    arrivals: tuple[Arrival, ...] = ()
    #: The seed it was drawn from.
    seed: int = 0
    #: Every time in it is its source's time multiplied by this.
    scale: float = 1.0
    #: What is measured: jobs that came from here ...
    from_ms: int = 0
    #: ... until here; 0 for the whole trace. What comes before warms the network up.
    until_ms: int = 0

    @property
    def end_ms(self) -> int:
        """When nothing is measured any more: `until_ms`, or just after the last arrival."""
        return self.until_ms or (self.arrivals[-1].at_ms + 1 if self.arrivals else 0)

    def load(self, need: Need) -> float:
        """The work that comes for this, as a share of what the fleet can do in the time."""
        work_ms = sum(arrival.work_ms for arrival in self.arrivals if arrival.need == need)
        able = self.fleet.speed(need) * self.end_ms
        return work_ms / able if able else 0.0

    def scaled(self, by: float) -> Trace:
        """The same load in a world where everything takes `by` times as long."""

        def times(ms: int) -> int:
            return round(ms * by)

        def some(ms: int) -> int:
            return max(1, times(ms)) if ms else 0

        operators = tuple(
            replace(
                operator,
                wares=tuple(replace(ware, cold_ms=some(ware.cold_ms)) for ware in operator.wares),
                taken=tuple(replace(t, at_ms=times(t.at_ms), for_ms=some(t.for_ms)) for t in operator.taken),
                troubles=tuple(
                    replace(t, at_ms=times(t.at_ms), for_ms=some(t.for_ms)) for t in operator.troubles
                ),
            )
            for operator in self.fleet.orchestrators
        )
        arrivals = tuple(
            replace(a, at_ms=times(a.at_ms), work_ms=some(a.work_ms), deadline_ms=some(a.deadline_ms))
            for a in self.arrivals
        )
        return replace(
            self,
            fleet=Fleet(orchestrators=operators),
            arrivals=arrivals,
            scale=self.scale * by,
            from_ms=times(self.from_ms),
            until_ms=times(self.until_ms),
        )


class Ended(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one job, as its client knows it. Times are the client's, from its arrival on."""

    #: Which arrival of the trace it was, and what that said.
    index: int
    at_ms: int
    tenant: str
    pipeline: str
    model: str
    work_ms: int
    #: False if it was turned away at once: then `code` says why, and `retry_after_ms` when to come again.
    accepted: bool
    #: True if the answer came at all; `code` says why not.
    done: bool = False
    #: True if the answer came within the deadline.
    in_time: bool = False
    code: str = ""
    retry_after_ms: int = 0
    #: From its arrival until the attempt that answered (or the last one) was sent off.
    queue_ms: int = 0
    #: What the runner took, as its receipt says.
    run_ms: int = 0
    #: From its arrival until its end.
    total_ms: int = 0
    #: How often it was sent to an orchestrator: first tries, retries and hedges.
    attempts: int = 0
    #: Of these: turned away because every slot was taken.
    turned_away: int = 0
    #: Of these: begun, and brought no answer that was used.
    failed: int = 0
    wei: int = 0
    #: Who answered, or had it last.
    orchestrator: str = ""

    @property
    def wasted(self) -> int:
        """Attempts that brought nothing."""
        return self.turned_away + self.failed

    @property
    def ended_ms(self) -> int:
        """When it ended, from the beginning of the trace."""
        return self.at_ms + self.total_ms


# Files


def trace_lines(trace: Trace) -> Iterator[bytes]:
    """A trace as JSON lines: its head, then its arrivals."""
    yield json.encode(replace(trace, arrivals=())) + b"\n"
    for arrival in trace.arrivals:
        yield json.encode(arrival) + b"\n"


def read_trace(lines: Iterable[bytes]) -> Trace:
    """The trace that these lines hold. Raises `Refused` with the line that is wrong."""
    head: Trace | None = None
    arrivals: list[Arrival] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if head is None:
                head = json.decode(line, type=Trace)
            else:
                arrivals.append(json.decode(line, type=Arrival))
        except DecodeError as error:
            raise Refused(f"line {number} of the trace is wrong: {error}") from error
    if head is None:
        raise Refused("the trace is empty: its first line says its name and its fleet")
    return replace(head, arrivals=tuple(sorted((*head.arrivals, *arrivals), key=_at)))


def _at(arrival: Arrival) -> int:
    return arrival.at_ms
