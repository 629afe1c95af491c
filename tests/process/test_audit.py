"""The auditor of the simulator judges real runs as well: real processes, real journals, real clients."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from running import Up, until, up
from shoal.cli.network import CHAIN_FILE, PLACES, WORKERS
from shoal.gateway.clients import ANONYMOUS
from shoal.ids import NodeId, digest
from shoal.runtime.history import read_history
from shoal.runtime.keys import verify
from shoal.sim.auditor import audit
from shoal.sim.evidence import Acknowledged, ClientWord, Ended, Evidence, Finding, Journal
from shoal.sim.journals import ROLES, read_journal
from shoal.wire.codec import encode_payload
from shoal.wire.words import Payload
from shoal.work.queue import Need
from truth import chain_truth

ECHO: Need = ("echo", "echo")
JOBS = 30
CANCELLED_EVERY = 10


class Log:
    """A client that writes down what it asked for and what it was told."""

    def __init__(self, network: Up) -> None:
        self.words: list[ClientWord] = []
        self._buyer = network.buyer

    def ask(self, number: int) -> str:
        """Send a request under its own key, perhaps not for the first time."""
        wanted = {"text": str(number), "sleep_ms": 300}
        answer = {"text": str(number), "model": "echo", "sleep_ms": 300}
        job = self._buyer.submit("echo", wanted, key=f"key {number}")["id"]
        expected = _name(json.dumps(answer, separators=(",", ":")).encode())
        self.words.append(
            Acknowledged(ANONYMOUS, job, f"key {number}", digest(json.dumps(wanted).encode()), expected)
        )
        return str(job)

    def ended(self, job: str) -> bool:
        """Look how a job stands, and write down its end."""
        seen = self._buyer.job(job)
        if seen["state"] not in ("done", "failed", "cancelled"):
            return False
        answer = _name(self._buyer.result(job).body) if seen["state"] == "done" else ""
        self.words.append(Ended(ANONYMOUS, job, seen["state"], seen["units"], seen["charged_wei"], answer))
        return True


def _name(answer: bytes) -> str:
    return digest(encode_payload(Payload(answer)))


def journals(network: Up) -> tuple[Journal, ...]:
    """Every journal as it is on disk, read beside the processes that write them."""
    read = []
    for node in network.note["nodes"]:
        if node["role"] in ROLES:
            path = network.home / "networks" / "local" / node["name"] / "journal.sqlite3"
            with read_history(path) as history:
                read.append(read_journal(NodeId(node["id"]), node["role"], history))
    return tuple(read)


def slots(network: Up) -> dict[tuple[NodeId, Need], int]:
    """How many jobs each worker runs at once."""
    ids = [NodeId(node["id"]) for node in network.note["nodes"] if node["role"] == "worker"]
    return {(ids[number], ECHO): PLACES[number].speed.slots for number in range(WORKERS)}


def settled(network: Up) -> bool:
    """True once nobody holds a lease or money."""
    reports: list[dict[str, Any]] = [network.status(f"orchestrator-{number}") for number in (1, 2)]
    held = [report["leases"] or report["holds_wei"] for report in reports]
    return not any([network.buyer.network()["ledger"]["holds_wei"], *held])


def findings(network: Up, words: list[ClientWord]) -> list[Finding]:
    """What the auditor has to say."""
    return audit(
        Evidence(
            journals=journals(network),
            client_words=tuple(words),
            drained=True,
            slots=slots(network),
            verify=verify,
            chain=chain_truth(network.home / "networks" / "local" / "chain" / CHAIN_FILE),
        )
    )


def test_a_run_with_a_killed_gateway_orchestrator_and_worker_stands_up_to_the_auditor(tmp_path: Path) -> None:
    with up(tmp_path) as network:
        log = Log(network)
        jobs = [log.ask(number) for number in range(JOBS)]
        for job in jobs[::CANCELLED_EVERY]:
            network.buyer.cancel(job)
        for victim in ("worker-1", "orchestrator-1", "gateway"):
            until(lambda: any(j["state"] == "running" for j in network.buyer.jobs(JOBS)), "a job runs")
            network.kill(victim)
            network.said(f"{victim} was killed")
        until(lambda: log.ask(0) == jobs[0], "the gateway knows the key that it was given before")
        for job in jobs:
            until(partial(log.ended, job), f"{job} has ended")
        until(lambda: settled(network), "no money is held")
        assert findings(network, log.words) == []
        # That nothing was found means something only if there was something to find.
        told = next(word for word in log.words if isinstance(word, Ended) and word.end == "done")
        wrong = replace(told, charged_wei=told.charged_wei + 1)
        assert [finding.rule for finding in findings(network, [*log.words, wrong])] == ["I6"]
        stranger = Acknowledged(ANONYMOUS, "job_of_nobody", "", digest(b""))
        assert {finding.rule for finding in findings(network, [*log.words, stranger])} == {"I1"}
