"""Idempotency keys: same key and same request, same job; same key, another request, refused.

Keys belong to a client: two clients may use the same word. A key is kept for
the promised window, and when there is no room for a new one the request that
brings it is refused: a promise is never dropped to make room for another.
"""

from __future__ import annotations

from msgspec import Struct

from shoal.errors import Busy, Conflict
from shoal.ids import ClientId, Digest, JobId
from shoal.units import Instant


class Use(Struct, frozen=True, array_like=True, gc=False):
    """What a key was first used for, and until when that is remembered."""

    request: Digest
    job: JobId
    until: Instant


class IdempotencyKeys:
    """The keys in use, in order of their first use (and so of their end)."""

    def __init__(self, *, keys_max: int) -> None:
        self._keys_max = keys_max
        self.uses: dict[tuple[ClientId, str], Use] = {}

    def seen(self, client: ClientId, key: str, request: Digest) -> JobId | None:
        """The job that this key already made; None for a new key. Raises `Conflict` or `Busy`."""
        use = self.uses.get((client, key))
        if use is None:
            if len(self.uses) >= self._keys_max:
                raise Busy(f"{self._keys_max} idempotency keys are remembered and no more; try again later")
            return None
        if use.request != request:
            raise Conflict(f"the idempotency key {key!r} came with another request before; use a new key")
        return use.job

    def remember(self, client: ClientId, key: str, use: Use) -> None:
        """Bind a key to the job that it made."""
        self.uses[client, key] = use

    def forget(self, now: Instant) -> list[JobId]:
        """Drop the keys whose window is over; their jobs."""
        jobs = []
        while self.uses:
            key, use = next(iter(self.uses.items()))
            if use.until > now:
                break
            del self.uses[key]
            jobs.append(use.job)
        return jobs
