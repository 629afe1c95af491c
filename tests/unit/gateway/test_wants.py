"""How a client wants its job served: read from headers and fields, and refused where it cannot be had."""

from __future__ import annotations

import pytest

from shoal.errors import Refused
from shoal.gateway.clients import Grant, NotGranted
from shoal.gateway.form import Form
from shoal.gateway.wants import Wants, in_form, in_session, preference, said, wait_ms
from shoal.ids import ClientId, NodeId
from shoal.wire.words import JobSpec
from shoal.work.lifecycle import Preference

HEADERS = {
    b"shoal-deadline-ms": b"5000",
    b"shoal-policy": b"cheapest",
    b"shoal-priority": b"low",
    b"shoal-region": b"eu",
    b"shoal-hedge": b"True",
    b"shoal-session": b"talk 1",
}
ALL = Wants(deadline_ms=5_000, policy="cheapest", priority="low", region="eu", hedge=True, session="talk 1")
GATEWAY, ANNA, BEN = NodeId("0xg"), ClientId("anna"), ClientId("ben")
CHAT = JobSpec("llm", "small", 10)


def test_nothing_said_is_nothing_wanted() -> None:
    assert said({}) == Wants()
    assert preference(Wants(), Grant()) == Preference()


def test_headers_and_fields_say_the_same() -> None:
    assert said(HEADERS) == ALL
    fields = {name.decode()[6:].replace("-", "_"): value.decode() for name, value in HEADERS.items()}
    assert said({}, in_form(Form(fields, {}))) == ALL


def test_a_header_counts_more_than_a_field() -> None:
    fields = Wants(priority="high", region="us", deadline_ms=1)
    wants = said({b"shoal-priority": b"low", b"shoal-deadline-ms": b"9"}, fields)
    assert (wants.priority, wants.region, wants.deadline_ms) == ("low", "us", 9)


@pytest.mark.parametrize(
    ("header", "value", "words"),
    [
        (b"shoal-priority", b"urgent", "high, normal, low, not 'urgent'"),
        (b"shoal-policy", b"x" * 65, "Shoal-Policy has at most 64"),
        (b"shoal-region", b"x" * 65, "Shoal-Region has at most 64"),
        (b"shoal-session", b"x" * 256, "Shoal-Session has at most 255"),
        (b"shoal-hedge", b"yes", "Shoal-Hedge is true or false"),
        (b"shoal-deadline-ms", b"-1", "Shoal-Deadline-Ms is a whole number"),
    ],
)
def test_a_header_that_cannot_be_meant_is_refused(header: bytes, value: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        said({header: value})


@pytest.mark.parametrize("fields", [{"hedge": "perhaps"}, {"deadline_ms": "soon"}, {"policy": "x" * 65}])
def test_a_field_that_cannot_be_meant_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(Refused, match="the form is not valid"):
        in_form(Form(fields, {}))


@pytest.mark.parametrize("wants", [Wants(nodes=2), Wants(gang=8)])
def test_a_gang_is_refused_and_told_what_to_do_instead(wants: Wants) -> None:
    with pytest.raises(Refused, match="as many jobs of one node each"):
        said({}, wants)


@pytest.mark.parametrize("wants", [Wants(nodes=1), Wants(gang=True), Wants(gang=False)])
def test_a_gang_of_one_is_a_job(wants: Wants) -> None:
    assert said({}, wants) == wants


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (b"wait=10", 10_000),
        (b"respond-async, wait=10", 10_000),
        (b'Wait = "7"; strict', 7_000),
        (b"return=minimal", 0),
        (b"wait=soon", 0),
        (b"await=5", 0),
        (b"wait=-1", 0),
        (b"wait=99999999999", 0),
    ],
)
def test_what_is_preferred_is_heeded_if_it_is_understood(value: bytes, ms: int) -> None:
    assert wait_ms({b"prefer": value}) == ms


def test_a_preference_is_what_was_wanted_and_what_is_granted() -> None:
    assert preference(ALL, Grant(weight=3)) == Preference("cheapest", "low", 3, "eu", True)
    with pytest.raises(NotGranted):
        preference(Wants(priority="high"), Grant(priority_max="normal"))


def test_a_session_is_its_clients_alone_and_its_name_is_nobodys() -> None:
    spec = in_session(CHAT, GATEWAY, ANNA, "talk 1")
    assert len(spec.session) == 32
    assert "talk" not in spec.session
    assert spec == in_session(CHAT, GATEWAY, ANNA, "talk 1")
    others = [
        in_session(CHAT, GATEWAY, BEN, "talk 1"),
        in_session(CHAT, GATEWAY, ANNA, "talk 2"),
        in_session(CHAT, NodeId("0xh"), ANNA, "talk 1"),
        in_session(JobSpec("llm", "large", 10), GATEWAY, ANNA, "talk 1"),
        in_session(JobSpec("echo", "small", 10), GATEWAY, ANNA, "talk 1"),
    ]
    assert len({spec.session, *(other.session for other in others)}) == 6


def test_where_nothing_is_used_again_there_is_no_session() -> None:
    assert in_session(CHAT, GATEWAY, ANNA, "") == CHAT
    picture = JobSpec("text-to-image", "m", 10)
    assert in_session(picture, GATEWAY, ANNA, "talk 1") == picture
