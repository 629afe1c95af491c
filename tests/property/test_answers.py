"""What an answer may claim: no honest one is ever refused, and none is paid for more than can be in it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import Failed
from shoal.gateway.requests import ask
from shoal.ids import JobId
from shoal.orchestrator.relay import Relay
from shoal.wire.codec import encode_payload
from shoal.wire.count import UNSAID_TOKENS, answer_worth, flaw, worth
from shoal.wire.pipelines import PIPELINES
from shoal.wire.requests import ImageToImageRequest, LlmRequest, Message, TextToImageRequest
from shoal.wire.words import JobSpec, Media, Payload, Progress
from shoal.work.stream import Stream
from shoal.worker import translation

texts = st.text(max_size=60) | st.text("😀é\n x", max_size=60)
tokens = st.integers(1, 400)


def chat_spec(question: str, tokens_max: int) -> JobSpec:
    request = LlmRequest(messages=(Message("user", question),), max_tokens=tokens_max, stream=True)
    return ask(PIPELINES["llm"], request).spec


def chat(text: str, **more: Any) -> Payload:
    message = {"role": "assistant", "content": text, **more}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    value = {"id": "c", "model": "m", "created": 1, "usage": usage, "choices": [choice]}
    return Payload(json.dumps(value).encode())


@given(texts, tokens, texts, st.integers(0, 2_000))
def test_what_a_worker_claims_is_never_refused_and_one_unit_more_is(
    question: str, most: int, text: str, counted: int
) -> None:
    spec, answer = chat_spec(question, most), chat(text)
    units = translation.claim(spec, answer, counted)
    assert units == min(counted, answer_worth(spec, answer))
    assert flaw(spec, units, encode_payload(answer)) == ""
    assert flaw(spec, spec.units_max, encode_payload(chat("x" * most))) == ""
    if (limit := answer_worth(spec, answer)) < spec.units_max:
        assert "claimed for what is worth" in flaw(spec, limit + 1, encode_payload(answer))


@given(texts, texts, texts, st.integers(0, UNSAID_TOKENS - 1))
def test_the_most_that_a_reader_of_bytes_can_make_is_worth_it(
    question: str, text: str, beyond: str, stop_bytes: int
) -> None:
    """A token a byte, a dozen marks a message, one token for the end, and a stop word that is cut off."""
    made = len(question.encode()) + 12 + 40 + len(text.encode()) + 1 + stop_bytes
    spec = chat_spec(question, len(text.encode()) + 1 + stop_bytes)
    assert translation.claim(spec, chat(text), made) == made
    assert translation.claim(spec, chat("", reasoning_content=text), made) == made


def events(pieces: list[tuple[str, int]]) -> bytes:
    """A runner's stream: pieces of text, and the tokens that it counts with each."""
    said = [
        {"choices": [{"delta": {"content": text}}], "usage": {"completion_tokens": counted}}
        for text, counted in pieces
    ]
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in said)


@given(
    texts,
    tokens,
    st.lists(st.tuples(texts, st.integers(0, 600)), max_size=12),
    st.sets(st.integers(0, 11)),
)
def test_a_streamed_claim_is_never_refused_whatever_is_counted_or_lost(
    question: str, most: int, pieces: list[tuple[str, int]], lost: set[int]
) -> None:
    spec = chat_spec(question, most)
    assembly = translation.Assembly(spec)
    words = [
        Progress(JobId("job"), 1, piece.units, piece.offset, piece.text)
        for piece in assembly.feed(events(pieces))
    ]
    relay, late, stream = Relay(64), Relay(64), Stream()
    for number, word in enumerate(words):
        assert relay.overclaim(spec, word) == ""
        assert stream.overclaim(spec, word) == ""
        stream.hear(word)
        if number not in lost:  # as after a restart: what came before was never heard
            assert late.overclaim(spec, word) == ""


@given(texts, tokens, st.lists(texts, min_size=1, max_size=8), st.integers(1, 50))
def test_a_stream_that_claims_more_than_its_text_is_refused_by_both_sides(
    question: str, most: int, pieces: list[str], more: int
) -> None:
    spec = chat_spec(question, most)
    relay, stream, text = Relay(64), Stream(), ""
    for piece in pieces:
        limit = worth(spec, len((text + piece).encode()))
        honest = Progress(JobId("job"), 1, limit, len(text), piece)
        if limit < spec.units_max:
            false = msgspec.structs.replace(honest, units=limit + more)
            assert "are claimed for what is worth" in stream.overclaim(spec, false)
            again = Relay(64)
            again.overclaim(spec, Progress(JobId("job"), 1, 0, 0, text))
            assert again.overclaim(spec, false) != ""
        assert stream.overclaim(spec, honest) == relay.overclaim(spec, honest) == ""
        stream.hear(honest)
        text += piece


@pytest.mark.parametrize("name", ["text-to-speech", "image-to-video", "upscale"])
def test_a_file_that_did_not_come_is_worth_nothing(name: str) -> None:
    row = PIPELINES[name]
    request = row.request(text="Hello.") if name == "text-to-speech" else row.request()
    media = tuple(Media(field.field, "x/y", b"x") for field in row.media)
    spec = ask(row, request, media, (100,) * len(media)).spec
    assert flaw(spec, spec.units_max, encode_payload(drawn(["0.png"], 1))) == ""
    assert "is worth 0 at most" in flaw(spec, 1, encode_payload(Payload(b"{}")))


def test_a_text_that_is_said_again_is_worth_no_more() -> None:
    spec, relay = chat_spec("hello", 200), Relay(64)
    for _ in range(50):
        relay.overclaim(spec, Progress(JobId("job"), 1, 0, 0, "again "))
    assert relay.overclaim(spec, Progress(JobId("job"), 1, worth(spec, 6), 0, "again ")) == ""
    assert relay.overclaim(spec, Progress(JobId("job"), 1, worth(spec, 6) + 1, 0, "again ")) != ""


@pytest.mark.parametrize(
    "params",
    [
        b"",
        b'"text"',
        b"{}",
        b'{"choices": []}',
        b'{"id": "c", "model": "m", "created": 1, "usage": {}, "choices": [{"message": {"content": null}}]}',
        b'{"id": "c", "model": "m", "created": 1, "usage": {}, "choices": [{"message": {"content": "\\ud800"}}]}',
    ],
)
def test_a_chat_that_is_none_is_no_answer(params: bytes) -> None:
    spec = chat_spec("hello", 9)
    assert "not of its pipeline's form" in flaw(spec, 1, encode_payload(Payload(params)))
    with pytest.raises(Failed, match="cannot be used"):
        translation.claim(spec, Payload(params), 1)


def drawn(names: list[str], files: int) -> Payload:
    images = [{"url": name, "seed": 1, "nsfw": False} for name in names]
    media = tuple(Media(f"{n}.png", "image/png", b"p") for n in range(files))
    return Payload(msgspec.json.encode({"images": images}), media)


@given(st.integers(1, 10), st.integers(1, 3), st.integers(0, 12), st.booleans())
def test_of_several_pictures_those_are_worth_something_that_came(
    each: int, prompts: int, came: int, redrawn: bool
) -> None:
    if redrawn:
        media = (Media("image", "image/png", b"p"),)
        request = ImageToImageRequest(num_images_per_prompt=each)
        spec, wanted = ask(PIPELINES["image-to-image"], request, media, (100,)).spec, each
    else:
        text = "|".join(["a cat"] * prompts)
        spec = ask(
            PIPELINES["text-to-image"], TextToImageRequest(prompt=text, num_images_per_prompt=each)
        ).spec
        wanted = each * prompts
    answer = drawn([f"{n}.png" for n in range(came)], came)
    assert answer_worth(spec, answer) * wanted == spec.units_max * min(came, wanted)
    assert (flaw(spec, spec.units_max, encode_payload(answer)) == "") == (came >= wanted)
    twice = drawn(["0.png"] * came, 1)
    assert answer_worth(spec, twice) * wanted == spec.units_max * min(came, 1)
    if came:
        assert flaw(spec, 0, encode_payload(drawn(["9.png"], 1))) != ""
