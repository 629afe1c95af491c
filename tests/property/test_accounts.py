"""However jobs come and end, nobody spends more than it may, and rows, meters and the ledger tell of the same money."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from shoal.errors import RateLimited, SpendLimit, Unauthorized
from shoal.gateway.accounts import Accounts, KeyMade, KeyRevoked, TenantChanged, TenantMade
from shoal.gateway.config import Rules
from shoal.gateway.limits import DAY_MS, Limits
from shoal.gateway.settlement import account
from shoal.gateway.usage import statement
from shoal.ids import ClientId, Digest, JobId, KeyId
from shoal.money.ledger import Ledger
from shoal.money.wei import Price, Wei
from shoal.units import MINUTE_MS, Instant
from shoal.wire.words import JobSpec
from shoal.work.lifecycle import Job, Phase

RULES = Rules(usage_days_max=3, usage_rows_max=12)
TENANTS = [ClientId("tenant_a"), ClientId("tenant_b")]
KEYS = [KeyId("key_1"), KeyId("key_2"), KeyId("key_3")]
OWNERS = dict(zip(KEYS, [TENANTS[0], TENANTS[0], TENANTS[1]], strict=True))
SPECS = [JobSpec("llm", "m", 9), JobSpec("echo", "e", 9)]

few = st.none() | st.integers(1, 6)
amounts = st.none() | st.integers(0, 60)
limits = st.builds(
    Limits,
    jobs_per_minute=few,
    jobs_per_day=few,
    wei_per_minute=amounts,
    wei_per_day=amounts,
    wei_in_all=amounts,
)


class AccountsAtWork(RuleBasedStateMachine):
    """An operator, its tenants and their jobs, while days go by."""

    @initialize(given=st.tuples(*[limits] * 5))
    def begin(self, given: tuple[Limits, ...]) -> None:
        self.now = Instant(20_000 * DAY_MS)
        self.accounts = Accounts(RULES)
        self.ledger = Ledger(default_floor=Wei(-(10**18)))
        self.jobs: dict[JobId, Job] = {}
        self.made = 0
        self.limits: dict[str, Limits] = {}
        #: What was charged to whom, in which minute, day, and in all, counted apart.
        self.spent: Counter[tuple[str, str, int]] = Counter()
        for tenant, granted in zip(TENANTS, given, strict=False):
            self.limits[tenant] = granted
            self.learn(TenantMade(tenant, tenant.upper(), limits=granted.written()))
        for key, granted in zip(KEYS, given[2:], strict=True):
            self.limits[key] = granted
            self.learn(KeyMade(key, OWNERS[key], key.encode(), limits=granted.written()))

    def learn(self, fact: TenantMade | TenantChanged | KeyMade | KeyRevoked) -> None:
        self.accounts.require(fact, self.now)
        self.accounts.learn(fact, self.now)

    @rule(ms=st.one_of(st.integers(0, 5_000), st.integers(0, 2 * MINUTE_MS), st.integers(0, 2 * DAY_MS)))
    def time_goes_by(self, ms: int) -> None:
        self.now = Instant(self.now + ms)

    @rule(key=st.sampled_from(KEYS), hold=st.integers(0, 40), spec=st.sampled_from(SPECS))
    def a_job_comes(self, key: KeyId, hold: int, spec: JobSpec) -> None:
        tenant, wei = OWNERS[key], Wei(hold)
        before = self.accounts.dump()
        try:
            self.accounts.require_job(tenant, key, (spec.pipeline, spec.model), wei, self.now)
        except (RateLimited, SpendLimit, Unauthorized) as error:
            assert self.accounts.dump() == before
            if error.retry_after_ms > 1_000 and isinstance(error, RateLimited):
                self.it_is_right_to_wait(error, tenant, key, spec, wei)
            return
        name = JobId(f"job_{self.made}")
        self.made += 1
        self.ledger.pend(name, account(tenant), wei)
        self.jobs[name] = Job(name, tenant, spec, Digest(""), Price(1), wei, self.now, self.now, api_key=key)
        self.accounts.opened(tenant, key, wei, self.now)

    def it_is_right_to_wait(
        self, error: RateLimited, tenant: ClientId, key: KeyId, spec: JobSpec, hold: Wei
    ) -> None:
        """A millisecond sooner is still too soon."""
        sooner = Instant(self.now + error.retry_after_ms - 1)
        try:
            self.accounts.require_job(tenant, key, (spec.pipeline, spec.model), hold, sooner)
        except RateLimited:
            return
        raise AssertionError(f"{error.retry_after_ms} ms are too long")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), end=st.sampled_from([Phase.DONE, Phase.FAILED, Phase.CANCELLED]))
    def a_job_ends(self, data: st.DataObject, end: Phase) -> None:
        job = self.jobs.pop(data.draw(st.sampled_from(sorted(self.jobs))))
        charged = 0 if end is Phase.FAILED else data.draw(st.integers(0, job.hold))
        fee = charged // 10
        wei = Wei(charged - fee)
        self.ledger.post(job.id, {"orchestrator:o": wei, "fees": Wei(fee)} if charged else {})
        self.accounts.ended(replace(job, phase=end, wei=wei, fee=Wei(fee), units=charged), self.now)
        for who in (job.client, job.api_key):
            self.spent[who, "minute", self.now // MINUTE_MS] += charged
            self.spent[who, "day", self.now // DAY_MS] += charged
            self.spent[who, "all", 0] += charged

    @rule(key=st.sampled_from(KEYS))
    def a_key_is_revoked(self, key: KeyId) -> None:
        self.learn(KeyRevoked(key))

    @rule()
    def it_starts_again_from_a_snapshot(self) -> None:
        again = Accounts(RULES)
        again.load(self.accounts.dump(), self.ledger, self.jobs)
        assert again.dump() == self.accounts.dump()
        held = {name: meter.held for name, meter in self.accounts.meters.items() if meter.held}
        assert {name: meter.held for name, meter in again.meters.items() if meter.held} == held
        assert again.keys == self.accounts.keys
        self.accounts = again

    @invariant()
    def nobody_overshoots(self) -> None:
        for (who, window, _), wei in self.spent.items():
            granted = self.limits[who]
            most = {
                "minute": granted.wei_per_minute,
                "day": granted.wei_per_day,
                "all": granted.wei_in_all,
            }[window]
            assert most is None or wei <= most

    @invariant()
    def it_adds_up(self) -> None:
        self.accounts.check(self.ledger)
        today = self.now // DAY_MS
        for days in (range(today + 1), range(today - 1, today)):
            for tenant in ("", *TENANTS):
                found = statement(
                    self.accounts.usage,
                    self.jobs.values(),
                    today,
                    by=("key", "day"),
                    tenant=tenant,
                    days=days,
                )
                clients = [tenant] if tenant else TENANTS
                charged = -sum(self.ledger.balances.get(f"client:{client}", 0) for client in clients)
                assert found.before_wei + found.total.charged_wei + found.after_wei == charged
                assert sum(entry.charged_wei for entry in found.entries) == found.total.charged_wei
                assert sum(entry.held_wei for entry in found.entries) == found.total.held_wei
                held = sum(job.hold for job in self.jobs.values() if job.client in clients)
                assert found.total.held_wei == held


TestAccounts = AccountsAtWork.TestCase
