"""Affinity: where the last job of a session ran, for as long as that is worth knowing."""

from __future__ import annotations

from shoal.ids import NodeId
from shoal.units import MINUTE_MS, Instant, later

#: A session by whatever tells it from others: its client, what it needs, its name.
Session = tuple[str, ...]


class Homes:
    """Sessions and their nodes: so many at most, and none that was not used for so long."""

    def __init__(self, *, homes_max: int = 10_000, keep_ms: int = 10 * MINUTE_MS) -> None:
        self._homes_max = homes_max
        self._keep_ms = keep_ms
        #: The one that was used longest ago comes first.
        self._homes: dict[Session, tuple[NodeId, Instant]] = {}

    def __len__(self) -> int:
        return len(self._homes)

    def home(self, session: Session, now: Instant) -> NodeId:
        """The node that ran the session's last job, "" if none is remembered."""
        node, until = self._homes.get(session, (NodeId(""), Instant(0)))
        return node if until > now else NodeId("")

    def settle(self, session: Session, node: NodeId, now: Instant) -> None:
        """The session's latest job runs here."""
        self._homes.pop(session, None)
        self._homes[session] = (node, later(now, self._keep_ms))
        while len(self._homes) > self._homes_max or self._oldest_until() <= now:
            del self._homes[next(iter(self._homes))]

    def _oldest_until(self) -> Instant:
        return next(iter(self._homes.values()))[1]
