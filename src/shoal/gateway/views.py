"""What the gateway knew, version by version: enough to look at a decision as it was made.

Every change of a candidate has a number and remembers what stood there before,
so that the pool of today is taken back to the pool of then. The oldest changes
are forgotten, and with them the views that needed them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from shoal.ids import NodeId
from shoal.policy.views import Candidate
from shoal.units import Instant
from shoal.work.queue import Need

#: Fewer changes than two to this power happen in a millisecond.
CHANGES_BITS = 16
#: One pool: what is needed, and the size class of the job.
Kind = tuple[Need, int]


class Views:
    """The changes of late, the newest last."""

    def __init__(self, changes_max: int) -> None:
        #: The number of the latest change.
        self.version = 0
        self._changes: deque[tuple[Kind, NodeId, Candidate | None]] = deque(maxlen=changes_max)

    def begin(self, now: Instant) -> None:
        """We have started, and know nothing yet: numbers from before must not be taken for our own."""
        self._changes.clear()
        self.version = now << CHANGES_BITS

    def note(self, kind: Kind, node: NodeId, before: Candidate | None) -> None:
        """A candidate has come, changed or gone; `before` is what it was, None if it was not there."""
        self.version += 1
        self._changes.append((kind, node, before))

    def at(self, version: int, kind: Kind, today: Iterable[Candidate]) -> list[Candidate] | None:
        """A pool as it was at a version, given what it is today; None if that is forgotten."""
        back = self.version - version
        if not 0 <= back <= len(self._changes):
            return None
        then = {candidate.node: candidate for candidate in today}
        for changed, node, before in islice(reversed(self._changes), back):
            if changed == kind:
                if before is None:
                    then.pop(node, None)
                else:
                    then[node] = before
        return list(then.values())
