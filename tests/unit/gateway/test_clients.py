"""A client is the hash of its key."""

from __future__ import annotations

import pytest

from shoal.errors import Unauthorized
from shoal.gateway.clients import ANONYMOUS, Clients, ForeignPage
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
