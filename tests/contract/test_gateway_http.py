"""What a gateway's doors promise their clients, over real sockets, a real journal and real words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from shoal.errors import Broken, Failed, Refused
from shoal.machine import Disconnected
from shoal.runtime.keys import verify
from shoal.runtime.node import until_told_to_stop
from shoal.wire import words
from shoal.work.seal import signed_bytes
from stage import ANSWER, HELLO, WORKER, Attempt, Seller, Stage, chat, gateway, price, wav

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with gateway(tmp_path) as stage:
        yield stage


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream: `event`, `id`, `data`."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            found.append(dict(line.split(": ", 1) for line in lines))
    return found


def data(text: str) -> list[Any]:
    """The JSON of a stream's events."""
    return [msgspec.json.decode(e["data"]) for e in events(text) if e["data"] != "[DONE]"]


async def held(attempt: Attempt) -> words.Payload:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


# One pipeline, Livepeer's way


async def test_an_echo_comes_back_and_its_job_is_named(stage: Stage) -> None:
    reply = await stage.client.post("/echo", json={"text": "hi"})
    assert reply.status_code == 200
    assert reply.json() == {"text": "hi", "model": "echo"}
    job = await stage.client.get(f"/v1/jobs/{reply.headers['shoal-job-id']}")
    assert job.json()["state"] == "done"


async def test_a_chat_is_written_in_one_way_before_it_goes_out(stage: Stage) -> None:
    parts = [{"type": "text", "text": "hello "}, {"type": "text", "text": "you"}]
    request = {
        "messages": [{"role": "developer", "content": "be short"}, {"role": "user", "content": parts}],
        "model": "",
        "temperature": 0.7,
        "max_completion_tokens": 9,
        "max_tokens": 100,
        "top_k": -1,
        "seed": 2**40 + 5,
    }
    reply = await stage.client.post("/llm", json=request)
    assert reply.status_code == 200
    attempt = stage.seller.attempts.get_nowait()
    assert attempt.params == {
        "messages": [{"role": "system", "content": "be short"}, {"role": "user", "content": "hello you"}],
        "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "max_tokens": 9,
        "seed": 5,
    }
    assert attempt.order.spec.units_max == 9


async def test_a_chat_answers_as_livepeer_has_it(stage: Stage) -> None:
    reply = (await stage.client.post("/llm", json=HELLO)).json()
    assert reply["choices"][0]["message"]["content"] == ANSWER
    assert reply["usage"]["total_tokens"] == 8


async def test_a_chat_streams_as_livepeer_has_it(stage: Stage) -> None:
    reply = await stage.client.post("/llm", json={**HELLO, "stream": True})
    assert reply.headers["content-type"] == "text/event-stream"
    assert "[DONE]" not in reply.text
    chunks = data(reply.text)
    assert "".join(c["choices"][0]["delta"]["content"] for c in chunks) == ANSWER
    assert [c["choices"][0]["finish_reason"] for c in chunks[-2:]] == ["", "stop"]
    assert chunks[-1]["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


async def test_what_was_lost_of_a_stream_comes_from_the_answer(tmp_path: Path) -> None:
    async def script(attempt: Attempt) -> words.Payload:
        attempt.say("You said", offset=0, units=2)
        attempt.say("friend", offset=21, units=5)
        return chat(ANSWER)

    async with gateway(tmp_path, Seller(script)) as stage:
        reply = await stage.client.post("/llm", json={**HELLO, "stream": True})
        assert "".join(c["choices"][0]["delta"]["content"] for c in data(reply.text)) == ANSWER


async def test_speech_is_given_as_an_address_or_as_bytes(stage: Stage) -> None:
    reply = await stage.client.post("/text-to-speech", json={"text": "hello"})
    url = reply.json()["audio"]["url"]
    file = await stage.client.get(url)
    assert file.content == wav(100)
    assert file.headers["content-type"] == "audio/wav"
    raw = await stage.client.post("/text-to-speech", json={"text": "hello"}, headers={"accept": "audio/*"})
    assert raw.content == wav(100)
    assert raw.headers["content-type"] == "audio/wav"


async def test_sound_is_measured_and_goes_out_untouched(stage: Stage) -> None:
    sound = wav(1_500)
    reply = await stage.client.post(
        "/audio-to-text", files={"audio": ("x.txt", sound, "text/plain")}, data={"return_timestamps": "word"}
    )
    assert reply.json()["text"] == f"{len(sound)} bytes"
    attempt = stage.seller.attempts.get_nowait()
    assert attempt.order.spec.units_max == 1_500
    assert attempt.params == {"model_id": "openai/whisper-base", "return_timestamps": "word"}
    assert attempt.media == (words.Media("audio", "audio/wav", sound),)


# OpenAI's way


async def test_a_chat_streams_as_openai_has_it(stage: Stage) -> None:
    request = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    reply = await stage.client.post("/v1/chat/completions", json=request)
    assert reply.text.endswith("data: [DONE]\n\n")
    *chunks, last, usage = data(reply.text)
    assert "".join(c["choices"][0]["delta"]["content"] for c in chunks) == ANSWER
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 8


@pytest.mark.parametrize("extra", [{"n": 2}, {"tools": [{}]}, {"response_format": {"type": "json_object"}}])
async def test_what_a_chat_cannot_do_is_refused(stage: Stage, extra: dict[str, Any]) -> None:
    reply = await stage.client.post("/v1/chat/completions", json={**HELLO, **extra})
    assert reply.status_code == 400
    assert next(iter(extra)) in reply.json()["error"]["message"]


async def test_models_are_those_that_can_be_bought(stage: Stage) -> None:
    models = {m["id"]: m["pipeline"] for m in (await stage.client.get("/v1/models")).json()["data"]}
    assert models["echo"] == "echo"
    assert models["openai/whisper-base"] == "audio-to-text"


# Jobs


async def test_a_job_is_taken_on_at_once_and_told_of(tmp_path: Path) -> None:
    async with gateway(tmp_path, Seller(held, slots=1)) as stage:
        first = await stage.client.post("/v1/jobs", json={"pipeline": "echo", "params": {"text": "a"}})
        await stage.seller.hear(words.Job)
        later = await stage.client.post(
            "/v1/jobs", json={"pipeline": "echo", "params": {"text": "b"}, "deadline_ms": 5_000}
        )
        assert (first.status_code, later.status_code) == (202, 202)
        running = (await stage.client.get(f"/v1/jobs/{first.json()['id']}")).json()
        assert running["state"] == "running"
        assert running["orchestrator"] == stage.seller.key.id
        waiting = (await stage.client.get(f"/v1/jobs/{later.json()['id']}")).json()
        assert (waiting["state"], waiting["position"]) == ("queued", 0)
        assert waiting["start_estimate_ms"] > 0
        assert waiting["deadline_at_ms"] - waiting["accepted_at_ms"] == 5_000
        listed = (await stage.client.get("/v1/jobs?limit=1")).json()["jobs"]
        assert [job["id"] for job in listed] == [later.json()["id"]]
        early = await stage.client.get(f"/v1/jobs/{first.json()['id']}/result")
        assert early.status_code == 404


async def test_a_job_that_is_waited_for_brings_its_answer(stage: Stage) -> None:
    reply = await stage.client.post(
        "/v1/jobs?wait_ms=9000", json={"pipeline": "echo", "params": {"text": "a"}}
    )
    assert reply.status_code == 200
    job = reply.json()
    assert job["result"] == {"text": "a", "model": "echo"}
    assert (await stage.client.get(f"/v1/jobs/{job['id']}/result")).json() == job["result"]
    assert job["charged_wei"] == price("echo").cost(1)
    assert job["worker"] == WORKER


async def test_a_job_with_a_file_is_a_form(stage: Stage) -> None:
    reply = await stage.client.post(
        "/v1/jobs?wait_ms=9000",
        data={"pipeline": "audio-to-text", "params": "{}"},
        files={"audio": ("talk.wav", wav(200))},
    )
    assert reply.json()["result"]["text"] == f"{len(wav(200))} bytes"
    assert reply.json()["units"] == 200


async def test_a_file_can_be_fetched_as_a_jobs_result(stage: Stage) -> None:
    job = (
        await stage.client.post(
            "/v1/jobs?wait_ms=9000", json={"pipeline": "text-to-speech", "params": {"text": "a"}}
        )
    ).json()
    assert job["result"]["audio"]["url"] == f"{stage.url}/media/{job['id']}.0.wav"
    assert (await stage.client.get(f"/v1/jobs/{job['id']}/result")).content == wav(100)


async def test_a_receipt_can_be_checked_by_anybody(stage: Stage) -> None:
    name = (await stage.client.post("/echo", json={})).headers["shoal-job-id"]
    receipt = (await stage.client.get(f"/v1/jobs/{name}/receipt")).json()
    signature = bytes.fromhex(receipt["signature"])
    assert verify(receipt["orchestrator"], bytes.fromhex(receipt["signed_hex"]), signature)
    assert (receipt["job"], receipt["wei"]) == (name, price("echo").cost(1))
    job = stage.service.machine.jobs[name]  # type: ignore[index]
    assert job.receipt is not None
    assert receipt["signed_hex"] == signed_bytes(job.receipt).hex()


async def test_a_cancelled_job_stops_and_costs_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path, Seller(held)) as stage:
        name = (await stage.client.post("/v1/jobs", json={"pipeline": "echo"})).json()["id"]
        await stage.seller.hear(words.Job)
        reply = await stage.client.post(f"/v1/jobs/{name}/cancel")
        assert (reply.json()["state"], reply.json()["charged_wei"]) == ("cancelled", 0)
        assert (await stage.seller.hear(words.Cancel)).wei == 0
        again = await stage.client.delete(f"/v1/jobs/{name}/cancel")
        assert again.json()["state"] == "cancelled"
        gone = await stage.client.get(f"/v1/jobs/{name}/result")
        assert (gone.status_code, gone.json()["error"]["code"]) == (409, "cancelled")


async def test_events_tell_a_jobs_whole_story_and_can_be_resumed(stage: Stage) -> None:
    params = {**HELLO, "stream": True}
    name = (await stage.client.post("/v1/jobs", json={"pipeline": "llm", "params": params})).json()["id"]
    story = events((await stage.client.get(f"/v1/jobs/{name}/events")).text)
    texts = [msgspec.json.decode(e["data"])["text"] for e in story if e["event"] == "text"]
    assert "".join(texts) == ANSWER
    assert msgspec.json.decode(story[-1]["data"])["state"] == "done"
    last = next(e for e in story if e["event"] == "text")
    resumed = events(
        (await stage.client.get(f"/v1/jobs/{name}/events", headers={"last-event-id": last["id"]})).text
    )
    rest = "".join(msgspec.json.decode(e["data"])["text"] for e in resumed if e["event"] == "text")
    assert rest == ANSWER[int(last["id"]) :]


# Keys, leaving and coming back


async def test_one_key_makes_one_job(stage: Stage) -> None:
    headers = {"idempotency-key": "k1"}
    first = await stage.client.post("/echo", json={"text": "a"}, headers=headers)
    again = await stage.client.post("/echo", json={"text": "a", "units": 1}, headers=headers)
    assert first.headers["shoal-job-id"] == again.headers["shoal-job-id"]
    assert first.content == again.content
    assert stage.seller.heard(words.Job) == 1
    other = await stage.client.post("/echo", json={"text": "b"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


async def post_and_leave(stage: Stage, path: str, body: dict[str, Any], headers: str = "") -> str:
    """Ask, wait until somebody works on it, and hang up; the job's id."""
    raw = msgspec.json.encode(body)
    with socket.socket() as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", stage.service.port))
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len(raw)}\r\n\r\n"
        await loop.sock_sendall(client, head.encode() + raw)
        order = await stage.seller.hear(words.Job)
    return order.job


@pytest.mark.parametrize("body", [HELLO, {**HELLO, "stream": True}])
async def test_a_client_that_leaves_takes_its_job_with_it(tmp_path: Path, body: dict[str, Any]) -> None:
    async with gateway(tmp_path, Seller(held)) as stage:
        name = await post_and_leave(stage, "/llm", body)
        assert (await stage.seller.hear(words.Cancel)).job == name
        assert (await stage.client.get(f"/v1/jobs/{name}")).json()["state"] == "cancelled"


async def test_a_client_with_a_key_can_come_back_for_its_answer(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def script(attempt: Attempt) -> words.Payload:
        await go_on.wait()
        return chat("here you are")

    async with gateway(tmp_path, Seller(script)) as stage:
        name = await post_and_leave(stage, "/llm", HELLO, "Idempotency-Key: k\r\n")
        asked = asyncio.create_task(stage.client.post("/llm", json=HELLO, headers={"idempotency-key": "k"}))
        go_on.set()
        reply = await asked
        assert reply.headers["shoal-job-id"] == name
        assert reply.json()["choices"][0]["message"]["content"] == "here you are"
        assert stage.seller.heard(words.Cancel) == 0


async def test_streamed_units_are_acknowledged_only_if_somebody_listens(tmp_path: Path) -> None:
    answered = asyncio.Event()

    async def script(attempt: Attempt) -> words.Payload:
        attempt.say("one ", offset=0, units=1)
        attempt.say("two", offset=4, units=2)
        await answered.wait()
        return chat("one two")

    async with gateway(tmp_path, Seller(script)) as stage:
        params = {**HELLO, "stream": True}
        name = (await stage.client.post("/v1/jobs", json={"pipeline": "llm", "params": params})).json()["id"]
        await stage.seller.hear(words.Job)
        async with stage.client.stream("GET", f"/v1/jobs/{name}/events") as reply:
            text = ""
            async for line in reply.aiter_lines():
                text += msgspec.json.decode(line[6:]).get("text", "") if line.startswith("data: ") else ""
                if text == "one two":
                    break
            assert (await stage.seller.hear(words.Acknowledge)).units == 2
        cancelled = (await stage.client.post(f"/v1/jobs/{name}/cancel")).json()
        assert (cancelled["units"], cancelled["charged_wei"]) == (2, price("llm").cost(2))

        unheard = (await stage.client.post("/v1/jobs", json={"pipeline": "llm", "params": params})).json()[
            "id"
        ]
        await stage.seller.hear(words.Job)
        answered.set()
        await stage.seller.hear(words.Accept)
        assert stage.seller.heard(words.Acknowledge) == 0
        assert (await stage.client.get(f"/v1/jobs/{unheard}")).json()["state"] == "done"


# When things go wrong


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
        assert ledger["charged_wei"] == ledger["earned_wei"] == job["charged_wei"] == price("llm").cost(256)
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
