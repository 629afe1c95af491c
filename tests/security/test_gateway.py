"""A gateway cannot be abused: strangers stay out, each sees its own, and what is refused leaves no trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from shoal.errors import Refused
from shoal.gateway.config import Settings
from shoal.gateway.service import Service
from shoal.runtime.hall import Limits
from shoal.units import MIB
from shoal.wire import words
from shoal.wire.pipelines import PIPELINES
from stage import HELLO, Attempt, Seller, Stage, gateway, wav

pytestmark = pytest.mark.anyio

KEYS = ("alice's key", "bob's key")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with gateway(tmp_path) as stage:
        yield stage


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def deep(levels: int) -> bytes:
    return b'{"messages": ' + b"[" * levels + b"]" * levels + b"}"


def sound(data: bytes, field: str = "audio") -> dict[str, Any]:
    return {"files": {field: ("talk.wav", data, "audio/wav")}}


#: What is refused, as (method and path, what is sent, status, code).
REFUSED: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "no JSON": ("/llm", {"content": b"{nonsense"}, 400, "refused"),
    "no UTF-8": ("/echo", {"content": b'{"text": "\xff"}'}, 400, "refused"),
    "an empty body": ("/llm", {"content": b""}, 400, "refused"),
    "a missing field": ("/llm", {"json": {}}, 400, "refused"),
    "a wrong type": ("/echo", {"json": {"text": 7}}, 400, "refused"),
    "a number out of bounds": ("/llm", {"json": {**HELLO, "temperature": 9}}, 400, "refused"),
    "deep JSON": ("/llm", {"content": deep(100_000)}, 400, "refused"),
    "deep JSON in a field that is not read": (
        "/echo",
        {"content": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"},
        400,
        "refused",
    ),
    "deep JSON in a job": (
        "/v1/jobs",
        {"content": b'{"pipeline": "llm", "params": ' + deep(100_000) + b"}"},
        400,
        "refused",
    ),
    "an unknown model": ("/llm", {"json": {**HELLO, "model": "gpt-9"}}, 404, "unknown_model"),
    "an unknown pipeline": ("/poetry", {"json": {}}, 404, "not_found"),
    "a job of an unknown pipeline": ("/v1/jobs", {"json": {"pipeline": "x"}}, 404, "not_found"),
    "a job that wants a file": ("/v1/jobs", {"json": {"pipeline": "audio-to-text"}}, 400, "refused"),
    "a text sent as sound": ("/audio-to-text", sound(b"To be, or not to be" * 100), 415, "wrong_media"),
    "half a sound": ("/audio-to-text", sound(wav(1_000)[:30]), 415, "wrong_media"),
    "an empty file": ("/audio-to-text", sound(b""), 400, "refused"),
    "a file of another name": ("/audio-to-text", sound(wav(100), "video"), 400, "refused"),
    "no file": ("/audio-to-text", {"data": {"model_id": ""}, "files": {"x": b""}}, 400, "refused"),
    "JSON instead of a form": ("/audio-to-text", {"json": {}}, 400, "refused"),
    "a sound that is too long": ("/audio-to-text", sound(wav(601_000, 1_000)), 413, "too_large"),
    "a large body": ("/llm", {"content": bytes(100 * MIB)}, 413, "too_large"),
    "a key without end": ("/echo", {"json": {}, "headers": {"idempotency-key": "k" * 300}}, 400, "refused"),
    "a deadline that is none": (
        "/echo",
        {"json": {}, "headers": {"shoal-deadline-ms": "soon"}},
        400,
        "refused",
    ),
    "a negative deadline": ("/v1/jobs", {"json": {"pipeline": "echo", "deadline_ms": -1}}, 400, "refused"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_is_said_clearly_and_leaves_no_trace(stage: Stage, case: str) -> None:
    path, sent, status, code = REFUSED[case]
    before = stage.facts
    reply = await stage.client.post(path, **sent)
    assert reply.status_code == status
    said = reply.json()
    assert said["error"]["code"] == code
    assert said["error"]["message"] == said["detail"]["msg"]
    assert "\n" not in said["error"]["message"]
    assert stage.facts == before
    assert not stage.service.machine.jobs


async def test_an_unknown_model_is_refused_with_the_list(stage: Stage) -> None:
    reply = await stage.client.post("/llm", json={**HELLO, "model": "gpt-9"})
    assert PIPELINES["llm"].default_model in reply.json()["detail"]["msg"]


async def test_a_body_without_end_is_answered_at_the_limit_and_then_cut_off(stage: Stage) -> None:
    before = stage.facts
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.service.port)
    writer.write(b"POST /llm HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def send_without_end() -> None:
        while True:
            writer.write(b"100000\r\n" + bytes(MIB) + b"\r\n")
            await writer.drain()

    sending = asyncio.create_task(send_without_end())
    assert await reader.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    with pytest.raises(ConnectionError):
        await sending
    writer.close()
    assert stage.facts == before


async def test_a_head_without_end_is_cut_off(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.service.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nx: ")

    async def send_without_end() -> None:
        while True:
            writer.write(b"y" * 10_000)
            await writer.drain()

    sending = asyncio.create_task(send_without_end())
    async with asyncio.timeout(10):
        assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        with pytest.raises(ConnectionError):
            await sending
    writer.close()


async def test_what_is_no_http_is_told_so_in_the_shapes_that_clients_parse(stage: Stage) -> None:
    for head in (b"\x16\x03\x01 hello", b"POST /llm HTTP/1.1\r\nContent-Length: -5"):
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.service.port)
        writer.write(head + b"\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        assert b"content-type: application/json" in await reader.readuntil(b"\r\n\r\n")
        told = msgspec.json.decode(await reader.readuntil(b"}}"))
        assert told["detail"]["msg"] == told["error"]["message"] != ""
        writer.close()


async def test_a_head_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal.runtime.http.LIMITS", Limits(head_s=0.05))
    async with gateway(tmp_path) as stage:
        for begun in (b"", b"GET /health HTT", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea"):
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.service.port)
            writer.write(begun)
            async with asyncio.timeout(10):
                await reader.read()
            writer.close()
        assert (await stage.client.get("/health")).status_code == 200


async def test_with_keys_only_their_owners_come_in(tmp_path: Path) -> None:
    async with gateway(tmp_path, api_keys=KEYS) as stage:
        for headers in ({}, bearer("eve's key"), {"authorization": "Basic x"}, {"authorization": "Bearer"}):
            for method, path in [
                ("POST", "/echo"),
                ("GET", "/v1/jobs"),
                ("GET", "/v1/network"),
                ("GET", "/v1/models"),
            ]:
                reply = await stage.client.request(method, path, headers=headers)
                assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert (await stage.client.post("/echo", json={}, headers=bearer(KEYS[0]))).status_code == 200
        assert (await stage.client.get("/health")).status_code == 200


@pytest.mark.parametrize("api_keys", [(), KEYS])
async def test_a_client_sees_its_own_jobs_alone(tmp_path: Path, api_keys: tuple[str, ...]) -> None:
    async with gateway(tmp_path, api_keys=api_keys) as stage:
        alice, bob = (bearer(key) for key in KEYS)
        name = (await stage.client.post("/echo", json={}, headers=alice)).headers["shoal-job-id"]
        assert (await stage.client.get(f"/v1/jobs/{name}", headers=alice)).status_code == 200
        for method, path in [
            ("GET", f"/v1/jobs/{name}"),
            ("GET", f"/v1/jobs/{name}/events"),
            ("GET", f"/v1/jobs/{name}/result"),
            ("GET", f"/v1/jobs/{name}/receipt"),
            ("POST", f"/v1/jobs/{name}/cancel"),
            ("DELETE", f"/v1/jobs/{name}"),
        ]:
            reply = await stage.client.request(method, path, headers=bob)
            assert reply.status_code == 404
            unknown = await stage.client.request(method, path.replace(name, "job_0"), headers=bob)
            assert (
                reply.json()["error"]["message"].replace(name, "job_0") == unknown.json()["error"]["message"]
            )
        assert (await stage.client.get("/v1/jobs", headers=bob)).json() == {"jobs": []}


async def test_two_clients_may_use_the_same_idempotency_key(stage: Stage) -> None:
    for key, text in zip(KEYS, ("a", "b"), strict=True):
        headers = {**bearer(key), "idempotency-key": "k"}
        assert (await stage.client.post("/echo", json={"text": text}, headers=headers)).json()["text"] == text


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"host": "evil.example:9935"}])
async def test_a_page_from_elsewhere_cannot_use_an_open_gateway(
    stage: Stage, headers: dict[str, str]
) -> None:
    before = stage.facts
    reply = await stage.client.post("/echo", json={}, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "foreign_page")
    assert stage.facts == before


async def test_a_gateway_without_keys_listens_on_this_computer_only(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="set API keys"):
        Service(Settings(home=str(tmp_path), http_addr="0.0.0.0:0"))
    service = Service(Settings(home=str(tmp_path), http_addr="0.0.0.0:0", api_keys=KEYS))
    await service.start()
    async with httpx.AsyncClient() as client:
        reply = await client.get(f"http://127.0.0.1:{service.port}/health")
    assert reply.status_code == 503
    await service.stop()


async def test_a_workers_word_never_decides_what_a_browser_runs(stage: Stage) -> None:
    reply = await stage.client.post("/text-to-speech", json={"text": "a"}, headers={"accept": "audio/*"})
    assert reply.headers["content-type"] == "audio/wav"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_that_is_none_is_said_to_be_none_and_not_paid(tmp_path: Path, stream: bool) -> None:
    async def script(attempt: Attempt) -> words.Payload:
        return words.Payload(b'{"choices": []}')

    async with gateway(tmp_path, Seller(script)) as stage:
        reply = await stage.client.post("/v1/chat/completions", json={**HELLO, "stream": stream})
        assert (reply.status_code, reply.json()["error"]["code"]) == (500, "failed")
        [job] = (await stage.client.get("/v1/jobs")).json()["jobs"]
        assert job["charged_wei"] == 0


async def test_a_chat_that_claims_more_than_it_says_is_not_paid(tmp_path: Path) -> None:
    class Greedy(Seller):
        def _worth(self, order: words.Job, answer: words.Payload) -> int:
            return order.spec.units_max

    async with gateway(tmp_path, Greedy()) as stage:
        reply = await stage.client.post("/llm", json=HELLO)
        assert (reply.status_code, "claimed for what is worth" in reply.text) == (500, True)
        [job] = (await stage.client.get("/v1/jobs")).json()["jobs"]
        assert (job["state"], job["charged_wei"]) == ("failed", 0)


async def test_a_stream_that_claims_more_than_it_says_is_shown_and_paid_to_nobody(tmp_path: Path) -> None:
    async def script(attempt: Attempt) -> words.Payload:
        attempt.say("Hello ", offset=0, units=10_000)
        await attempt.seen.wait()
        raise AssertionError

    async with gateway(tmp_path, Seller(script)) as stage:
        reply = await stage.client.post("/llm", json={**HELLO, "stream": True})
        assert (reply.status_code, "claimed for what is worth" in reply.text) == (500, True)
        [job] = (await stage.client.get("/v1/jobs")).json()["jobs"]
        assert (job["state"], job["charged_wei"], job["units"]) == ("failed", 0, 0)


async def test_a_queue_that_is_full_says_when_to_come_back(tmp_path: Path) -> None:
    async def held(attempt: Attempt) -> words.Payload:
        await asyncio.Event().wait()
        raise AssertionError

    async with gateway(tmp_path, Seller(held, slots=1)) as stage:
        most = stage.service.machine.rules.queue_jobs_per_client_max
        for _ in range(most + 1):
            assert (await stage.client.post("/v1/jobs", json={"pipeline": "echo"})).status_code == 202
        before = stage.facts
        reply = await stage.client.post("/v1/jobs", json={"pipeline": "echo"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "busy")
        assert int(reply.headers["retry-after"]) >= 1
        assert stage.facts == before
