"""Both sides count a request alike, whatever it is; and no order pays for less than its request comes to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import Refused
from shoal.gateway.requests import ask
from shoal.ids import Digest, JobId, NodeId
from shoal.money.wei import Price
from shoal.wire.codec import decode_payload, units_wanted
from shoal.wire.pipelines import PIPELINES
from shoal.wire.requests import LlmRequest, Message, TextPart
from shoal.wire.words import Media
from shoal.work.receipt import Terms

texts = st.text(max_size=200)
some_text = st.text(min_size=1, max_size=200)
parts = st.lists(st.builds(TextPart, text=texts), max_size=3).map(tuple)
roles = st.sampled_from(("system", "developer", "user", "assistant"))
tokens = st.none() | st.integers(1, 8_192)

#: What a request of each pipeline may be, in the fields that are counted.
FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "llm": {
        "messages": st.lists(
            st.builds(Message, role=roles, content=texts | parts), min_size=1, max_size=4
        ).map(tuple),
        "max_tokens": tokens,
        "max_completion_tokens": tokens,
        "stream": st.booleans(),
    },
    "text-to-speech": {"text": some_text},
    "embeddings": {"input": some_text | st.lists(some_text, min_size=1, max_size=4).map(tuple)},
    "echo": {"text": texts, "units": st.integers(1, 100_000), "stream": st.booleans()},
    "text-to-image": {
        "prompt": some_text,
        "width": st.integers(16, 2_048),
        "height": st.integers(16, 2_048),
        "num_inference_steps": st.integers(1, 200),
        "num_images_per_prompt": st.integers(1, 10),
    },
    "image-to-image": {
        "num_inference_steps": st.integers(1, 200),
        "num_images_per_prompt": st.integers(1, 10),
        "strength": st.floats(0, 1),
    },
    "image-to-video": {
        "width": st.integers(8, 256).map(lambda n: 8 * n),
        "height": st.integers(8, 256).map(lambda n: 8 * n),
        "num_frames": st.integers(2, 240),
    },
    "upscale": {"factor": st.integers(2, 4)},
    "segment-anything-2": {},
    "image-to-text": {},
    "audio-to-text": {},
}


def test_every_pipeline_is_counted_here() -> None:
    assert FIELDS.keys() == PIPELINES.keys()


@pytest.mark.parametrize("name", PIPELINES)
@given(data=st.data())
def test_gateway_and_orchestrator_count_alike(name: str, data: st.DataObject) -> None:
    row = PIPELINES[name]
    request = row.request(**{field: data.draw(values) for field, values in FIELDS[name].items()})
    media = tuple(Media(field.field, "x/y", b"x") for field in row.media)
    measures = tuple(data.draw(st.integers(1, 16_777_216)) for _ in row.media)
    asked = ask(row, request, media, measures)
    sent = msgspec.json.decode(decode_payload(asked.body).params, type=row.request)
    assert row.units_max(sent, measures) == asked.spec.units_max > 0
    assert units_wanted(asked.spec, asked.body) == (None if row.media else asked.spec.units_max)


@given(st.lists(st.builds(Message, role=roles, content=texts), min_size=1, max_size=4).map(tuple), tokens)
def test_a_chat_holds_for_more_than_any_reader_can_make_of_it(
    messages: tuple[Message, ...], most: int | None
) -> None:
    """The worst of tokenizers makes a token of each byte, and templates add their marks and the role's name."""
    worst = sum(len(message.content.encode()) + len(message.role) + 6 for message in messages) + 40
    asked = ask(PIPELINES["llm"], LlmRequest(messages=messages, max_tokens=most))
    assert asked.spec.units_max >= worst + (most or 256)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**12), st.integers(1, 10**6))
def test_what_is_charged_is_what_was_made_and_never_more_than_was_held(
    made: int, most: int, wei: int, per_units: int
) -> None:
    price = Price(wei, per_units)
    spec = msgspec.structs.replace(ask(PIPELINES["echo"], PIPELINES["echo"].request()).spec, units_max=most)
    terms = Terms(JobId("j"), 1, NodeId("o"), spec, price, Digest("r"))
    receipt = terms.receipt(NodeId("w"), made, Digest("a"), 1)
    assert receipt.units == min(made, most)
    assert receipt.wei == price.cost(receipt.units) <= price.cost(most)
    assert terms.fits(receipt, made, Digest("a"), 1)


def test_an_empty_chat_is_refused_before_it_is_counted() -> None:
    with pytest.raises((Refused, msgspec.ValidationError)):
        msgspec.convert({"messages": []}, LlmRequest)
