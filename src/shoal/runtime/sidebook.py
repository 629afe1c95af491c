"""A journal that nothing waits for: facts go to disk, and meanwhile the machine goes on.

For a machine whose facts are totals, so that the next one makes good what a crash
has lost; an outbox is not kept beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from shoal.ids import Digest
from shoal.runtime.host import Journal
from shoal.units import Instant


class SideBook:
    """Another journal, which says of everything at once that it is durable."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.durable = journal.durable
        self.on_durable: Callable[[int], None] = lambda number: None
        self.on_failure: Callable[[BaseException], None] = lambda failure: None

    def append(self, at: Instant, fact: bytes) -> int:
        """Queue a fact; its number."""
        self.durable = self._journal.append(at, fact)
        return self.durable

    def keep(self, digest: Digest, body: bytes, expires: Instant) -> None:
        """Queue a body."""
        self._journal.keep(digest, body, expires)

    def replay(self) -> tuple[bytes | None, Iterator[tuple[Instant, bytes]]]:
        """The snapshot, if there is one, and the facts after it."""
        return self._journal.replay()

    def snapshot(self, state: bytes) -> None:
        """Queue a snapshot that covers every fact so far."""
        self._journal.snapshot(state)

    def body(self, digest: Digest) -> bytes | None:
        """A body that was kept, or None."""
        return self._journal.body(digest)
