"""Livepeer's own Python client is served, as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from livepeer_ai import Livepeer
from livepeer_ai.models import errors

from stage import ANSWER, HELLO, Stage, gateway, wav

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


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
    request = {"audio": {"file_name": "talk.wav", "content": sound}}
    heard = (await client.generate.audio_to_text_async(request=request)).text_response  # type: ignore[arg-type]
    assert heard is not None
    assert heard.text == f"{len(sound)} bytes"
    assert heard.chunks[0].timestamp == [0.0, 1.5]


async def test_text_to_speech(client: Livepeer, stage: Stage) -> None:
    said = (await client.generate.text_to_speech_async(request={"text": "hello"})).audio_response
    assert said is not None
    assert (await stage.client.get(said.audio.url)).content == wav(100)


async def test_errors_become_the_clients_own(client: Livepeer, stage: Stage) -> None:
    with pytest.raises(errors.HTTPError, match="messages"):
        await client.generate.llm_async(request={"messages": []})
    with pytest.raises(errors.SDKError) as unknown:
        await client.generate.llm_async(request={**HELLO, "model": "gpt-9"})
    assert unknown.value.status_code == 404
    stranger = Livepeer(http_bearer="none", server_url=stage.url, async_client=stage.client)
    with pytest.raises(errors.HTTPError, match="Bearer"):
        await stranger.generate.llm_async(request=HELLO)
