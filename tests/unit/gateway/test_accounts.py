"""What may become a fact about accounts, and what follows from it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shoal.errors import Broken, Busy, Conflict, NotFound, NotGranted, Refused, Unauthorized
from shoal.gateway.accounts import (
    AccountAsked,
    AccountFact,
    Accounts,
    Decided,
    KeyMade,
    KeyRevoked,
    TenantChanged,
    TenantMade,
)
from shoal.gateway.books import State
from shoal.gateway.config import Rules, Tenant
from shoal.gateway.events import CancelAsked, Reply, Submitted
from shoal.gateway.limits import Limits
from shoal.gateway.machine import GatewayMachine
from shoal.ids import ClientId, JobId, KeyId, NodeId
from shoal.machine import Connected, Event, Heard
from shoal.money.wei import Price, Wei
from shoal.units import Instant
from shoal.wire import words
from shoal.wire.codec import Coder
from shoal.wire.words import JobSpec, Quote

NOW = Instant(1_790_000_000_000)
ADA = TenantMade(ClientId("tenant_ada"), "ada")
KEY = KeyMade(KeyId("key_1"), ADA.tenant, b"1" * 32)
NEED = ("echo", "echo")
PRICE = Price(1)
SPEC = JobSpec("echo", "echo", 10, stream=True)


def accounts(*facts: AccountFact, rules: Rules | None = None) -> Accounts:
    made = Accounts(
        rules or Rules(), ["plain"], [Tenant(name="old", key="old's", limits=Limits(jobs_per_day=1))]
    )
    for fact in facts:
        made.require(fact, NOW)
        made.learn(fact, NOW)
    return made


@pytest.mark.parametrize(
    ("fact", "error", "message"),
    [
        (replace(ADA, tenant=ClientId("tenant_x")), Conflict, "a tenant ada already"),
        (replace(ADA, tenant=ClientId("tenant_x"), name="old"), Conflict, "a tenant old already"),
        (TenantChanged(ClientId("tenant_x"), 1, "low"), NotFound, "no tenant"),
        (KEY, Conflict, "a key key_1 already"),
        (replace(KEY, key=KeyId("key_2")), Conflict, "already"),
        (replace(KEY, key=KeyId("key_2"), hash=b"2", tenant=ClientId("x")), NotFound, "no tenant"),
        (KeyRevoked(KeyId("key_9")), NotFound, "no key"),
    ],
)
def test_what_makes_no_sense_is_no_fact(fact: AccountFact, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        accounts(ADA, KEY).require(fact, NOW)


def test_a_key_that_expires_while_its_wish_is_on_its_way_is_made_and_good_for_nothing() -> None:
    with pytest.raises(Unauthorized, match="expired"):
        accounts(ADA, replace(KEY, expires_at=NOW)).key_named("key_1").require_good(NOW)


def test_what_stands_in_the_settings_is_changed_there() -> None:
    known = accounts()
    for tenant in known.tenants:
        with pytest.raises(Refused, match="change it there"):
            known.require(TenantChanged(tenant, 1, "low"), NOW)
    for key in known.keys:
        with pytest.raises(Refused, match="take it out there"):
            known.require(KeyRevoked(key), NOW)


def test_there_is_a_limit_to_tenants_and_keys() -> None:
    full = accounts(rules=Rules(tenants_max=2, api_keys_max=2))
    with pytest.raises(Busy, match="2 tenants"):
        full.require(ADA, NOW)
    with pytest.raises(Busy, match="2 keys"):
        full.require(replace(KEY, tenant=full.tenant_named("old").id), NOW)


def test_a_tenant_is_found_by_its_name_and_by_its_id() -> None:
    known = accounts(ADA)
    assert known.tenant_named("ada") == known.tenant_named("tenant_ada") == known.tenants[ADA.tenant]
    with pytest.raises(NotFound, match="shoal tenants create"):
        known.tenant_named("eve")


def test_a_tenant_of_the_settings_may_come_to_have_the_name_of_another_and_is_told_apart_by_its_id() -> None:
    known = accounts()
    known.learn(replace(ADA, name="old"), NOW)
    with pytest.raises(Refused, match="name one by its id"):
        known.tenant_named("old")


@pytest.mark.parametrize(
    ("key", "need", "error"),
    [
        (KEY, NEED, None),
        (replace(KEY, pipelines=("echo",), models=("echo",)), NEED, None),
        (replace(KEY, pipelines=("llm",)), NEED, NotGranted),
        (replace(KEY, models=("other",)), NEED, NotGranted),
        (replace(KEY, may=("read",)), NEED, NotGranted),
        (replace(KEY, expires_at=Instant(NOW + 1)), NEED, None),
    ],
)
def test_a_job_is_within_its_keys_scope(
    key: KeyMade, need: tuple[str, str], error: type[Exception] | None
) -> None:
    known = accounts(ADA, key)
    if error is None:
        known.require_job(ADA.tenant, key.key, need, Wei(1), NOW)
        return
    with pytest.raises(error):
        known.require_job(ADA.tenant, key.key, need, Wei(1), NOW)


def test_a_key_that_went_while_its_job_was_read_is_noticed() -> None:
    known = accounts(ADA, KEY, KeyRevoked(KEY.key))
    for key in (KEY.key, KeyId("key_9"), KeyId("")):
        with pytest.raises(Unauthorized):
            known.require_job(ADA.tenant, key, NEED, Wei(1), NOW)


def test_a_key_whose_maker_was_revoked_meanwhile_is_not_made() -> None:
    known = accounts(ADA, KEY, KeyRevoked(KEY.key))
    with pytest.raises(Unauthorized, match="revoked"):
        known.require(replace(KEY, key=KeyId("key_2"), hash=b"2", maker=KEY.key), NOW)


def test_limits_of_a_tenant_hold_for_all_its_keys_together() -> None:
    other = replace(KEY, key=KeyId("key_2"), hash=b"2")
    known = accounts(replace(ADA, limits=Limits(wei_in_all=10).written()), KEY, other)
    known.require_job(ADA.tenant, KEY.key, NEED, Wei(6), NOW)
    known.opened(ADA.tenant, KEY.key, Wei(6), NOW)
    with pytest.raises(Refused, match="this tenant may spend 10 wei in all"):
        known.require_job(ADA.tenant, other.key, NEED, Wei(5), NOW)
    known.learn(TenantChanged(ADA.tenant, 1, "low", Limits(wei_in_all=11).written()), NOW)
    known.require_job(ADA.tenant, other.key, NEED, Wei(5), NOW)


# The machine


def machine(*events: Event, rules: Rules | None = None) -> GatewayMachine:
    made = GatewayMachine(rules or Rules(), verify=lambda *_: True)
    quote = Quote("echo", "echo", 100, 0, PRICE)
    node = NodeId("o")
    for event in (Connected(node, "orchestrator", "b"), Heard(node, words.Capacity((quote,))), *events):
        made.handle(event, NOW)
        made.check()
    return made


def asked(fact: AccountFact, name: str = "asked") -> AccountAsked:
    return AccountAsked(JobId(name), fact)


def submitted(name: str, key: KeyId = KEY.key) -> Submitted:
    return Submitted(JobId(name), ADA.tenant, SPEC, b"", PRICE, 60_000, api_key=key)


def test_what_was_asked_for_is_journaled_and_answered_and_what_is_refused_leaves_nothing() -> None:
    made = machine()
    assert made.handle(asked(ADA), NOW) == [ADA, Decided(JobId("asked"))]
    before = made.dump()
    [decided] = made.handle(asked(ADA), NOW)
    assert isinstance(decided, Decided)
    assert decided.fault is not None
    assert decided.fault.code == "conflict"
    assert made.dump() == before


def test_jobs_at_once_do_not_overshoot() -> None:
    limited = replace(KEY, limits=Limits(wei_in_all=35).written())
    made = machine(asked(ADA), asked(limited), *(submitted(f"job{n}") for n in range(3)))
    assert len(made.jobs) == 3  # ten each
    replies = [effect for effect in made.handle(submitted("job3"), NOW) if isinstance(effect, Reply)]
    assert [reply.fault.code for reply in replies if reply.fault] == ["spend_limit"]
    made.handle(CancelAsked(JobId("job0"), ADA.tenant), NOW)
    made.handle(submitted("job4"), NOW)
    assert JobId("job4") in made.jobs
    made.check()


def test_a_snapshot_brings_everything_back() -> None:
    made = machine(asked(ADA), asked(KEY), submitted("job0"), submitted("job1"))
    made.handle(CancelAsked(JobId("job0"), ADA.tenant), NOW)
    coder = Coder(State)
    again = GatewayMachine(Rules(), verify=lambda *_: True)
    again.load(coder.decode(coder.encode(made.dump())))
    again.check()
    assert again.dump() == made.dump()
    assert again.accounts.closed
    assert again.accounts.meters[KEY.key].held == 10


def test_a_snapshot_of_before_accounts_were_kept_adds_up_too() -> None:
    made = machine(submitted("job0", KeyId("")))
    made.ledger.transfer("client:somebody", {"orchestrator:o": Wei(70)})
    state = replace(made.dump(), accounts=None)
    again = GatewayMachine(Rules(), verify=lambda *_: True)
    again.load(state)
    again.check()
    assert again.accounts.usage.charged() == {"somebody": 70}
    assert again.accounts.meters["somebody"].total == 70
    assert again.accounts.meters[ADA.tenant].held == 10


def test_rows_that_do_not_add_up_are_noticed() -> None:
    made = machine()
    made.accounts.usage.note(ClientId("somebody"), 1)
    with pytest.raises(Broken, match="different money"):
        made.check()
