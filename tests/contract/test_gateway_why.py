"""Why over HTTP: for a job's owner and for nobody else, as it ran and as it waits; and what policies there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shoal.errors import Refused
from shoal.gateway.config import Settings
from shoal.gateway.service import Service
from shoal.policy.selection import POLICIES
from stage import Seller, Stage, gateway, held

pytestmark = pytest.mark.anyio

ECHO: dict[str, Any] = {"pipeline": "echo"}


async def why(stage: Stage, job: str, **headers: str) -> dict[str, Any]:
    reply = await stage.client.get(f"/v1/jobs/{job}/why", headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.headers["shoal-job-id"] == job
    return dict(reply.json())


async def test_a_job_that_ran_says_why_it_ran_there(stage: Stage) -> None:
    ran = await stage.client.post("/echo", json={}, headers={"shoal-policy": "cheapest"})
    value = await why(stage, ran.headers["shoal-job-id"])
    (attempt,) = value["attempts"]
    assert (value["state"], value["waiting"]) == ("done", None)
    assert (attempt["policy"], attempt["ended"], attempt["failed"]) == ("cheapest", "done", False)
    assert attempt["orchestrator"] == attempt["chosen"] == stage.seller.key.id
    (candidate,) = attempt["candidates"]
    assert candidate["chosen"]
    assert candidate["facts"]["slots"] == stage.seller.slots
    assert candidate["units"] == {"price": "wei a unit"}
    assert candidate["score"] == candidate["terms"]["price"] > 0


async def test_a_job_that_waits_says_for_what(tmp_path: Path) -> None:
    async with gateway(tmp_path, Seller(held, slots=1)) as stage:
        await stage.client.post("/v1/jobs", json=ECHO)
        second = (await stage.client.post("/v1/jobs", json=ECHO)).json()["id"]
        value = await why(stage, second)
        assert value["attempts"] == []
        waiting = value["waiting"]
        assert (waiting["reason"], waiting["chosen"]) == ("no slot that it may have is free", None)
        assert [(out["filter"], out["count"]) for out in waiting["excluded"]] == [("free", 1)]


async def test_nobody_else_is_told(tmp_path: Path) -> None:
    async with gateway(tmp_path, api_keys=("a", "b")) as stage:
        mine, other = ({"authorization": f"Bearer {key}"} for key in "ab")
        job = (await stage.client.post("/echo", json={}, headers=mine)).headers["shoal-job-id"]
        assert (await why(stage, job, **mine))["id"] == job
        assert (await stage.client.get(f"/v1/jobs/{job}/why", headers=other)).status_code == 404
        assert (await stage.client.get(f"/v1/jobs/{job}/why")).status_code == 401
        assert (await stage.client.get("/v1/policies")).status_code == 401


async def test_policies_are_listed(stage: Stage) -> None:
    value = (await stage.client.get("/v1/policies")).json()
    assert value["default"] == "balanced"
    assert {policy["name"] for policy in value["policies"]} == set(POLICIES)
    assert all(policy["about"] and policy["score"] and policy["draw"] for policy in value["policies"])
    for policy in value["policies"]:
        reply = await stage.client.post("/echo", json={}, headers={"shoal-policy": policy["name"]})
        assert reply.status_code == 200


async def test_a_gateway_whose_files_make_no_sense_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "stakes.json").write_text('{"somebody": 1}')
    with pytest.raises(Refused, match="stakes_file"):
        Service(Settings(home=str(tmp_path), stakes_file=str(tmp_path / "stakes.json")))
