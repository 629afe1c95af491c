"""What a gateway's doors promise their clients, over real sockets, a real journal and real words."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.runtime.keys import verify
from shoal.wire import words
from shoal.work.seal import signed_bytes
from stage import ANSWER, HELLO, WORKER, Attempt, Seller, Stage, chat, data, events, gateway, held, price, wav

pytestmark = pytest.mark.anyio


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
    assert attempt.order.spec.units_max == 64 + 2 * 16 + len("be short" + "hello you") + 9


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
