"""A door finds its handlers, reads bodies within limits, and turns whatever goes wrong into one clear error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from shoal import errors
from shoal.errors import ShoalError
from shoal.runtime import door
from shoal.runtime.door import PRESENCE, Door, Intake, Presence, Reply, Request

LIMIT_BYTES = 10


async def say_part(request: Request) -> Reply:
    return Reply(request.part.encode())


async def say_body(request: Request) -> Reply:
    return Reply(await request.body(LIMIT_BYTES))


async def break_down(request: Request) -> Reply:
    raise ZeroDivisionError("a secret of this computer")


DOOR = Door({"GET /a": say_part, "POST /a": say_body, "GET /jobs/*/events": say_part, "GET /bug": break_down})


class Answer:
    """What a door sent."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message["body"]


def call(
    method: str, path: str, pieces: Sequence[bytes] = (b"",), *, length: int | None = None, door: Door = DOOR
) -> Answer:
    """What comes of a request whose body arrives in these pieces."""
    messages = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
        for number, piece in enumerate(pieces)
    ]

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    answer = Answer()
    scope = {
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": headers,
        "extensions": {PRESENCE: Presence()},
    }
    asyncio.run(door(scope, receive, answer.send))
    return answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/a", 200),
        ("GET", "/jobs/7/events", 200),
        ("DELETE", "/a", 405),
        ("POST", "/jobs/7/events", 405),
        ("GET", "/jobs/7", 404),
        ("GET", "/jobs//events", 404),
        ("GET", "/jobs/7/events/", 404),
        ("GET", "/", 404),
        ("GET", "", 404),
        ("GET", "/" * 10_000, 404),
        ("GET", "/bug", 500),
    ],
)
def test_a_path_leads_to_its_handler_or_to_a_clear_error(method: str, path: str, status: int) -> None:
    answer = call(method, path)
    assert answer.status == status
    if status != 200:
        said = msgspec.json.decode(answer.body)
        assert said["detail"]["msg"] == said["error"]["message"]
        assert b"secret" not in answer.body


def test_the_part_of_a_path_is_handed_on() -> None:
    assert call("GET", "/jobs/7/events").body == b"7"


@pytest.mark.parametrize("pieces", [(b"0123456789",), (b"01234", b"56789"), (b"0",) * 10])
def test_a_body_up_to_the_limit_is_read(pieces: Sequence[bytes]) -> None:
    assert call("POST", "/a", pieces).body == b"".join(pieces)


@pytest.mark.parametrize("pieces", [(b"0" * 11,), (b"0" * 6, b"0" * 5), (b"0" * 6, b"0" * 5, b"unread", b"")])
def test_a_body_over_the_limit_is_refused(pieces: Sequence[bytes]) -> None:
    assert call("POST", "/a", pieces).status == 413


def test_a_length_over_the_limit_is_refused_unread() -> None:
    assert call("POST", "/a", (), length=11).status == 413


def test_a_body_that_stops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BODY_PAUSE_MS", 10)
    messages = iter([{"type": "http.request", "body": b"0", "more_body": True}])

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    answer = Answer()
    scope = {
        "method": "POST",
        "path": "/a",
        "query_string": b"",
        "headers": [],
        "extensions": {PRESENCE: Presence()},
    }
    asyncio.run(DOOR(scope, receive, answer.send))
    assert answer.status == 408


def test_bodies_are_read_within_one_limit_and_make_room_again() -> None:
    intake = Intake(8)
    narrow = Door({"POST /a": say_body})
    narrow._intake = intake
    for _ in range(3):
        assert call("POST", "/a", (b"0123", b"4567"), door=narrow).status == 200
        busy = call("POST", "/a", (b"0123", b"45678"), door=narrow)
        assert (busy.status, busy.headers[b"retry-after"]) == (503, b"1")


@pytest.mark.parametrize("kind", errors.BY_CODE.values())
def test_every_error_has_both_shapes(kind: type[ShoalError]) -> None:
    reply = door.error_reply(kind("what to do", retry_after_ms=1_500))
    said = msgspec.json.decode(reply.body)
    assert reply.status == kind.http_status
    assert said["detail"] == {"msg": "what to do"}
    assert said["error"]["message"] == "what to do"
    assert said["error"]["code"] == kind.code
    assert dict(reply.headers)[b"retry-after"] == b"2"


# Who leaves.


def test_a_call_is_made_when_the_client_leaves_and_at_once_if_it_has_left() -> None:
    presence, calls = Presence(), list[str]()
    presence.when_ended(lambda: calls.append("waited"))
    assert calls == []
    presence.end()
    presence.when_ended(lambda: calls.append("late"))
    assert calls == ["waited", "late"]


def test_a_call_that_is_needed_no_more_is_not_made() -> None:
    presence, calls = Presence(), list[str]()

    def call() -> None:
        calls.append("called")

    presence.when_ended(call)
    presence.forget(call)
    presence.end()
    presence.forget(call)
    assert calls == []
