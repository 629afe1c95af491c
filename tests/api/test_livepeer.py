"""Livepeer's own Python client is served, as it is."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from livepeer_ai import Livepeer
from livepeer_ai.models import errors

from stage import ANSWER, HELLO, Stage, gateway, png, wav

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(autouse=True)
def clients_end_with_their_test() -> Iterator[None]:
    """Let the garbage go here: the SDK closes its clients in a thread when they are collected.

    If that happens while somebody else starts a thread, it waits for a lock that is held below it, for ever.
    """
    yield
    gc.collect()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with gateway(tmp_path, api_keys=("key",)) as stage:
        yield stage


@pytest.fixture
def client(stage: Stage) -> Livepeer:
    return Livepeer(http_bearer="key", server_url=stage.url, async_client=stage.client)


async def test_a_chat(client: Livepeer) -> None:
    said = (await client.generate.llm_async(request=HELLO)).llm_response
    assert said is not None
    assert said.choices[0].message is not None
    assert said.choices[0].message.content == ANSWER
    assert said.usage.total_tokens == 8


async def test_sound_to_text(client: Livepeer) -> None:
    sound = wav(500)
    request: Any = {"audio": {"file_name": "talk.wav", "content": sound}}
    heard = (await client.generate.audio_to_text_async(request=request)).text_response
    assert heard is not None
    assert heard.text == f"{len(sound)} bytes"
    assert heard.chunks[0].timestamp == [0.0, 1.5]


async def test_text_to_speech(client: Livepeer, stage: Stage) -> None:
    said = (await client.generate.text_to_speech_async(request={"text": "hello"})).audio_response
    assert said is not None
    assert (await stage.client.get(said.audio.url)).content == wav(100)


async def test_text_to_image(client: Livepeer, stage: Stage) -> None:
    request: Any = {"prompt": "a red heart", "num_images_per_prompt": 2}
    drawn = (await client.generate.text_to_image_async(request=request)).image_response
    assert drawn is not None
    assert [(image.seed, image.nsfw) for image in drawn.images] == [(7, False), (8, False)]
    assert (await stage.client.get(drawn.images[1].url)).content == png(11, 10)
    attempt = await stage.seller.attempts.get()
    # This client says all of its defaults, which are Livepeer's.
    assert attempt.order.spec.units_max == 1024 * 576 * 50 * 2


@pytest.mark.parametrize(
    ("method", "fields", "answer"),
    [
        ("image_to_image", {"prompt": "mosaic"}, "image_response"),
        ("image_to_video", {}, "video_response"),
        ("upscale", {"prompt": ""}, "image_response"),
    ],
)
async def test_pictures_from_a_picture(
    client: Livepeer, stage: Stage, method: str, fields: dict[str, str], answer: str
) -> None:
    image = {"file_name": "a.png", "content": png()}
    call = getattr(client.generate, f"{method}_async")
    made = getattr(await call(request={"image": image, **fields}), answer)
    assert (await stage.client.get(made.images[0].url)).content == png(10, 10)
    attempt = await stage.seller.attempts.get()
    assert attempt.order.spec.pipeline == method.replace("_", "-")
    assert attempt.media[0].data == png()


async def test_a_pictures_parts_and_words(client: Livepeer) -> None:
    image = {"file_name": "a.png", "content": png()}
    cut = await client.generate.segment_anything2_async(
        request=cast(Any, {"image": image, "point_coords": "[[5, 5]]", "point_labels": "[1]"})
    )
    assert cut.masks_response is not None
    assert cut.masks_response.scores == "[0.9]"
    said = await client.generate.image_to_text_async(request=cast(Any, {"image": image}))
    assert said.image_to_text_response is not None
    assert said.image_to_text_response.text == "a red rectangle"


async def test_errors_become_the_clients_own(client: Livepeer, stage: Stage) -> None:
    with pytest.raises(errors.HTTPError, match="messages"):
        await client.generate.llm_async(request={"messages": []})
    with pytest.raises(errors.SDKError) as unknown:
        await client.generate.llm_async(request=cast(Any, {**HELLO, "model": "gpt-9"}))
    assert unknown.value.status_code == 404
    stranger = Livepeer(http_bearer="none", server_url=stage.url, async_client=stage.client)
    with pytest.raises(errors.HTTPError, match="Bearer"):
        await stranger.generate.llm_async(request=HELLO)
