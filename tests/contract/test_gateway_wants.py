"""How a client wants its job served reaches the journal and the orchestrator; what it may not have is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from shoal.errors import Failed
from shoal.gateway.config import Rules, Tenant
from shoal.ids import JobId
from shoal.wire import words
from shoal.work.lifecycle import Job, Preference
from stage import HELLO, Attempt, Seller, Stage, gateway, held, wav

pytestmark = pytest.mark.anyio

ECHO: dict[str, Any] = {"pipeline": "echo"}
TENANTS = (
    Tenant(name="large", key="large", weight=3, priority_max="high"),
    Tenant(name="small", key="small"),
)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def job_of(stage: Stage, reply: httpx.Response) -> Job:
    assert reply.status_code in (200, 202), reply.text
    return stage.service.machine.jobs[JobId(reply.headers["shoal-job-id"])]


async def test_headers_say_it_on_every_route(stage: Stage) -> None:
    headers = {
        "shoal-policy": "",
        "shoal-priority": "low",
        "shoal-deadline-ms": "7000",
        "shoal-session": "talk",
    }
    plain = await stage.client.post("/echo", json={}, headers=headers)
    chat = await stage.client.post("/v1/chat/completions", json=HELLO, headers=headers)
    sound = await stage.client.post("/audio-to-text", files={"audio": wav(50)}, headers=headers)
    own = await stage.client.post("/v1/jobs", json=ECHO, headers=headers)
    for reply in (plain, chat, sound, own):
        job = job_of(stage, reply)
        assert job.preference == Preference(priority="low")
        assert job.deadline - job.accepted_at == 7_000
    assert job_of(stage, plain).spec.session == job_of(stage, own).spec.session != ""
    assert job_of(stage, sound).spec.session == ""


async def test_the_fields_of_a_job_say_it_too_in_json_and_in_a_form(stage: Stage) -> None:
    wants = {"priority": "low", "hedge": True, "deadline_ms": 7_000, "session": "talk"}
    for reply in (
        await stage.client.post("/v1/jobs", json={**ECHO, **wants}),
        await stage.client.post(
            "/v1/jobs",
            data={"pipeline": "audio-to-text"} | {k: str(v).lower() for k, v in wants.items()},
            files={"audio": wav(50)},
        ),
    ):
        job = job_of(stage, reply)
        assert job.preference == Preference(priority="low", hedge=True)
        assert job.deadline - job.accepted_at == 7_000
        told = (await stage.client.get(f"/v1/jobs/{job.id}")).json()
        assert (told["priority"], told["hedge"], told["region"]) == ("low", True, "")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"priority": "urgent"}, "priority is one of high, normal, low"),
        ({"nodes": 4}, "as many jobs of one node each"),
        ({"gang": 2}, "as many jobs of one node each"),
        ({"policy": "x" * 100}, "policy"),
    ],
)
async def test_what_cannot_be_had_is_refused_in_a_line_and_leaves_nothing(
    stage: Stage, fields: dict[str, Any], said: str
) -> None:
    before = stage.facts
    reply = await stage.client.post("/v1/jobs", json={**ECHO, **fields})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "refused")
    assert said in reply.json()["error"]["message"]
    assert stage.facts == before


# Sessions


async def test_turns_of_a_conversation_are_a_session_that_no_other_client_shares(stage: Stage) -> None:
    turns = [*HELLO["messages"], {"role": "assistant", "content": "hi"}, {"role": "user", "content": "more"}]
    sessions = []
    for messages, key in ((turns[:1], "anna"), (turns, "anna"), (turns, "ben")):
        reply = await stage.client.post("/llm", json={"messages": messages}, headers=bearer(key))
        sessions.append(job_of(stage, reply).spec.session)
        attempt = stage.seller.attempts.get_nowait()
        assert attempt.order.spec.session == sessions[-1]  # the orchestrator is told
    assert sessions[0] == sessions[1]
    assert sessions[0] != sessions[2]


async def test_a_session_that_is_named_counts_more_than_how_it_begins(stage: Stage) -> None:
    other = {"messages": [{"role": "user", "content": "something else"}]}
    named = [
        await stage.client.post("/v1/chat/completions", json={**body, "prompt_cache_key": "talk"})
        for body in (HELLO, other)
    ]
    headed = await stage.client.post("/llm", json=HELLO, headers={"shoal-session": "talk"})
    sessions = {job_of(stage, reply).spec.session for reply in (*named, headed)}
    assert len(sessions) == 1
    assert "talk" not in sessions.pop()


async def test_one_key_makes_one_job_also_in_a_session(stage: Stage) -> None:
    headers = {"idempotency-key": "k", "shoal-session": "talk", "shoal-priority": "low"}
    first, again = [await stage.client.post("/llm", json=HELLO, headers=headers) for _ in range(2)]
    assert job_of(stage, first).id == job_of(stage, again).id
    # When it is wanted, and how soon, is no other request.
    later = await stage.client.post("/llm", json=HELLO, headers={**headers, "shoal-priority": "high"})
    assert job_of(stage, later).id == job_of(stage, first).id


# Tenants


async def test_a_tenant_has_its_weight_and_its_classes(tmp_path: Path) -> None:
    async with gateway(tmp_path, tenants=TENANTS, api_keys=("plain",)) as stage:
        high = {"shoal-priority": "high"}
        large = await stage.client.post("/echo", json={}, headers=bearer("large") | high)
        assert job_of(stage, large).preference == Preference(priority="high", weight=3)
        small = await stage.client.post("/echo", json={}, headers=bearer("small"))
        assert job_of(stage, small).preference == Preference()
        before = stage.facts
        for key in ("small", "plain"):
            reply = await stage.client.post("/echo", json={}, headers=bearer(key) | high)
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_granted")
            assert "priority normal at most" in reply.json()["error"]["message"]
        assert stage.facts == before
        assert (await stage.client.post("/echo", json={})).status_code == 401


async def test_a_higher_class_and_a_larger_share_go_first(tmp_path: Path) -> None:
    async with gateway(tmp_path, Seller(held, slots=1), tenants=TENANTS) as stage:
        await stage.client.post("/v1/jobs", json=ECHO, headers=bearer("small"))
        await stage.seller.hear(words.Job)
        names = []
        for key, priority in (("small", "low"), ("small", ""), ("large", ""), ("large", "high")):
            headers = bearer(key) | {"shoal-priority": priority}
            names.append((await stage.client.post("/v1/jobs", json=ECHO, headers=headers)).json()["id"])
        assert list(stage.service.machine.queue.waiting(("echo", "echo"))) == names[::-1]


# Time


async def test_a_client_that_waits_so_long_and_no_longer_has_that_deadline(stage: Stage) -> None:
    prefer = {"prefer": "wait=5"}
    for headers, deadline_ms in (
        (prefer, 5_000),
        ({**prefer, "shoal-deadline-ms": "9000"}, 9_000),
        # Who can come back may do so later.
        ({**prefer, "idempotency-key": "k"}, 60_000),
    ):
        job = job_of(stage, await stage.client.post("/echo", json={}, headers=headers))
        assert job.deadline - job.accepted_at == deadline_ms


async def test_a_job_may_be_waited_for_by_a_preference(stage: Stage) -> None:
    reply = await stage.client.post("/v1/jobs", json=ECHO, headers={"prefer": "respond-async, wait=9"})
    assert (reply.status_code, reply.json()["state"]) == (200, "done")
    assert job_of(stage, reply).deadline - job_of(stage, reply).accepted_at == 60_000


async def test_every_refusal_that_passes_says_when_to_come_back(tmp_path: Path) -> None:
    rules = Rules(queue_jobs_max=2, queue_jobs_per_client_max=1)
    async with gateway(tmp_path, Seller(held, slots=1), rules=rules) as stage:
        for key in ("a", "b", "c"):
            await stage.client.post("/v1/jobs", json=ECHO, headers=bearer(key))
        for key, said in (("d", "the queue is full"), ("b", "the queue is full")):
            reply = await stage.client.post("/echo", json={}, headers=bearer(key))
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "busy")
            assert said in reply.json()["error"]["message"]
            assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize(("ms", "seconds"), [(1, "1"), (1_000, "1"), (1_001, "2"), (90_000, "90")])
async def test_whatever_a_fault_says_of_time_is_said_in_whole_seconds(
    tmp_path: Path, ms: int, seconds: str
) -> None:
    async def script(attempt: Attempt) -> words.Fault:
        return words.Fault(Failed.code, "the model is being mended", ms)

    async with gateway(tmp_path, Seller(script)) as stage:
        for url, body in (("/echo", {}), ("/llm", {**HELLO, "stream": True})):
            reply = await stage.client.post(url, json=body)
            assert (reply.status_code, reply.headers["retry-after"]) == (500, seconds)
