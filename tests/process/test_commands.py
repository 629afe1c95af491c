"""The commands that people type, against a real network with the echo alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running import WAIT_S, Up, shoal, until, up

MINUTE = json.dumps({"sleep_ms": 60_000})


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("network")) as running:
        yield running


def typed(network: Up, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that goes well."""
    ended = shoal(*words, home=network.home)
    assert ended.returncode == 0, ended.stderr
    return ended


def test_run_prints_the_answer_alone_and_says_the_rest_aside(network: Up) -> None:
    ended = typed(network, "run", "echo", "hello")
    assert ended.stdout == "hello\n"
    assert "worker-" in ended.stderr
    assert " for orchestrator-" in ended.stderr
    assert ended.stderr.rstrip().endswith(" gwei")


def test_run_as_json_holds_the_job_and_its_result(network: Up) -> None:
    job = json.loads(typed(network, "run", "echo", "hello", "--json").stdout)
    assert (job["state"], job["result"]["text"]) == ("done", "hello")


def test_one_key_is_one_job(network: Up) -> None:
    ids = {
        json.loads(typed(network, "run", "echo", "x", "--json", "--key", "once").stdout)["id"]
        for _ in range(2)
    }
    assert len(ids) == 1
    other = shoal("run", "echo", "y", "--key", "once", home=network.home)
    assert (other.returncode, other.stdout) == (1, "")
    assert "key" in other.stderr


def test_how_a_job_is_wanted_is_said_and_told(network: Up) -> None:
    ended = typed(network, "run", "echo", "x", "--json", "--priority", "low", "--hedge", "--deadline", "20")
    job = json.loads(ended.stdout)
    assert job["deadline_at_ms"] - job["accepted_at_ms"] == 20_000
    assert "wants        priority low, hedged" in typed(network, "jobs", job["id"]).stdout


def test_an_unknown_model_is_refused_with_those_there_are(network: Up) -> None:
    ended = shoal("run", "echo", "x", "--model", "parrot", home=network.home)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "shoal run: nobody offers 'parrot' for echo; there is echo\n"


@pytest.mark.parametrize("params", ["{", "[]", '{"sleep_ms": -1}'])
def test_wrong_parameters_are_one_line(network: Up, params: str) -> None:
    ended = shoal("run", "echo", "x", "--params", params, home=network.home)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1


def test_jobs_are_listed_and_told(network: Up) -> None:
    job = network.buyer.ended(network.buyer.submit("echo", {"text": "x"})["id"])
    assert job["id"] in typed(network, "jobs").stdout
    listed = json.loads(typed(network, "jobs", "--json", "--limit", "1").stdout)["jobs"]
    assert [one["id"] for one in listed] == [job["id"]]
    told = typed(network, "jobs", job["id"]).stdout
    assert "state        done" in told
    assert "worker       worker-" in told
    assert json.loads(typed(network, "jobs", job["id"], "--json").stdout) == network.buyer.job(job["id"])
    assert shoal("jobs", "job_none", home=network.home).stderr == "shoal jobs: there is no job job_none\n"


def test_watching_a_job_goes_to_its_end(network: Up) -> None:
    job = network.buyer.submit("echo", {"text": "x", "sleep_ms": 1_000})
    lines = typed(network, "jobs", job["id"], "--watch", "--json").stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines][-1] == "done"


def test_a_cancelled_job_costs_nothing_and_is_cancelled_once(network: Up) -> None:
    job = network.buyer.submit("echo", {"text": "x", "sleep_ms": 60_000})
    assert "is cancelled; charged 0 gwei" in typed(network, "cancel", job["id"]).stdout
    assert network.buyer.job(job["id"])["state"] == "cancelled"
    again = network.buyer.ended(network.buyer.submit("echo", {"text": "x"})["id"])
    ended = shoal("cancel", again["id"], home=network.home)
    assert (ended.returncode, ended.stderr) == (1, f"shoal cancel: {again['id']} is done already\n")


def test_ctrl_c_cancels_what_was_run(network: Up) -> None:
    before = {job["id"] for job in network.buyer.jobs(100)}

    def news() -> list[str]:
        jobs = network.buyer.jobs(100)
        return [job["id"] for job in jobs if job["id"] not in before and job["state"] == "running"]

    with subprocess.Popen(
        [sys.executable, "-m", "shoal.cli.main", "run", "echo", "x", "--params", MINUTE],
        env=os.environ | {"SHOAL_HOME": str(network.home)},
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        until(news, "the job runs")
        (job_id,) = news()
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=WAIT_S)
    assert running.returncode == 130
    assert said == f"\n{job_id} is cancelled, charged 0 gwei\n"
    assert network.buyer.job(job_id)["state"] == "cancelled"


def test_models_say_what_is_offered(network: Up) -> None:
    def models() -> list[dict[str, Any]]:
        return list(json.loads(typed(network, "models", "--json").stdout)["models"])

    def slots() -> int:
        return next(int(model["slots"]) for model in models() if model["id"] == "echo")

    until(lambda: slots() == 5, "the one that works for both orchestrators is offered by both")
    llm = next(model for model in models() if model["pipeline"] == "llm")
    assert (llm["slots"], llm["here"], llm["licence"]) == (0, False, "Apache-2.0")


def test_models_are_listed_without_a_network_too(tmp_path: Path) -> None:
    ended = shoal("models", home=tmp_path)
    assert ended.returncode == 0
    assert "openai/whisper-base" in ended.stdout
    assert "language model, 135 million parameters" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 120
