"""Requests that mean the same have the same bytes, and cost what they can come to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shoal.errors import Refused
from shoal.gateway.requests import BODY_BYTES_MAX, READERS, Ask, ask, read_fields
from shoal.wire.codec import decode_payload
from shoal.wire.pipelines import PIPELINES
from shoal.wire.words import Media

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def asked(pipeline: str, request: dict[str, Any]) -> Ask:
    return ask(PIPELINES[pipeline], READERS[pipeline].read(msgspec.json.encode(request)))


def params(found: Ask) -> Any:
    return msgspec.json.decode(decode_payload(found.body).params)


@pytest.mark.parametrize(
    ("pipeline", "short", "long"),
    [
        (
            "llm",
            HELLO,
            {**HELLO, "model": "", "temperature": 0.7, "top_p": 1.0, "top_k": -1, "max_tokens": 256},
        ),
        (
            "llm",
            HELLO,
            {**HELLO, "max_tokens": None, "stop": None, "seed": None, "stream": False, "user": "me"},
        ),
        ("llm", HELLO, {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}),
        ("llm", {**HELLO, "max_tokens": 9}, {**HELLO, "max_completion_tokens": 9}),
        ("llm", {**HELLO, "seed": 1}, {**HELLO, "seed": 2**32 + 1}),
        ("echo", {}, {"text": "", "model": "echo", "units": 1, "sleep_ms": 0}),
        ("text-to-speech", {"text": "a"}, {"text": "a", "description": "", "model_id": ""}),
    ],
)
def test_what_says_nothing_is_left_away(pipeline: str, short: dict[str, Any], long: dict[str, Any]) -> None:
    assert asked(pipeline, short) == asked(pipeline, long)


@pytest.mark.parametrize("change", [{"temperature": 0.8}, {"seed": 1}, {"stream": True}, {"model": "other"}])
def test_what_says_something_is_kept(change: dict[str, Any]) -> None:
    found = asked("llm", {**HELLO, **change})
    assert found != asked("llm", HELLO)
    assert params(found).items() >= change.items()


SYSTEM = {"role": "system", "content": "be short"}
TURNS = [
    SYSTEM,
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": "go on"},
]


def test_the_turns_of_a_conversation_begin_alike() -> None:
    first, second = (asked("llm", {"messages": TURNS[:n], "max_tokens": n}).session for n in (2, 4))
    assert first == second != ""


@pytest.mark.parametrize("messages", [TURNS[1:], [SYSTEM, {"role": "user", "content": "hullo"}], [SYSTEM]])
def test_other_conversations_begin_otherwise(messages: list[dict[str, Any]]) -> None:
    assert asked("llm", {"messages": messages}).session != asked("llm", {"messages": TURNS}).session


def test_a_conversation_may_be_named_and_its_name_stays_here() -> None:
    named = asked("llm", {"messages": TURNS, "prompt_cache_key": "talk"})
    plain = asked("llm", {"messages": TURNS})
    assert (named.session, named.body) == ("talk", plain.body)
    # Whose conversation it is does not say how it begins.
    assert asked("llm", {"messages": TURNS, "user": "me"}) == plain


def test_only_conversations_begin_alike_by_themselves() -> None:
    assert {asked(name, {"text": "a"}).session for name in ("echo", "text-to-speech")} == {""}


def test_the_model_is_always_named() -> None:
    for row in PIPELINES.values():
        if not row.media:
            found = ask(row, READERS[row.name].read(row.example.encode()))
            assert params(found)[row.model_field] == found.spec.model == row.default_model


@pytest.mark.parametrize(
    ("pipeline", "request_", "units"),
    [
        ("llm", HELLO, 64 + 16 + 5 + 256),
        ("llm", {**HELLO, "max_tokens": 5}, 64 + 16 + 5 + 5),
        ("text-to-speech", {"text": "four"}, 4),
        ("echo", {"units": 3}, 3),
    ],
)
def test_units_are_the_most_that_a_request_can_come_to(
    pipeline: str, request_: dict[str, Any], units: int
) -> None:
    assert asked(pipeline, request_).spec.units_max == units


def test_files_go_along_untouched() -> None:
    row = PIPELINES["audio-to-text"]
    media = Media("audio", "audio/wav", b"sound")
    found = ask(row, read_fields(row, {"return_timestamps": "word"}), (media,), (1_234,))
    assert decode_payload(found.body).media == (media,)
    assert found.spec.units_max == 1_234


def test_a_form_of_wrong_fields_is_refused() -> None:
    with pytest.raises(Refused, match="return_timestamps"):
        read_fields(PIPELINES["audio-to-text"], {"return_timestamps": "often"})


def test_every_pipeline_has_a_largest_body() -> None:
    for row in PIPELINES.values():
        assert BODY_BYTES_MAX[row.name] >= row.params_bytes_max + sum(field.bytes_max for field in row.media)
