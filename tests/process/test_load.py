"""Load on a small real network: the figures add up, the report is written, and Ctrl-C leaves the report so far."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running import WAIT_S, Up, until, up

SECONDS = 3


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("load")) as running:
        yield running


def load(network: Up, *flags: str) -> subprocess.Popen[str]:
    """Begin `shoal load` against the network."""
    return subprocess.Popen(
        [sys.executable, "-m", "shoal.cli.main", "load", "--gateway", network.note["gateway"], *flags],
        env=os.environ | {"SHOAL_HOME": str(network.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report(process: subprocess.Popen[str], code: int = 0) -> list[dict[str, Any]]:
    """What it tells of its runs as JSON."""
    out, error = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, error
    return list(json.loads(out)["runs"])


def remembered(network: Up) -> dict[str, int]:
    """How many jobs the gateway has in which state."""
    return dict(network.buyer.network()["jobs"])


def assert_adds_up(run: dict[str, Any]) -> None:
    counts = run["counts"]
    assert counts["offered"] == counts["accepted"] + counts["refused"]
    assert counts["accepted"] == counts["done"] + counts["failed"]
    assert counts["refused"] == sum(run["refusals"].values())
    assert counts["failed"] == sum(run["failures"].values())
    assert counts["offered"] == sum(tenant["jobs"] for tenant in run["tenants"])
    assert counts["done"] == sum(one["done"] for one in run["orchestrators"])
    assert run["paid_wei"] == sum(one["wei"] for one in run["orchestrators"])
    assert run["figures"]["jobs"] == counts["offered"]


def test_no_job_is_lost_and_every_sum_is_right(network: Up, tmp_path: Path) -> None:
    before = remembered(network)["remembered"]
    charged_wei = network.buyer.network()["ledger"]["charged_wei"]
    table, page = tmp_path / "jobs.csv", tmp_path / "load.html"
    flags = ("--rate", "60", "--seconds", str(SECONDS), "--shares", "4,1,1", "--deadline", "2")
    process = load(network, "--work-ms", "200", *flags, "--json", "--csv", str(table), "--html", str(page))
    (run,) = report(process)
    assert_adds_up(run)
    counts = run["counts"]
    assert counts["offered"] > 100
    assert counts["done"] > 20
    assert counts["refused"] + counts["failed"] > 0, "five slots of 200 ms cannot do 60 jobs a second"
    # What the client counts is what the gateway knows.
    assert remembered(network)["remembered"] - before == counts["accepted"]
    assert network.buyer.network()["ledger"]["charged_wei"] - charged_wei == run["paid_wei"]
    # Every job is in the table, once.
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [int(row["index"]) for row in rows] == list(range(counts["offered"]))
    assert Counter(row["accepted"] for row in rows) == {"1": counts["accepted"], "0": counts["refused"]}
    for row in rows:
        assert int(row["queue_ms"]) + int(row["run_ms"]) <= int(row["total_ms"]) + 1
    # The page stands alone.
    text = page.read_text()
    assert text.count("<svg") == 5
    assert not re.search(r"<script|<link|<img|src=|url\(h|@import", text)
    assert set(re.findall(r"""(?:href|src)="([^"]+)""", text)) <= set(re.findall(r'href="(#[^"]+)', text))


def test_the_same_seed_asks_the_same_of_each_policy(network: Up) -> None:
    flags = ("--work-ms", "20", "--rate", "30", "--seconds", "1", "--arrivals", "bursts", "--repeat", "2")
    runs = report(load(network, *flags, "--policy", "random", "--policy", "two-choices", "--json"))
    assert [(run["name"], run["seed"]) for run in runs] == [
        ("random", 0),
        ("two-choices", 0),
        ("random", 1),
        ("two-choices", 1),
    ]
    assert runs[0]["counts"]["offered"] == runs[1]["counts"]["offered"]
    assert runs[2]["counts"]["offered"] == runs[3]["counts"]["offered"]
    for run in runs:
        assert_adds_up(run)


def test_ctrl_c_leaves_a_report_and_no_job_behind(network: Up, tmp_path: Path) -> None:
    page = tmp_path / "load.html"
    process = load(
        network, "--work-ms", "500", "--rate", "20", "--seconds", "600", "--json", "--html", str(page)
    )
    until(lambda: remembered(network)["running"] and remembered(network)["queued"], "jobs run and wait")
    ended = network.buyer.network()["ledger"]["charged_wei"]
    until(lambda: network.buyer.network()["ledger"]["charged_wei"] > ended, "a job has ended")
    process.send_signal(signal.SIGINT)
    (run,) = report(process, code=130)
    assert_adds_up(run)
    assert run["counts"]["done"] > 0
    assert run["counts"]["unfinished"] > 0
    assert "<svg" in page.read_text()
    until(
        lambda: not (remembered(network)["running"] or remembered(network)["queued"]), "nothing is left open"
    )


def test_a_trace_is_replayed_with_its_own_times(network: Up, tmp_path: Path) -> None:
    arrival = {"pipeline": "image-to-video", "model": "m", "work_ms": 40_000, "deadline_ms": 900_000}
    trace = tmp_path / "trace.jsonl"
    lines: list[dict[str, Any]] = [{"name": "small", "fleet": {"orchestrators": []}, "seed": 7}]
    lines += [{**arrival, "at_ms": number * 20_000, "tenant": f"t{number % 2}"} for number in range(10)]
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
    # Nobody here sells that model, so that every one is turned away, and says so.
    (run,) = report(load(network, "--trace", str(trace), "--as-echo", "--scale", "0.005", "--json"))
    assert run["counts"] | {"offered": 10, "accepted": 0, "refused": 10} == run["counts"]
    assert run["scale"] == 0.005
    assert [tenant["jobs"] for tenant in run["tenants"]] == [5, 5]


def test_what_cannot_be_sent_is_said_at_once(network: Up, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    arrival = {"at_ms": 0, "pipeline": "upscale", "model": "m", "work_ms": 1, "deadline_ms": 1}
    trace.write_text(json.dumps({"name": "t", "fleet": {"orchestrators": []}, "arrivals": [arrival]}))
    for flags, words in (
        (("--trace", str(trace)), "nobody said what upscale is to be asked"),
        (("--pipeline", "upscale"), "takes a file"),
        (("--pipeline", "echo", "--params", "[1]"), "no JSON object"),
        (("--rate", "0"), "above 0"),
        (("--pipeline", "echo", "--shares", "1,x"), "whole numbers"),
        (("--trace", str(tmp_path / "none")), "cannot be read"),
    ):
        process = load(network, *flags)
        _, error = process.communicate(timeout=WAIT_S)
        assert process.returncode == 1
        assert words in error
        assert error.count("\n") == 1
