"""Nothing grows with the jobs that have ended, beyond what the rules say is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sized
from mmap import mmap
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import replace

from shoal.gateway.config import Rules as GatewayRules
from shoal.ids import JobId, NodeId, digest
from shoal.machine import Connected, Disconnected, Heard, Tick
from shoal.money.wei import MILLION, Price, Wei
from shoal.orchestrator.config import Rules as OrchestratorRules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.sim.houses import verify
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import JobSpec, Payload
from shoal.worker.config import Rules as WorkerRules
from shoal.worker.machine import RunnerAnswered, RunnerReady, WorkerMachine
from stage import HELLO, gateway

pytestmark = pytest.mark.anyio

REMEMBERED = 10
#: Things of which there are a few however many jobs there were: peers, needs, accounts.
FEW = 10
JOBS = 150
NOW = Instant(1_000_000)
SELF, G, W = NodeId("o"), NodeId("g"), NodeId("w")
BODY = encode_payload(Payload(b"{}"))
NEED = ("echo", "echo")


def parts(thing: object) -> dict[str, object]:
    """A thing's attributes, in slots or not."""
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return {name: getattr(thing, name) for name in slots if hasattr(thing, name)} | getattr(
        thing, "__dict__", {}
    )


def sizes(thing: object, name: str = "", depth: int = 3) -> Iterator[tuple[str, int]]:
    """How much every container in this holds, and in what this is made of."""
    for key, part in parts(thing).items():
        where = f"{name}.{key}"
        if isinstance(part, Sized) and not isinstance(part, str | bytes | mmap):
            yield where, len(part)
        if depth and type(part).__module__.startswith("shoal.") and not isinstance(part, Struct):
            yield from sizes(part, where, depth - 1)


def swollen(thing: object) -> list[tuple[str, int]]:
    """What holds more than it should; a gateway's jobs are those of the keys and as many without."""
    return [(name, size) for name, size in sizes(thing) if size > 2 * REMEMBERED + FEW]


def order(job: JobId) -> words.Job:
    return words.Job(job, 1, JobSpec("echo", "echo", units_max=10), Price(1), 60_000, digest(BODY), BODY)


async def test_a_gateway_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.work.lease.SPARE", REMEMBERED)
    rules = GatewayRules(ended_jobs_max=REMEMBERED, keys_max=REMEMBERED, views_max=REMEMBERED)
    async with gateway(tmp_path, rules=rules) as stage:

        async def one(number: int) -> None:
            match number % 4:
                case 0:
                    await stage.client.post("/echo", json={"text": "x"})
                case 1:
                    await stage.client.post("/llm", json={**HELLO, "stream": True})
                case 2:
                    key = {"idempotency-key": f"key {number}"}
                    await stage.client.post("/echo", json={"text": "x"}, headers=key)
                case _:
                    job = (await stage.client.post("/v1/jobs", json={"pipeline": "echo"})).json()["id"]
                    await stage.client.post(f"/v1/jobs/{job}/cancel")

        for first in range(0, JOBS, 10):
            await asyncio.gather(*(one(number) for number in range(first, first + 10)))
        machine, desk = stage.service.machine, stage.service.desk
        async with asyncio.timeout(10):  # until the last settlement is answered, the last piece acknowledged
            while stage.service.node.host.outbox or desk._consumed:
                await stage.client.get("/health")
        assert swollen(machine) == swollen(desk) == swollen(stage.service.node.host) == []
        open_things = (machine.queue, machine.leases, machine.ledger.holds, machine.workers)
        waiting = (desk._watches, desk._replies)
        assert [len(thing) for thing in (*open_things, *waiting)] == [0] * 6


def test_an_orchestrator_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.work.lease.SPARE", REMEMBERED)
    rules = OrchestratorRules(ended_tasks_max=REMEMBERED)
    machine = OrchestratorMachine(rules, node=SELF, sign=lambda data: b"signed")
    machine.handle(Connected(G, "gateway", "boot"), NOW)
    machine.handle(Connected(W, "worker", "boot"), NOW)
    machine.handle(Heard(W, words.Offers((words.Offer(*NEED, 1),))), NOW)
    for number in range(JOBS):
        job = JobId(f"job {number}")
        machine.handle(Heard(G, order(job)), NOW)
        machine.handle(Heard(W, words.Progress(job, 1, 1, 0, "text")), NOW)
        if number % 2:
            machine.handle(Heard(W, words.Result(job, 1, 1, 5, digest(BODY), BODY)), NOW)
            machine.handle(Heard(G, words.Accept(job, 1, 1, Wei(1))), NOW)
        else:
            machine.handle(Heard(W, words.Failure(job, 1, words.Fault("failed", "it did not work"))), NOW)
        machine.handle(Heard(W, words.Progress(job, 1, 2, 4, "too late")), NOW)
        machine.handle(Tick(), later(NOW, number))
        machine.check()
    assert swollen(machine) == []
    assert (
        len(machine.leases) == len(machine.ledger.holds) == len(machine._relays) == len(machine._untold) == 0
    )


def test_an_orchestrator_forgets_who_left_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.orchestrator.roster.GONE_MAX", REMEMBERED)
    machine = OrchestratorMachine(OrchestratorRules(), node=SELF, sign=lambda data: b"signed")
    for number in range(JOBS):
        machine.handle(Connected(NodeId(f"w{number}"), "worker", "boot"), NOW)
        machine.handle(Disconnected(NodeId(f"w{number}")), NOW)
        machine.handle(Connected(W, "worker", f"boot {number}"), NOW)
        machine.handle(Disconnected(W), NOW)
    assert swollen(machine.roster) == []
    assert {member.node for member in machine.roster.members()} >= {W, NodeId(f"w{JOBS - 1}")}


def test_a_worker_forgets() -> None:
    machine = WorkerMachine(WorkerRules(closed_max=REMEMBERED), node=W, verify=verify)
    machine.handle(Connected(SELF, "orchestrator", "boot"), NOW)
    machine.handle(RunnerReady(NEED, 1), NOW)
    for number in range(JOBS):
        job = JobId(f"job {number}")
        machine.handle(Heard(SELF, replace(order(job), share_ppm=MILLION)), NOW)
        if number % 2:
            machine.handle(RunnerAnswered(job, 1, 1, 5, b"answer"), NOW)
            machine.handle(Heard(SELF, words.Settled.of(job, 1, Wei(1))), NOW)
        else:
            machine.handle(Heard(SELF, words.Cancel(job, 1)), NOW)
        machine.check()
    assert swollen(machine) == []
    assert not machine.tasks
