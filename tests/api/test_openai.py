"""OpenAI's own Python client is served, as it is."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from shoal.wire import words
from shoal.wire.pipelines import PIPELINES
from stage import ANSWER, HELLO, Attempt, Seller, Stage, gateway, png, wav

pytestmark = pytest.mark.anyio

MODEL = PIPELINES["llm"].default_model


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with gateway(tmp_path, api_keys=("sk-1",)) as stage:
        yield stage


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{stage.url}/v1", api_key="sk-1", max_retries=0) as client:
        yield client


async def test_a_chat(client: AsyncOpenAI) -> None:
    said = await client.chat.completions.create(model="", **HELLO)
    assert said.choices[0].message.content == ANSWER
    assert said.choices[0].finish_reason == "stop"
    assert said.usage.total_tokens == 8
    assert said.model == MODEL


async def test_a_streamed_chat(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL, **HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.total_tokens == 8
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_chat_says_how_it_is_wanted(client: AsyncOpenAI, stage: Stage) -> None:
    said = await client.chat.completions.with_raw_response.create(
        model="", **HELLO, prompt_cache_key="talk", extra_headers={"Shoal-Priority": "low"}
    )
    job = stage.service.machine.jobs[said.headers["shoal-job-id"]]
    assert (job.preference.priority, len(job.spec.session)) == ("low", 32)
    with pytest.raises(openai.PermissionDeniedError, match="priority normal at most"):
        await client.chat.completions.create(model="", **HELLO, extra_headers={"Shoal-Priority": "high"})


async def test_what_breaks_a_stream_is_raised(tmp_path: Path) -> None:
    async def script(attempt: Attempt) -> words.Fault:
        attempt.say("One", offset=0, units=1)
        await attempt.acknowledged()
        return words.Fault("failed", "the model fell over")

    async with gateway(tmp_path, Seller(script)) as stage:
        client = AsyncOpenAI(base_url=f"{stage.url}/v1", api_key="any", max_retries=0)
        stream = await client.chat.completions.create(model="", **HELLO, stream=True)
        with pytest.raises(openai.APIError, match="the model fell over"):
            async for _ in stream:
                pass
        await client.close()


async def test_models(client: AsyncOpenAI) -> None:
    assert MODEL in [model.id async for model in client.models.list()]


async def test_speech(client: AsyncOpenAI) -> None:
    said = await client.audio.speech.create(input="hello", model="", voice="default", response_format="wav")
    assert said.content == wav(100)


async def test_a_transcription(client: AsyncOpenAI) -> None:
    sound = wav(300)
    heard = await client.audio.transcriptions.create(model="", file=("talk.wav", sound))
    assert heard.text == f"{len(sound)} bytes"
    plain = await client.audio.transcriptions.create(
        model="", file=("talk.wav", sound), response_format="text"
    )
    assert plain.strip() == heard.text
    whole = await client.audio.transcriptions.create(
        model="", file=("talk.wav", sound), response_format="verbose_json"
    )
    assert whole.segments is not None
    assert (whole.segments[0].start, whole.segments[0].end) == (0.0, 1.5)


async def test_errors_become_the_clients_own(client: AsyncOpenAI, stage: Stage) -> None:
    with pytest.raises(openai.NotFoundError, match=MODEL):
        await client.chat.completions.create(model="gpt-9", **HELLO)
    with pytest.raises(openai.BadRequestError, match="messages"):
        await client.chat.completions.create(model="", messages=[])
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-2").models.list()


async def test_pictures_by_address_or_inside_the_answer(client: AsyncOpenAI, stage: Stage) -> None:
    drawn = await client.images.generate(model="", prompt="a red heart", n=2, size="256x256")
    assert drawn.data is not None
    assert (await stage.client.get(str(drawn.data[1].url))).content == png(11, 10)
    attempt = await stage.seller.attempts.get()
    assert attempt.order.spec.units_max == 256 * 256 * 25 * 2
    inside = await client.images.generate(model="", prompt="x", response_format="b64_json")
    assert inside.data is not None
    assert base64.b64decode(str(inside.data[0].b64_json)) == png(10, 10)


async def test_a_picture_is_edited(client: AsyncOpenAI, stage: Stage) -> None:
    made = await client.images.edit(image=("a.png", png()), prompt="mosaic", response_format="b64_json")
    assert made.data is not None
    assert base64.b64decode(str(made.data[0].b64_json)) == png(10, 10)
    attempt = await stage.seller.attempts.get()
    assert attempt.order.spec.pipeline == "image-to-image"
    assert (attempt.params["prompt"], attempt.media[0].data) == ("mosaic", png())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": "9999x16"}, "size is not possible"),
        ({"size": "large"}, "WIDTHxHEIGHT"),
        ({"output_format": "webp"}, "as png only"),
        ({"background": "transparent"}, "opaque"),
        ({"n": 11}, "n"),
    ],
)
async def test_pictures_that_cannot_be_had_are_refused(
    client: AsyncOpenAI, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=told):
        await client.images.generate(**{"model": "", "prompt": "x", **change})


async def test_vectors(client: AsyncOpenAI, stage: Stage) -> None:
    found = await client.embeddings.create(model="", input=["a cat", "a kitten"])
    assert [row.embedding for row in found.data] == [[0.0, 0.5, -1.0], [1.0, 0.5, -1.0]]
    assert found.model == PIPELINES["embeddings"].default_model
    assert (await stage.seller.attempts.get()).order.spec.units_max == len("a cat" + "a kitten")
    plain = await client.embeddings.create(model="", input="a cat", encoding_format="float")
    assert plain.data[0].embedding == [0.0, 0.5, -1.0]
    with pytest.raises(openai.BadRequestError, match="input"):
        await client.embeddings.create(model="", input=[1, 2, 3])
