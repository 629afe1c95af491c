"""A client is the tenant of its key, and a key goes as far as it was made to."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shoal.errors import NotGranted, RateLimited, Refused, Unauthorized
from shoal.gateway.accounts import (
    READ,
    SUBMIT,
    Accounts,
    KeyMade,
    KeyRevoked,
    TenantChanged,
    TenantMade,
    client_id,
)
from shoal.gateway.clients import ANONYMOUS, Clients, Grant, Visitor
from shoal.gateway.config import Rules, Tenant
from shoal.gateway.limits import Limits
from shoal.gateway.secret import hashed, key_id, secret
from shoal.ids import ClientId
from shoal.money.wei import Wei
from shoal.runtime.body import Body, Intake
from shoal.runtime.door import Presence, Request
from shoal.runtime.origin import ForeignPage
from shoal.units import Instant

NOW = Instant(1_000_000)
TEXT = secret(bytes(range(32)))
HASH = hashed(TEXT.encode())
STUDIO = ClientId("tenant_studio")
MADE = KeyMade(key_id(HASH), STUDIO, HASH)


def request(**headers: str) -> Request:
    raw = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Request("GET", "/", "", raw, Body(Intake()), Presence())


def clients(keys: list[str] | None = None, tenants: list[Tenant] | None = None) -> Clients:
    return Clients(Accounts(Rules(), keys or [], tenants or []), lambda: NOW)


def made(*facts: TenantMade | TenantChanged | KeyMade | KeyRevoked, now: Instant = NOW) -> Clients:
    """The clients of a gateway whose operator has made a tenant, and then this."""
    accounts = Accounts(Rules())
    for fact in (TenantMade(STUDIO, "studio"), *facts):
        accounts.require(fact, NOW)
        accounts.learn(fact, NOW)
    return Clients(accounts, lambda: now)


def test_without_keys_a_token_still_tells_clients_apart() -> None:
    assert clients().identify(request()) == Visitor(ANONYMOUS)
    one, two = (clients().identify(request(authorization=f"Bearer {key}")).client for key in ("a", "b"))
    assert len({one, two, ANONYMOUS}) == 3
    assert clients().identify(request(authorization="bearer a")).client == one


def test_a_client_is_the_same_with_keys_and_without_and_never_its_key() -> None:
    given = request(authorization="Bearer secret")
    client = clients(["other", "secret"]).identify(given).client
    assert client == clients().identify(given).client == client_id(hashed(b"secret"))
    assert "secret" not in client


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Bearer secre", "Basic secret", "secret"])
def test_with_keys_nobody_else_comes_in(value: str) -> None:
    with pytest.raises(Unauthorized, match="No valid key"):
        clients(["secret"]).identify(request(authorization=value))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9935", "[::1]:9935", "LOCALHOST:1", "127.1.2.3"])
def test_pages_of_this_computer_come_in(host: str) -> None:
    assert clients().identify(request(host=host, origin=f"http://{host}")).client == ANONYMOUS


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1.evil.example"},
        {"host": "evil.example"},
        {"host": "localhost.evil.example:80"},
    ],
)
def test_pages_from_elsewhere_do_not(headers: dict[str, str]) -> None:
    with pytest.raises(ForeignPage):
        clients().identify(request(**headers))
    clients(["k"]).identify(request(authorization="Bearer k", **headers))


def test_a_tenant_has_what_it_is_granted_a_key_the_usual_and_an_open_gateways_user_all() -> None:
    tenants = [Tenant(name="a", key="a's", weight=3, priority_max="high"), Tenant(name="b", key="b's")]
    known = clients(["plain"], tenants)
    grants = {
        key: known.identify(request(authorization=f"Bearer {key}")).grant for key in ("a's", "b's", "plain")
    }
    assert grants == {"a's": Grant(3, "high"), "b's": Grant(1, "normal"), "plain": Grant(1, "normal")}
    assert clients().identify(request()).grant == Grant(1, "high")


def test_tenants_alone_close_a_gateway_and_so_does_the_rule() -> None:
    for closed in (
        Accounts(Rules(), (), [Tenant(name="a", key="a's")]),
        Accounts(Rules(closed=True)),
    ):
        assert closed.closed
        with pytest.raises(Unauthorized):
            Clients(closed, lambda: NOW).identify(request())


def test_the_first_key_closes_an_open_gateway_and_revoking_it_opens_nothing() -> None:
    assert made().identify(request()).client == ANONYMOUS
    for closed in (made(MADE), made(MADE, KeyRevoked(MADE.key))):
        with pytest.raises(Unauthorized):
            closed.identify(request())


def test_a_made_key_is_its_tenants() -> None:
    seen = made(MADE).identify(request(authorization=f"Bearer {TEXT}"), SUBMIT)
    assert (seen.client, seen.key_id, seen.grant) == (STUDIO, MADE.key, Grant(1, "normal"))


def test_a_typo_is_told_from_a_stranger() -> None:
    with pytest.raises(Unauthorized, match="mistyped"):
        made(MADE).identify(request(authorization=f"Bearer {TEXT[:-1]}"))
    with pytest.raises(Unauthorized, match="No valid key"):
        made(MADE).identify(request(authorization=f"Bearer {secret(bytes(32))}"))


@pytest.mark.parametrize(
    ("facts", "now", "message"),
    [
        ([MADE, KeyRevoked(MADE.key)], NOW, "revoked"),
        ([replace(MADE, expires_at=Instant(NOW + 1))], Instant(NOW + 1), "expired"),
    ],
)
def test_what_was_a_key_is_none(facts: list[KeyMade | KeyRevoked], now: Instant, message: str) -> None:
    with pytest.raises(Unauthorized, match=message):
        made(*facts, now=now).identify(request(authorization=f"Bearer {TEXT}"))


def test_a_key_does_what_it_was_made_for() -> None:
    reader = made(replace(MADE, may=("read",)))
    given = request(authorization=f"Bearer {TEXT}")
    assert reader.identify(given, READ).client == reader.identify(given).client == STUDIO
    with pytest.raises(NotGranted, match="may read, and this takes submit"):
        reader.identify(given, SUBMIT)


def test_who_sends_too_much_is_told_before_its_body_is_read_unless_it_may_be_a_repetition() -> None:
    accounts = Accounts(Rules())
    accounts.learn(TenantMade(STUDIO, "studio", limits=Limits(jobs_per_minute=1).written()), NOW)
    accounts.learn(MADE, NOW)
    accounts.opened(STUDIO, MADE.key, Wei(1), NOW)
    known = Clients(accounts, lambda: NOW)
    with pytest.raises(RateLimited) as raised:
        known.identify(request(authorization=f"Bearer {TEXT}"), SUBMIT)
    assert raised.value.retry_after_ms == 60_000
    known.identify(request(authorization=f"Bearer {TEXT}"), READ)
    known.identify(request(authorization=f"Bearer {TEXT}", idempotency_key="k"), SUBMIT)


@pytest.mark.parametrize(("most", "granted"), [("high", 3), ("normal", 2), ("low", 1)])
def test_a_class_above_the_granted_one_is_refused(most: str, granted: int) -> None:
    classes = ("low", "normal", "high")
    for priority in classes[:granted]:
        Grant(priority_max=most).require(priority)
    for priority in classes[granted:]:
        with pytest.raises(NotGranted, match=f"priority {most} at most"):
            Grant(priority_max=most).require(priority)


@pytest.mark.parametrize(
    ("keys", "tenants"),
    [
        ([], [("a", "same"), ("b", "same")]),
        (["same"], [("a", "same")]),
        ([], [("same", "a"), ("same", "b")]),
        ([""], []),
        ([], [("a", "")]),
    ],
)
def test_keys_and_names_are_each_ones_own(keys: list[str], tenants: list[tuple[str, str]]) -> None:
    with pytest.raises(Refused, match="its own"):
        clients(keys, [Tenant(name=name, key=key) for name, key in tenants])
