"""A network on one computer: it starts, answers, survives the death of each of its processes, and stops clean."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running import Up, living, shoal, until, up
from shoal.cli.network import PLACES, WORKERS

NODES = (
    *("chain", "redeemer", "gateway", "orchestrator-1", "orchestrator-2"),
    *("worker-1", "worker-2", "worker-3"),
)
SLOTS = sum(PLACES[number].speed.slots for number in range(WORKERS))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One for all who leave it as they found it: whatever is killed in it, in the end it stops clean."""
    with up(tmp_path_factory.mktemp("network")) as running:
        yield running
        assert running.stop() == 0
        assert living(running.home) == []


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Up]:
    """One of one's own."""
    with up(tmp_path) as running:
        yield running


def books(network: Up) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The gateway's ledger and both orchestrators' reports."""
    return network.buyer.network()["ledger"], [network.status(f"orchestrator-{n}") for n in (1, 2)]


def settled(network: Up) -> bool:
    """True once no money is held on either side."""
    ledger, reports = books(network)
    return not ledger["holds_wei"] and not any(report["holds_wei"] or report["leases"] for report in reports)


def charged(network: Up) -> int:
    """All that its tenants were ever charged."""
    return int(books(network)[0]["charged_wei"])


def assert_sums(network: Up, charged_wei: int) -> None:
    """What was charged was earned, and what was earned was shared."""
    until(lambda: settled(network), "no money is held")
    ledger, reports = books(network)
    assert ledger["charged_wei"] == charged_wei
    assert sum(report["earned_wei"] for report in reports) == charged_wei
    for report in reports:
        assert report["own_wei"] + report["worker_wei"] == report["earned_wei"]


def test_it_answers_and_leaves_nothing_running(fresh: Up) -> None:
    job = fresh.buyer.ended(fresh.buyer.submit("echo", {"text": "hello"})["id"])
    assert fresh.buyer.result(job["id"]).json()["text"] == "hello"
    # Itself, its nodes, and one runner for each worker.
    until(lambda: len(living(fresh.home)) == 1 + len(NODES) + WORKERS, "every process runs")
    assert fresh.stop() == 0
    assert living(fresh.home) == []
    assert "nothing is left running" in fresh.lines[-1]


def test_ctrl_c_stops_it_too(fresh: Up) -> None:
    assert fresh.stop(signal.SIGINT) == 0
    assert living(fresh.home) == []


def test_a_second_one_says_that_it_runs_already(network: Up) -> None:
    second = shoal("up", "--pipelines", "echo", "--any-ports", home=network.home)
    assert (second.returncode, second.stdout) == (1, "")
    assert f"already running in {network.home}" in second.stderr
    assert str(network.process.pid) in second.stderr
    assert second.stderr.count("\n") == 1


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = shoal("up", "--pipelines", "echo", "--gateway-port", str(port), home=tmp_path)
    assert ended.returncode == 1
    assert f"port {port}" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert living(tmp_path) == []


def test_a_network_that_cannot_start_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "networks" / "local" / "gateway"
    folder.mkdir(parents=True)
    (folder / "journal.sqlite3").write_text("this is no database " * 500)
    ended = shoal("up", "--pipelines", "echo", "--any-ports", home=tmp_path)
    assert ended.returncode == 1
    assert "gateway does not start" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert living(tmp_path) == []


@pytest.mark.parametrize("victim", ["gateway", "orchestrator-1", "orchestrator-2", "worker-1", "worker-2"])
def test_killing_any_process_loses_no_job_and_pays_nobody_twice(network: Up, victim: str) -> None:
    before_wei = charged(network)

    def ask(number: int) -> dict[str, Any]:
        key = f"{victim} {number}"
        return network.buyer.submit("echo", {"text": key, "sleep_ms": 1_000}, key=key)

    asked = [ask(number) for number in range(3 * SLOTS)]
    until(lambda: any(j["state"] == "done" for j in network.buyer.jobs(len(asked))), "a job is done")
    network.kill(victim)
    assert "SIGKILL" in network.said(f"{victim} was killed")

    def ended() -> bool:
        return all(network.buyer.job(job["id"])["state"] == "done" for job in asked)

    until(ended, "every job is done")
    for number, job in enumerate(asked):
        assert network.buyer.result(job["id"]).json()["text"] == f"{victim} {number}"
        assert ask(number)["id"] == job["id"]
    assert_sums(network, before_wei + sum(network.buyer.job(job["id"])["charged_wei"] for job in asked))


def test_a_killed_worker_leaves_no_folder_behind(fresh: Up) -> None:
    link = fresh.home / "networks" / "local" / "worker-1" / "sockets"
    left = link.readlink()
    fresh.kill("worker-1")
    until(lambda: link.is_symlink() and link.readlink() != left, "the worker is back")
    made = link.readlink()
    assert (left.exists(), made.exists()) == (False, True)
    assert fresh.stop() == 0
    assert not made.exists()


def test_a_worker_killed_with_a_job_earns_nothing_for_it(network: Up) -> None:
    before_wei, shares = charged(network), shared(network)
    job = network.buyer.submit("echo", {"text": "x", "sleep_ms": 2_000})
    until(lambda: network.buyer.job(job["id"])["state"] == "running", "the job runs")
    names = {node["id"]: node["name"] for node in network.note["nodes"]}

    def holder() -> str:
        for report in (network.status("orchestrator-1"), network.status("orchestrator-2")):
            for worker in report["workers"]:
                if any(offer["leased"] for offer in worker["offers"]):
                    return str(names[worker["node"]])
        return ""

    until(holder, "somebody has the job")
    victim = holder()
    network.kill(victim)
    ended = network.buyer.ended(job["id"])
    assert ended["state"] == "done"
    assert len(ended["attempts"]) == 2
    assert ended["attempts"][0]["error"]["code"] == "lost"
    assert_sums(network, before_wei + ended["charged_wei"])
    assert [node for node, wei in shared(network).items() if wei > shares.get(node, 0)] == [ended["worker"]]


def shared(network: Up) -> dict[str, int]:
    """What each worker's share of all that was earned is."""
    found: Counter[str] = Counter()
    for report in books(network)[1]:
        for worker in report["workers"]:
            found[worker["node"]] += worker["share_wei"]
    return found


def test_a_killed_up_takes_its_network_along_and_the_next_goes_on(tmp_path: Path) -> None:
    with up(tmp_path) as first:
        job = first.buyer.ended(first.buyer.submit("echo", {"text": "before"})["id"])
        watches = [os.pidfd_open(pid) for pid in living(tmp_path)]
        first.process.kill()
        for watch in watches:
            assert select.select([watch], [], [], 60)[0], "a process outlives the one that started it"
            os.close(watch)
        assert living(tmp_path) == []
    with up(tmp_path) as second:
        assert second.buyer.job(job["id"])["state"] == "done"
        assert second.buyer.result(job["id"]).json()["text"] == "before"
        assert second.stop() == 0


def test_an_up_waits_for_what_a_killed_one_left(tmp_path: Path) -> None:
    with up(tmp_path) as first:
        job = first.buyer.submit("echo", {"text": "x", "sleep_ms": 4_000})
        until(lambda: first.buyer.job(job["id"])["state"] == "running", "the job runs")
        first.process.kill()
        first.process.wait()
        with up(tmp_path) as second:
            assert second.said("of an earlier run is still stopping")
            until(lambda: second.buyer.job(job["id"])["state"] == "done", "the job is done")
            assert second.stop() == 0
    assert living(tmp_path) == []
