"""A job that breaks a gateway is set aside for good: the gateway says so, starts again, and serves the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.errors import Failed
from shoal.gateway.machine import GatewayMachine
from shoal.machine import Fact
from shoal.runtime.host import Host
from shoal.units import Instant
from shoal.wire import words
from shoal.work.lifecycle import Accepted, Answered, Placed
from stage import Attempt, Seller, Stage, answer, gateway

pytestmark = pytest.mark.anyio

Handler = Callable[[GatewayMachine, Fact, Instant], None]


def break_on(kind: type[Fact], job: str, patch: pytest.MonkeyPatch) -> None:
    """Plant a bug: from now on a gateway cannot handle this fact about this job."""
    handler: Handler = GatewayMachine.handlers[kind]

    def broken(machine: GatewayMachine, fact: Fact, now: Instant) -> None:
        if getattr(fact, "job") == job:  # noqa: B009 - facts of three kinds
            raise ZeroDivisionError("planted")
        handler(machine, fact, now)

    patch.setattr(GatewayMachine, "handlers", {**GatewayMachine.handlers, kind: broken})


async def second(attempt: Attempt) -> words.Payload | words.Fault:
    """A script that fails each job once: so it is accepted with one attempt, and placed for another."""
    return words.Fault(Failed.code, "not yet") if attempt.order.epoch == 1 else await answer(attempt)


async def echo(stage: Stage, text: str) -> dict[str, object]:
    """A job of this text, at its end."""
    wanted = {"pipeline": "echo", "params": {"text": text}}
    return dict((await stage.client.post("/v1/jobs?wait_ms=10000", json=wanted)).json())


@pytest.mark.parametrize("kind", [Accepted, Placed, Answered])
async def test_a_fact_that_no_longer_replays_costs_its_own_job_only(
    kind: type[Fact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A killed process leaves facts to replay; one that stops leaves a snapshot, in which nothing is handled anew.
    monkeypatch.setattr(Host, "snapshot", lambda host: None)
    async with gateway(tmp_path, Seller(second)) as stage:
        bad, good = str((await echo(stage, "bad"))["id"]), str((await echo(stage, "good"))["id"])
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        break_on(kind, bad, patch)
        async with gateway(tmp_path) as stage:
            assert "planted" in caplog.text
            assert kind.__name__ in caplog.text
            seen = await stage.client.get(f"/v1/jobs/{bad}")
            if kind is Accepted:
                assert seen.status_code == 404
            else:
                assert (seen.json()["state"], seen.json()["error"]["code"]) == ("failed", "quarantined")
            assert (await stage.client.get(f"/v1/jobs/{good}/result")).json()["text"] == "good"
            assert (await echo(stage, "another"))["state"] == "done"
            stage.service.machine.check()
    # Once the bug is mended, what had happened counts again, and its client is told what it was told before.
    async with gateway(tmp_path) as stage:
        for job, text in ((bad, "bad"), (good, "good")):
            assert (await stage.client.get(f"/v1/jobs/{job}/result")).json()["text"] == text
        assert (await echo(stage, "yet another"))["state"] == "done"
        stage.service.machine.check()
