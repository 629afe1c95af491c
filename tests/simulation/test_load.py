"""The load laboratory: it agrees with queueing theory, repeats itself, and shows what the gateway promises.

The goals are asserted on few seeds here; `make lab` measures them over more, into docs/load.md.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial
from pathlib import Path
from random import Random

import pytest

from shoal.cli.main import main
from shoal.cli.sim import BEGIN, END
from shoal.sim.load.arrivals import Kind, draw, poisson
from shoal.sim.load.contenders import contender, names
from shoal.sim.load.figures import figures_of, interval
from shoal.sim.load.runs import REPORTED, Round, Task, mark, play, play_all, tasks
from shoal.sim.load.scenarios import SCENARIOS, _city, scenario
from shoal.sim.load.street import run
from shoal.sim.load.tables import page
from shoal.sim.load.trace import Fleet, Operator, Trace, Ware, read_trace, trace_lines


@lru_cache
def round_of(name: str, policy: str, rate: float | None = None, seed: int = 0) -> Round:
    """A contender on a scenario."""
    return play(Task(name, scenario(name).rates[-1] if rate is None else rate, seed, policy))


# The laboratory itself


def erlang_wait(servers: int, load: float) -> float:
    """The mean wait in an M/M/c queue, in units of the mean service."""
    offered = servers * load
    blocked = offered**servers / factorial(servers)
    idle = (1 - load) * sum(offered**n / factorial(n) for n in range(servers))
    return blocked / (idle + blocked) / (servers * (1 - load))


def test_the_wait_in_a_plain_queue_is_what_erlang_says() -> None:
    servers, load, mean_ms = 4, 0.8, 20_000
    kind = Kind(pipeline="echo", model="m", deadline_ms=3_600_000, work_mean_ms=mean_ms)
    ware = Ware(pipeline="echo", model="m", wei=1)
    fleet = Fleet(orchestrators=tuple(Operator(name=f"o{n}", wares=(ware,)) for n in range(servers)))
    waits, served = [], []
    for seed in range(10):
        rng = Random(seed)
        jobs = draw(poisson(rng, servers * load * 1_000 / mean_ms), [kind], ["t"], rng, jobs=1_000)
        trace = Trace(
            name="erlang",
            seed=seed,
            fleet=fleet,
            arrivals=jobs,
            from_ms=jobs[100].at_ms,
            until_ms=jobs[-1].at_ms,
        )
        found = figures_of(trace, run(trace, contender("least-loaded", trace)).ended)
        waits.append(found.queue_mean_ms / mean_ms)
        served.append(found.success_share)
    assert served == [1.0] * 10
    assert erlang_wait(1, 0.5) == pytest.approx(1.0)  # M/M/1: load / (1 - load)
    assert erlang_wait(servers, load) in interval(waits)
    assert interval(waits).half < erlang_wait(servers, load) / 2


def test_a_load_comes_to_the_same_every_time() -> None:
    task = Task("flapping", 0.4, 3, "balanced")
    assert play(task) == play(task)
    few = [Task("event", 1.0, 1, policy) for policy in ("random", "livepeer-early")]
    assert play_all(few, 2) == play_all(few, 1)


def test_every_scenario_can_be_written_and_read() -> None:
    for its in SCENARIOS.values():
        if its.name != "city":
            trace = its.make(0, its.rates[0])
            assert read_trace(trace_lines(trace)) == trace


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "city"])
def test_nobody_passes_the_oracle(name: str) -> None:
    for policy in names() if name == "waves" else ("balanced", "livepeer-early", "bound-random"):
        found = round_of(name, policy)
        assert found.figures.success_share <= found.best.most_share + 1e-9, policy
        assert found.best.in_turn <= found.best.planned <= found.best.most <= found.best.jobs


# What the gateway promises


def test_no_job_fails_that_an_oracle_could_serve_in_the_load_test() -> None:
    for rate in (1, 2, 3, 4):
        found = round_of("load-test", "balanced", rate)
        assert found.best.planned_share == 1.0
        assert found.figures.success_share == 1.0
    assert round_of("load-test", "livepeer-early", 4).pipelines["image-to-video"].failure_share > 0.2


def test_the_reported_failures_can_be_found() -> None:
    found = mark(REPORTED[1], range(2))
    assert found.rate is not None
    assert found.failed == pytest.approx(found.reported, abs=0.08)
    ours = round_of("event", "balanced", found.rate)
    assert ours.best.planned_share == 1.0
    assert ours.figures.success_share == 1.0


@pytest.mark.parametrize("rate", [1 / 13, 1.0])
def test_the_event_as_it_was_told_succeeds_whole(rate: float) -> None:
    assert round_of("event", "balanced", rate).figures.success_share == 1.0


def test_full_orchestrators_are_left_alone() -> None:
    ours = round_of("half-full", "balanced").figures
    assert ours.success_share == 1.0
    assert ours.full_share <= 0.01
    assert round_of("half-full", "livepeer-early").figures.full_share > 0.3


def test_the_tail_is_short_where_speeds_differ() -> None:
    ours = round_of("uneven", "balanced").figures
    for rival in ("bound-round-robin", "bound-random"):
        assert round_of("uneven", rival).figures.total_p99_ms >= 2 * ours.total_p99_ms


def test_goodput_holds_under_three_times_the_load() -> None:
    peak = max(round_of("overload", "balanced", rate).figures.goodput_per_s for rate in (0.8, 1.0, 1.5))
    thrice = round_of("overload", "balanced", 3.0).figures
    assert thrice.goodput_per_s >= 0.9 * peak
    assert thrice.jain >= 0.95
    assert thrice.retry_share <= 0.1
    assert thrice.retry_after_share == 1.0
    assert thrice.refused_p99_ms <= 50


def test_a_flood_drowns_nobody_else() -> None:
    assert round_of("flood", "balanced").figures.jain >= 0.95
    assert round_of("flood", "livepeer-early").figures.jain < 0.7


def test_a_crowd_is_served_to_the_last() -> None:
    assert round_of("crowd", "balanced").figures.success_share == 1.0
    assert round_of("crowd", "livepeer-stake").figures.success_share < 0.8


def test_what_dies_in_silence_takes_few_jobs_with_it() -> None:
    ours = round_of("flapping", "balanced").figures
    assert ours.success_share >= 0.99
    assert ours.success_share > round_of("flapping", "livepeer-stake").figures.success_share


def test_a_small_city_lives() -> None:
    trace = _city(0, 0.7, orchestrators=40, workers=5)
    assert len(trace.fleet.orchestrators) == 40
    found = figures_of(trace, run(trace, contender("balanced", trace)).ended)
    assert found.success_share == 1.0
    assert found.full_share == 0.0


# What people see


def test_tables_name_everybody() -> None:
    rounds = play_all(tasks(["waves"], ["balanced", "livepeer-stake"], [0, 1]), 1)
    text = "\n".join(page(rounds))
    for word in ("Jobs in waves", "balanced", "livepeer-stake", "p99", "±"):
        assert word in text


def test_rounds_are_written_read_and_drawn_into_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_into = tmp_path / "page.md"
    draw_into.write_text(f"before\n{BEGIN}old\n{END}after\n")
    few = ["sim", "load", "waves", "--policy", "balanced", "--seeds", "2", "--processes", "1"]
    assert main([*few, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert main(["sim", "load", "all", "--read", str(tmp_path / "out"), "--page", str(draw_into)]) == 0
    assert capsys.readouterr().out == printed
    drawn = draw_into.read_text()
    assert drawn.startswith(f"before\n{BEGIN}")
    assert drawn.endswith(f"{END}after\n")
    assert printed.strip() in drawn
    assert "old" not in drawn
    assert main(["sim", "load", "all", "--read", str(tmp_path)]) == 1
    assert "holds no rounds.jsonl" in capsys.readouterr().err


def test_a_load_can_be_taken_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "load.jsonl"
    assert main(["sim", "load", "event", "--rate", "1", "--first", "7", "--trace", str(file)]) == 0
    assert "311 jobs" in capsys.readouterr().out
    assert read_trace(file.read_bytes().splitlines()) == scenario("event").make(7, 1.0)


def test_the_command_prints_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sim", "load", "waves", "--policy", "fastest", "--seeds", "1", "--processes", "1"]
    assert main([*words, "--csv"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert len(head.split(",")) == len(line.split(","))
    assert line.startswith("waves,1,0,fastest,,")
    assert main(["sim", "load", "nowhere"]) == 1
    assert "there is no scenario 'nowhere'" in capsys.readouterr().err
    assert main(["sim", "load", "waves", "--policy", "luck"]) == 1
    assert "there is no policy 'luck'" in capsys.readouterr().err
