"""What a policy may see: a new field here is a decision about what the market can see."""

from __future__ import annotations

from shoal.ids import JobId, NodeId
from shoal.machine import Value
from shoal.money.wei import Price
from shoal.units import Instant

#: Jobs of one size class differ in their work units by less than this factor.
SIZE_FACTOR = 4
_SIZE_BITS = SIZE_FACTOR.bit_length() - 1


class Candidate(Value, frozen=True, kw_only=True):
    """One node's standing for one (pipeline, model) and one size of job, as the one who chooses knows it."""

    node: NodeId
    slots: int
    #: Slots that neither our leases nor others' hold.
    free: int
    price: Price
    #: Mean time of its recent answers to jobs of this size, 0 while there are none.
    run_ms: float = 0.0
    #: The least that the share of its answered attempts is likely to be; 1 while there is nothing against it.
    success: float = 1.0
    #: What loading the model would take; 0 where it is loaded.
    cold_ms: int = 0
    #: Of so many jobs at once none takes notably longer than one alone.
    batch: int = 1
    #: What an answer takes beside the run itself, 0 while it is unknown.
    link_ms: float = 0.0
    region: str = ""
    stake: int = 0
    #: 0 to 1; None for a newcomer, of whom nobody knows anything.
    reputation: float | None = None
    #: It failed lately, and is tried with one job at a time: `policy.breaker`.
    on_trial: bool = False
    #: ... and gets nothing until then, or until that one job has ended.
    barred: bool = False
    #: It wants to be paid ahead, and what it has been paid does not cover the next job yet.
    short: bool = False
    #: The number of our own choice that fell on it last, 0 if none ever did: for those who take turns.
    turn: int = 0
    #: When it last said how it stands, or answered, by the clock of the one who chooses.
    heard_at: Instant = Instant(0)
    #: How many of our choices have fallen on it since then.
    uses: int = 0

    @property
    def taken(self) -> int:
        """Slots that somebody's jobs hold."""
        return self.slots - self.free


class Wish(Value, frozen=True, kw_only=True):
    """What a policy may know of the job: not what it says, nor whose it is."""

    job: JobId
    #: 1 for the first attempt.
    attempt: int = 1
    #: When it is chosen for, by the clock of `Candidate.heard_at`.
    now: Instant = Instant(0)
    units: int = 1
    limit: Price = Price(0)
    #: Time until its deadline.
    left_ms: int = 0
    #: The node that ran the last job of this session, "" if there is none.
    home: NodeId = NodeId("")
    #: Where it has failed, unless nobody else sells what it needs.
    avoid: tuple[NodeId, ...] = ()
    #: The only region it may run in, "" for anywhere.
    region: str = ""


def size_class(units: int) -> int:
    """Which jobs take about as long as one of so many work units."""
    return (max(1, units).bit_length() - 1) // _SIZE_BITS
