"""Both sides count a request alike, whatever it is; and no order pays for less than its request comes to."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from shoal.errors import Refused, ShoalError
from shoal.gateway.form import Form, read_form
from shoal.gateway.requests import Ask, ask, read_fields, read_files
from shoal.ids import Digest, JobId, NodeId
from shoal.money.wei import Price
from shoal.wire.codec import decode_payload, encode_payload
from shoal.wire.count import measure, objection
from shoal.wire.pipelines import PIPELINES, Pipeline
from shoal.wire.requests import LlmRequest, Message, TextPart
from shoal.wire.words import Media, Payload
from shoal.work.receipt import Terms
from shoal.worker import translation
from shoal.worker.pipelines.picture import decode
from stage import wav

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


def picture(width: int, height: int, kind: str, mode: str = "RGB", **more: Any) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((width, height), 90).convert(mode).save(out, kind, **more)
    return out.getvalue()


PICTURES = [
    picture(31, 17, "PNG"),
    picture(31, 17, "PNG", "P"),
    picture(9, 40, "PNG", "1"),
    picture(33, 21, "JPEG"),
    picture(33, 21, "JPEG", progressive=True),
    picture(20, 20, "WEBP"),
    picture(21, 20, "WEBP", lossless=True),
    picture(20, 22, "WEBP", exif=b"Exif\0\0" + bytes(20)),
    picture(12, 34, "GIF"),
    picture(12, 34, "GIF", comment=b"hello" * 100),
]
FILES: dict[str, st.SearchStrategy[bytes]] = {
    "image": st.sampled_from(PICTURES)
    | st.builds(
        picture, st.integers(1, 80), st.integers(1, 80), st.sampled_from(("PNG", "JPEG", "WEBP", "GIF"))
    ),
    "audio": st.builds(wav, st.integers(1, 900), st.sampled_from((8_000, 11_025, 16_000, 44_100))),
}


def form(row: Pipeline, request: Any, files: dict[str, bytes]) -> Form:
    """A form as a client sends it, and as it is read at the door."""
    params = msgspec.json.encode({k: v for k, v in msgspec.to_builtins(request).items() if v is not None})
    media = tuple(Media(name, "application/octet-stream", data) for name, data in files.items())
    return read_form(*translation.request(row, JobId("job"), Payload(params, media)))


def asked_of(row: Pipeline, request: Any, files: dict[str, bytes]) -> Ask:
    """What a gateway asks of the network for a request with these files."""
    if not row.media:
        return ask(row, request)
    said = form(row, request, files)
    media, measures = asyncio.run(read_files(row, said))
    return ask(row, read_fields(row, said.fields), media, measures)


@pytest.mark.parametrize("name", PIPELINES)
@settings(deadline=None)
@given(data=st.data())
def test_gateway_and_orchestrator_count_alike(name: str, data: st.DataObject) -> None:
    row = PIPELINES[name]
    request = row.request(**{field: data.draw(values) for field, values in FIELDS[name].items()})
    files = {
        field.field: data.draw(FILES[field.kind])
        for field in row.media
        if not field.optional or data.draw(st.booleans())
    }
    spec = (asked := asked_of(row, request, files)).spec
    assert spec.units_max > 0
    assert objection(spec, asked.body) is None
    more = msgspec.structs.replace(spec, units_max=spec.units_max + 1)
    assert objection(more, asked.body) is None
    less = objection(msgspec.structs.replace(spec, units_max=spec.units_max - 1), asked.body)
    assert less is not None
    assert f"this comes to {spec.units_max} units" in less.message
    for pieces in {0, spec.pieces_max - 1, spec.pieces_max, spec.pieces_max + 1} if spec.pieces_max else ():
        other = objection(msgspec.structs.replace(spec, pieces_max=pieces), asked.body)
        assert (other is None) == (pieces in (0, spec.pieces_max))


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """A picture of which some bytes are others, some are missing, and some are there twice."""
    data = bytearray(draw(st.sampled_from(PICTURES)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, min(len(data) - 1, 120)) | st.integers(0, len(data) - 1))
        match draw(st.sampled_from(("change", "cut", "drop", "repeat", "put"))):
            case "change":
                data[at] = draw(st.sampled_from((0, 1, 0x2C, 0xFF)) | st.integers(0, 255))
            case "cut" if at > 20:
                del data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 20))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case _:
                data[at:at] = draw(st.binary(max_size=20))
        if not data:
            return b""
    return bytes(data)


@settings(max_examples=1_500, deadline=None)
@given(hostile())
@example(PICTURES[0][:33] + PICTURES[2][8:33] + PICTURES[0][33:])  # a second head, of another size
def test_whatever_a_gateway_admits_is_counted_alike_and_decoded_to_no_more(data: bytes) -> None:
    field = PIPELINES["upscale"].media[0]
    try:
        kind, pixels = measure(field, data, whole=True)
    except ShoalError:
        return
    assert measure(field, data) == (kind, pixels)
    try:
        decoded = decode(data)
    except ShoalError:
        return
    assert decoded.shape[0] * decoded.shape[1] == pixels


SMALL, LARGE = picture(10, 10, "PNG"), picture(100, 90, "PNG")


@pytest.mark.parametrize(
    ("name", "media", "code", "told"),
    [
        ("upscale", [("image", LARGE)], "refused", "comes to 9000 units, and the order pays for 100"),
        ("upscale", [], "refused", "wants the file image"),
        ("upscale", [("image", SMALL)] * 2, "refused", "none of them twice"),
        ("upscale", [("image", SMALL), ("more", LARGE)], "refused", "takes no file named more"),
        ("upscale", [("image", SMALL[:25])], "wrong_media", "ends too early"),
        ("upscale", [("image", b"hello")], "wrong_media", "no picture"),
        ("upscale", [("image", picture(1_025, 1_024, "PNG", "1"))], "too_large", "1025 x 1024 pixels"),
        ("audio-to-text", [("audio", wav(200))], "refused", "comes to 200 units"),
        ("audio-to-text", [("audio", wav(200)[:30])], "wrong_media", "ends too early"),
        ("audio-to-text", [("audio", wav(600_500, 8))], "too_large", "the limit is 600 s"),
        ("image-to-video", [("image", SMALL), ("end_image", b"hello")], "wrong_media", "no picture"),
    ],
)
def test_an_order_with_other_files_than_it_pays_for_is_turned_away_with_whose_fault_it_is(
    name: str, media: list[tuple[str, bytes]], code: str, told: str
) -> None:
    row = PIPELINES[name]
    spec = asked_of(
        row, row.request(), {f.field: SMALL if f.kind == "image" else wav(100) for f in row.media}
    ).spec
    files = tuple(Media(field, "x/y", data) for field, data in media)
    found = objection(spec, encode_payload(Payload(b"{}", files)))
    assert found is not None
    assert (found.code, told in found.message) == (code, True), found


def test_an_order_that_its_runner_would_take_and_its_row_would_not_is_turned_away() -> None:
    asked = ask(PIPELINES["llm"], LlmRequest(messages=(Message("user", "hello"),)))
    params = decode_payload(asked.body).params.replace(b'"messages"', b'"max_tokens":1000000,"messages"')
    found = objection(asked.spec, encode_payload(Payload(params)))
    assert found is not None
    assert found.code == "refused"
    assert objection(asked.spec, b"no payload") is None
    assert objection(asked.spec, encode_payload(Payload(b"no JSON"))) is None


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
