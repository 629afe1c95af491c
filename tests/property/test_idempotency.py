"""Keys against a dict: a key means one job for its window, and is never dropped to make room."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoal.errors import Busy, Conflict
from shoal.ids import ClientId, Digest, JobId
from shoal.units import Instant, later
from shoal.work.idempotency import IdempotencyKeys, Use

CLIENTS = st.sampled_from([ClientId("anna"), ClientId("ben")])
KEYS = st.sampled_from(["k1", "k2", "k3"])
REQUESTS = st.sampled_from([Digest("r1"), Digest("r2")])
KEYS_MAX = 4
WINDOW_MS = 10


class KeyMachine(RuleBasedStateMachine):
    """Clients use keys while time goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = IdempotencyKeys(keys_max=KEYS_MAX)
        self.model: dict[tuple[ClientId, str], Use] = {}
        self.now = Instant(0)
        self.jobs = 0

    @rule(client=CLIENTS, key=KEYS, request=REQUESTS)
    def use(self, client: ClientId, key: str, request: Digest) -> None:
        known = self.model.get((client, key))
        if known is None and len(self.model) >= KEYS_MAX:
            with pytest.raises(Busy):
                self.keys.seen(client, key, request)
        elif known is not None and known.request != request:
            with pytest.raises(Conflict):
                self.keys.seen(client, key, request)
        else:
            assert self.keys.seen(client, key, request) == (known.job if known else None)
            if known is None:
                self.jobs += 1
                use = Use(request, JobId(f"job {self.jobs}"), later(self.now, WINDOW_MS))
                self.keys.remember(client, key, use)
                self.model[client, key] = use

    @rule(duration_ms=st.integers(1, 8))
    def wait(self, duration_ms: int) -> None:
        self.now = later(self.now, duration_ms)
        over = [use.job for use in self.model.values() if use.until <= self.now]
        assert self.keys.forget(self.now) == over
        self.model = {name: use for name, use in self.model.items() if use.until > self.now}

    @invariant()
    def the_keys_are_the_models(self) -> None:
        assert self.keys.uses == self.model


TestKeys = KeyMachine.TestCase
