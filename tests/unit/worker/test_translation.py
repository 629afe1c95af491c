"""What runners say, taken apart: files out of JSON once and for all, steps out of events, and lies refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from shoal.errors import Failed
from shoal.ids import JobId
from shoal.wire.pipelines import PIPELINES
from shoal.wire.references import DEPTH_MAX, with_urls
from shoal.wire.words import Media, Payload
from shoal.worker import translation

DRAW = PIPELINES["text-to-image"]
SPEAK = PIPELINES["text-to-speech"]
UPSCALE = PIPELINES["upscale"]


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def said(*urls: str) -> bytes:
    return json.dumps({"images": [{"url": url, "seed": 3, "nsfw": True} for url in urls]}).encode()


def test_files_inside_an_answer_become_bytes_beside_it() -> None:
    answer = translation.answer(DRAW, "application/json", said(data_url(b"one"), data_url(b"two")))
    assert answer.media == (Media("0.png", "image/png", b"one"), Media("1.png", "image/png", b"two"))
    images = json.loads(answer.params)["images"]
    assert [image["url"] for image in images] == ["0.png", "1.png"]
    assert images[0] == {"url": "0.png", "seed": 3, "nsfw": True}


def test_a_bare_file_gets_the_json_of_livepeers_api() -> None:
    answer = translation.answer(SPEAK, "audio/wav", b"sound")
    assert json.loads(answer.params) == {"audio": {"url": "0.wav"}}
    assert answer.media == (Media("0.wav", "audio/wav", b"sound"),)
    drawn = translation.answer(DRAW, "image/png", b"picture")
    assert json.loads(drawn.params) == {"images": [{"url": "0.png", "seed": 0, "nsfw": False}]}


def test_json_without_files_passes_byte_for_byte() -> None:
    body = b'{"text" : "hi", "url": "http://in-a-text"}'
    assert translation.answer(PIPELINES["image-to-text"], "application/json", body) == Payload(body)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (said("http://elsewhere/x.png"), "where it promises image/png"),
        (said(data_url(b"<svg/>", "image/svg+xml")), "where it promises image/png"),
        (said("data:image/png;base64,!!!"), "cannot be read"),
        (b'{"images": []}', "holds no image/png"),
        (b'{"images"', "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
    ],
    ids=["an address", "another type", "not base64", "no file", "cut off", "too deep"],
)
def test_an_answer_that_is_none_is_a_fault(body: bytes, told: str) -> None:
    with pytest.raises(Failed, match=told):
        translation.answer(DRAW, "application/json", body)


def test_only_so_deep_is_looked() -> None:
    deep: Any = {"url": "x"}
    for _ in range(DEPTH_MAX):
        deep = [deep]
    assert with_urls(deep, str.upper) == deep
    assert with_urls(deep[0], str.upper) != deep[0]


def test_a_form_leaves_out_what_is_not_there_and_draws_a_seed_for_the_job() -> None:
    params = b'{"prompt": "", "seed": null, "factor": 2}'
    kind, body = translation.request(
        UPSCALE, JobId("job_1"), Payload(params, (Media("image", "image/png", b"x"),))
    )
    assert kind.startswith("multipart/form-data")
    assert b'name="seed"' not in body
    assert b'name="factor"\r\n\r\n2\r\n' in body
    _, drawn = translation.request(DRAW, JobId("job_1"), Payload(b'{"prompt": "x", "seed": null}'))
    assert json.loads(drawn)["seed"] == translation.seed(JobId("job_1"))


@pytest.mark.parametrize(
    ("params", "told"),
    [
        (b'{"messages": []}', {"seed": translation.seed(JobId("job_1")), "cache_prompt": True}),
        (b'{"messages": [], "seed": 0}', {"seed": 0}),
    ],
)
def test_what_was_read_before_is_used_again_unless_a_client_chose_the_seed(
    params: bytes, told: dict[str, object]
) -> None:
    _, body = translation.request(PIPELINES["llm"], JobId("job_1"), Payload(params))
    assert json.loads(body) == {"messages": []} | told


def stream(*events: object) -> bytes:
    return (
        b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    )


STEPS = stream(
    {"progress": {"done": 1, "of": 4}},
    {"progress": {"done": 2, "of": 4}},
    {"answer": {"images": [{"url": data_url(b"p"), "seed": 1, "nsfw": False}]}, "units": 77},
)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_steps_are_heard_however_their_bytes_come(size: int) -> None:
    steps = translation.Steps(400)
    heard = [steps.feed(STEPS[at : at + size]) for at in range(0, len(STEPS), size)]
    told = [units for units in heard if units is not None]
    assert told == ([200] if size == 10_000 else [100, 200])
    answer, units = steps.whole(DRAW)
    assert (answer.media[0].data, units) == (b"p", 77)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (stream({"progress": {"done": 1, "of": 2}}), "ended without an answer"),
        (stream({"progress": {"done": 1, "of": 2}}, {"error": "out of memory"}), "out of memory"),
        (stream([1]), "cannot be read"),
        (b"data: {\n\n", "cannot be read"),
    ],
)
def test_steps_without_an_end_are_a_fault(events: bytes, told: str) -> None:
    steps = translation.Steps(10)
    steps.feed(events)
    with pytest.raises(Failed, match=told):
        steps.whole(DRAW)


@pytest.mark.parametrize("stage", [{"done": 5, "of": 4}, {"done": -1, "of": 4}, {"done": 1, "of": 0}])
def test_a_step_that_makes_no_sense_says_nothing(stage: dict[str, int]) -> None:
    assert translation.Steps(100).feed(stream({"progress": stage})) is None
