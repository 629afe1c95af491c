"""A door finds its handlers, reads bodies within limits, and turns whatever goes wrong into one clear error."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from shoal import errors
from shoal.errors import Refused, ShoalError
from shoal.runtime import door
from shoal.runtime.body import Body, Intake, Left
from shoal.runtime.door import Door, Feed, Presence, Reply, Request, TooSlow

LIMIT_BYTES = 10


async def say_part(request: Request) -> Reply:
    return Reply(request.part.encode())


async def say_body(request: Request) -> Reply:
    return Reply(await request.body(LIMIT_BYTES))


async def break_down(request: Request) -> Reply:
    raise ZeroDivisionError("a secret of this computer")


DOOR = Door({"GET /a": say_part, "POST /a": say_body, "GET /jobs/*/events": say_part, "GET /bug": break_down})


def request(method: str, path: str, *, length: int = 0, intake: Intake | None = None) -> Request:
    return Request(method, path, "", {}, Body(intake or Intake(), length), Presence())


def call(
    method: str,
    path: str,
    pieces: Sequence[bytes] = (b"",),
    *,
    length: int = 0,
    ends: Exception | None = None,
    intake: Intake | None = None,
) -> Reply:
    """What comes of a request whose body arrives in these pieces, the first of them with its head."""
    said: list[Reply | Feed | None] = []
    asked = request(method, path, length=length, intake=intake)
    body = asked.content
    for piece in pieces[:1]:
        body.arrive(piece)
    if len(pieces) == 1 and ends is None:
        body.end()
    DOOR.serve(asked, said.append)
    for piece in pieces[1:]:
        if body.wanted:
            body.arrive(piece)
    if body.wanted and ends is None:
        body.end()
    elif ends is not None:
        body.break_off(ends)
    (reply,) = said
    assert isinstance(reply, Reply)
    return reply


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


def test_a_body_that_breaks_off_is_answered_with_why() -> None:
    assert call("POST", "/a", (b"0",), ends=TooSlow()).status == 408
    assert call("POST", "/a", (), ends=Refused("no HTTP")).status == 400


def test_a_client_that_has_left_is_not_answered() -> None:
    said: list[Reply | Feed | None] = []
    asked = request("POST", "/a")
    DOOR.serve(asked, said.append)
    asked.content.break_off(Left())
    assert said == [None]


def test_bodies_are_read_within_one_limit_and_make_room_again() -> None:
    intake = Intake(8)
    for _ in range(3):
        assert call("POST", "/a", (b"0123", b"4567"), intake=intake).status == 200
        busy = call("POST", "/a", (b"0123", b"45678"), intake=intake)
        assert (busy.status, dict(busy.headers)[b"retry-after"]) == (503, b"1")


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
