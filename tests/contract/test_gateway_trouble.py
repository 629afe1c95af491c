"""What a gateway's clients are told when things go wrong: at a runner, an orchestrator, the disk, or itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import msgspec
import pytest

from shoal.errors import Broken, Failed, Refused
from shoal.machine import Disconnected
from shoal.runtime.node import until_told_to_stop
from shoal.wire import words
from stage import ANSWER, HELLO, Attempt, Seller, Stage, chat, events, gateway, held, price

pytestmark = pytest.mark.anyio


async def test_a_runners_refusal_is_the_clients(tmp_path: Path) -> None:
    async def script(attempt: Attempt) -> words.Fault:
        return words.Fault(Refused.code, "the prompt is too long")

    async with gateway(tmp_path, Seller(script)) as stage:
        for body in (HELLO, {**HELLO, "stream": True}):
            reply = await stage.client.post("/llm", json=body)
            assert reply.status_code == 400
            assert (
                reply.json()["detail"]["msg"] == reply.json()["error"]["message"] == "the prompt is too long"
            )
            assert reply.headers["shoal-job-id"].startswith("job_")


async def test_what_breaks_a_stream_is_its_last_event(tmp_path: Path) -> None:
    spoken = asyncio.Event()

    async def script(attempt: Attempt) -> words.Fault:
        attempt.say("One", offset=0, units=1)
        await spoken.wait()
        return words.Fault(Failed.code, "the model fell over")

    async with gateway(tmp_path, Seller(script)) as stage:
        url = "/v1/chat/completions"
        async with stage.client.stream("POST", url, json={**HELLO, "stream": True}) as reply:
            assert reply.status_code == 200
            text = ""
            async for piece in reply.aiter_text():
                text += piece
                spoken.set()
        last = events(text)[-1]
        assert last["event"] == "error"
        assert msgspec.json.decode(last["data"])["error"]["message"] == "the model fell over"


async def test_a_failed_attempt_is_told_of_and_not_charged(tmp_path: Path) -> None:
    tries = 0

    async def script(attempt: Attempt) -> words.Payload | words.Fault:
        nonlocal tries
        tries += 1
        return words.Fault(Failed.code, "not this time") if tries == 1 else chat("this time")

    async with gateway(tmp_path, Seller(script)) as stage:
        reply = await stage.client.post("/llm", json=HELLO)
        job = (await stage.client.get(f"/v1/jobs/{reply.headers['shoal-job-id']}")).json()
        first, second = job["attempts"]
        assert first["error"] == {"code": "failed", "message": "not this time"}
        assert second["error"] is None
        ledger = (await stage.client.get("/v1/network")).json()["ledger"]
        assert (
            ledger["charged_wei"]
            == ledger["earned_wei"]
            == job["charged_wei"]
            == price("llm").cost(job["units"])
        )
        assert ledger["holds_wei"] == 0


async def test_nobody_to_buy_from_is_said_and_when_to_come_back(tmp_path: Path) -> None:
    async with gateway(tmp_path) as stage:
        assert (await stage.client.get("/health")).status_code == 200
        stage.service.node.post(Disconnected(stage.seller.key.id))
        reply = await stage.client.post("/echo", json={})
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_capacity")
        assert int(reply.headers["retry-after"]) >= 1
        health = await stage.client.get("/health")
        assert (health.status_code, health.json()["reasons"]) == (503, ["no orchestrator is connected"])


async def test_a_price_that_nobody_takes_is_said_at_once(stage: Stage) -> None:
    before = stage.facts
    reply = await stage.client.post("/echo", json={}, headers={"shoal-max-price-wei": "999999"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_capacity")
    assert "the cheapest asks 1000000 wei" in reply.json()["detail"]["msg"]
    assert stage.facts == before
    dear = await stage.client.post("/echo", json={}, headers={"shoal-max-price-wei": str(10**15)})
    job = (await stage.client.get(f"/v1/jobs/{dear.headers['shoal-job-id']}")).json()
    assert job["limit"] == {"wei": 1_000_000, "per_units": 1}


async def test_a_deadline_that_passes_in_the_queue_is_said(tmp_path: Path) -> None:
    async with gateway(tmp_path, Seller(held, slots=1)) as stage:
        await stage.client.post("/v1/jobs", json={"pipeline": "echo"})
        reply = await stage.client.post("/echo", json={}, headers={"shoal-deadline-ms": "1"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "expired")


async def test_answers_outlive_the_process(tmp_path: Path) -> None:
    async with gateway(tmp_path) as stage:
        reply = await stage.client.post("/llm", json={**HELLO, "stream": True})
        name = reply.headers["shoal-job-id"]
    async with gateway(tmp_path) as stage:
        result = (await stage.client.get(f"/v1/jobs/{name}/result")).json()
        assert result["choices"][0]["message"]["content"] == ANSWER
        story = events(
            (await stage.client.get(f"/v1/jobs/{name}/events", headers={"last-event-id": "9"})).text
        )
        assert msgspec.json.decode(story[0]["data"])["text"] == ANSWER[9:]


async def test_open_requests_are_answered_before_the_gateway_stops(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def script(attempt: Attempt) -> words.Payload:
        await go_on.wait()
        return chat("just in time")

    async with gateway(tmp_path, Seller(script)) as stage:
        asked = asyncio.create_task(stage.client.post("/llm", json=HELLO))
        await stage.seller.hear(words.Job)
        stopping = asyncio.create_task(stage.service.stop())
        go_on.set()
        assert (await asked).json()["choices"][0]["message"]["content"] == "just in time"
        await stopping
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient().get(f"{stage.url}/health")


async def test_a_silent_stream_says_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.gateway.streams.BEAT_MS", 20)
    go_on = asyncio.Event()

    async def script(attempt: Attempt) -> words.Payload:
        attempt.say("so", offset=0, units=1)
        await go_on.wait()
        return chat("so it is")

    async with gateway(tmp_path, Seller(script)) as stage:
        for url, body in (("/llm", HELLO), ("/v1/chat/completions", HELLO)):
            go_on.clear()
            async with stage.client.stream("POST", url, json={**body, "stream": True}) as reply:
                text = ""
                async for piece in reply.aiter_text():
                    text += piece
                    if ": still here" in text:
                        go_on.set()
            assert "it is" in text
        go_on.clear()
        params = {**HELLO, "stream": True}
        name = (await stage.client.post("/v1/jobs", json={"pipeline": "llm", "params": params})).json()["id"]
        async with stage.client.stream("GET", f"/v1/jobs/{name}/events") as reply:
            async for line in reply.aiter_lines():
                if line == ": still here":
                    go_on.set()


async def test_a_waiting_job_is_told_of_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.gateway.streams.LOOK_MS", 20)
    async with gateway(tmp_path, Seller(held, slots=1)) as stage:
        posts = [await stage.client.post("/v1/jobs", json={"pipeline": "echo"}) for _ in range(3)]
        _, second, third = (reply.json()["id"] for reply in posts)
        positions = []
        async with stage.client.stream("GET", f"/v1/jobs/{third}/events") as reply:
            async for line in reply.aiter_lines():
                if line.startswith("data: "):
                    positions.append(msgspec.json.decode(line[6:])["position"])
                    await stage.client.post(f"/v1/jobs/{second}/cancel")
                    if len(positions) == 2:
                        await stage.client.post(f"/v1/jobs/{third}/cancel")
        assert positions == [1, 0, 0]


async def test_a_submission_that_meets_a_bug_is_answered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(client: str) -> None:
        raise ZeroDivisionError

    before = stage.facts
    with monkeypatch.context() as patch:
        patch.setattr(stage.service.machine.queue, "admit", break_down)
        reply = await stage.client.post("/echo", json={})
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "quarantined")
    assert (await stage.client.post("/echo", json={})).status_code == 200
    assert stage.facts > before


async def test_a_gateway_that_cannot_write_ends_at_once(tmp_path: Path) -> None:
    async with gateway(tmp_path, Seller(held)) as stage:
        asked = asyncio.create_task(stage.client.post("/llm", json=HELLO))
        await stage.seller.hear(words.Job)
        stage.service.node.journal.on_failure(OSError("the disk is full"))
        with pytest.raises(Broken, match="the disk is full"):
            await until_told_to_stop(stage.service.node, asyncio.Event())
        async with asyncio.timeout(5):
            await stage.service.stop()
            assert (await asked).json()["error"]["code"] == "failed"
