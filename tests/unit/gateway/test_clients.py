"""A client is the hash of its key."""

from __future__ import annotations

import pytest

from shoal.errors import Refused, Unauthorized
from shoal.gateway.clients import ANONYMOUS, Clients, ForeignPage, Grant, NotGranted
from shoal.gateway.config import Tenant
from shoal.runtime.body import Body, Intake
from shoal.runtime.door import Presence, Request


def request(**headers: str) -> Request:
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    return Request("GET", "/", "", raw, Body(Intake()), Presence())


def test_without_keys_a_token_still_tells_clients_apart() -> None:
    clients = Clients(())
    assert clients.identify(request()) == ANONYMOUS
    one, two = (clients.identify(request(authorization=f"Bearer {key}")) for key in ("a", "b"))
    assert len({one, two, ANONYMOUS}) == 3
    assert clients.identify(request(authorization="bearer a")) == one


def test_a_client_is_the_same_with_keys_and_without_and_never_its_key() -> None:
    given = request(authorization="Bearer secret")
    client = Clients(["other", "secret"]).identify(given)
    assert client == Clients(()).identify(given)
    assert "secret" not in client


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Bearer secre", "Basic secret", "secret"])
def test_with_keys_nobody_else_comes_in(value: str) -> None:
    with pytest.raises(Unauthorized):
        Clients(["secret"]).identify(request(authorization=value))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9935", "[::1]:9935", "LOCALHOST:1", "127.1.2.3"])
def test_pages_of_this_computer_come_in(host: str) -> None:
    assert Clients(()).identify(request(host=host, origin=f"http://{host}")) == ANONYMOUS


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
        Clients(()).identify(request(**headers))
    Clients(["k"]).identify(request(authorization="Bearer k", **headers))


def test_a_tenant_has_what_it_is_granted_a_key_the_usual_and_an_open_gateways_user_all() -> None:
    tenants = (Tenant(name="a", key="a's", weight=3, priority_max="high"), Tenant(name="b", key="b's"))
    clients = Clients(["plain"], tenants)
    grants = {
        key: clients.grant(clients.identify(request(authorization=f"Bearer {key}")))
        for key in ("a's", "b's", "plain")
    }
    assert grants == {"a's": Grant(3, "high"), "b's": Grant(1, "normal"), "plain": Grant(1, "normal")}
    assert Clients(()).grant(ANONYMOUS) == Grant(1, "high")


def test_tenants_alone_close_a_gateway() -> None:
    clients = Clients((), [Tenant(name="a", key="a's")])
    assert clients.closed
    with pytest.raises(Unauthorized):
        clients.identify(request())


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
        Clients(keys, [Tenant(name=name, key=key) for name, key in tenants])
