"""What two versions come to: ratios within pairs alone, noisy pairs set aside, and a verdict that dares to say no."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from benchmarks import against
from benchmarks.against import OURS, PAIRS_MIN, SIDES, THEIRS, Pair, Plan, outcome, quiet, take
from benchmarks.sides import Side, Window


def window(side: str, jobs_s: float, *, strangers: float = 0.0, errors: int = 0) -> Window:
    return Window(
        run="r",
        round=0,
        side=side,
        clients=64,
        answered=1_000,
        errors=errors,
        examples=[],
        jobs_s=jobs_s,
        p50_ms=2e4 / jobs_s,
        p99_ms=5e4 / jobs_s,
        cpu_us={"gateway": 2e5 / jobs_s, "worker": 1e5 / jobs_s},
        client_us=20.0,
        foreign_cores=strangers,
    )


def pair(now: float, then: float, *, strangers: float = 0.0) -> Pair:
    return {OURS: window(OURS, now, strangers=strangers), THEIRS: window(THEIRS, then)}


def test_only_the_ratio_within_a_pair_counts() -> None:
    """The machine was twice as slow for half of the pairs; each lost a twentieth."""
    found = outcome([pair(950 * k, 1_000 * k) for k in (1, 2, 1, 2, 1, 2)], lost=0.10)
    figures = {each.name: each.ratio.value for each in found.figures}
    assert figures["jobs/s"] == pytest.approx(0.95)
    assert figures["p50 ms"] == pytest.approx(figures["gateway CPU a job µs"]) == pytest.approx(1 / 0.95)
    assert figures["CPU a job µs"] == pytest.approx(1 / 0.95)
    assert found.verdict == "met"


def test_a_verdict_needs_the_whole_interval_on_one_side() -> None:
    assert outcome([pair(800, 1_000)] * 6, lost=0.10).verdict == "not met"
    assert outcome([pair(800, 1_000), pair(1_000, 1_000)] * 3, lost=0.10).verdict == "undecided"
    assert outcome([pair(1_000, 1_000)] * (PAIRS_MIN - 1), lost=0.10).verdict == "too few pairs to say"


def test_wrong_answers_void_it() -> None:
    wrong = {OURS: window(OURS, 1_000, errors=2), THEIRS: window(THEIRS, 1_000)}
    assert outcome([wrong, *[pair(1_000, 1_000)] * 5], lost=0.10).verdict == "void: 2 wrong answers"


def test_noisy_pairs_are_set_aside_while_there_are_enough_others() -> None:
    noisy = [pair(100, 1_000, strangers=1.0)] * 6
    some = outcome([*noisy, *[pair(950, 1_000)] * PAIRS_MIN], lost=0.10)
    assert (some.used, some.taken, some.quiet, some.verdict) == (PAIRS_MIN, 6 + PAIRS_MIN, True, "met")
    none = outcome([*noisy, *[pair(950, 1_000)] * (PAIRS_MIN - 1)], lost=0.10)
    assert (none.used, none.quiet) == (6 + PAIRS_MIN - 1, False)
    assert "so all 10 are used" in against.report(none, "head")


def test_every_process_has_its_row() -> None:
    text = against.report(outcome([pair(950, 1_000)] * 5, lost=0.10), "head")
    assert "| jobs/s | 1,000.00 | 950.00 | 0.950 | 0.950 to 0.950 |" in text
    assert all(f"| {name} CPU a job µs |" in text for name in ("gateway", "worker"))
    assert text.endswith("jobs/s now ÷ then ≥ 0.9: met.")


@pytest.mark.parametrize(("strangers", "taken", "worth"), [(0.0, 4, 4), (1.0, 8, 0)])
def test_noisy_pairs_are_taken_again_up_to_twice_as_many(
    monkeypatch: pytest.MonkeyPatch, strangers: float, taken: int, worth: int
) -> None:
    asked: list[str] = []

    def one(sides: Mapping[str, Side], run: str, round_: int, name: str, clients: int, s: float) -> Window:
        asked.append(name)
        return window(name, 1_000, strangers=strangers)

    monkeypatch.setattr(against, "window", one)
    monkeypatch.setattr(against, "append", lambda part, records: None)
    pairs = take(Plan(rounds=4, clients=64, seconds=1.0, lost=0.1), "r", {})
    assert (len(pairs), len(quiet(pairs))) == (taken, worth)
    orders = [tuple(asked[at : at + 2]) for at in range(2, len(asked), 2)]
    assert set(orders) == {SIDES, SIDES[::-1]}, "each side is the first one now and then"


def test_what_is_unpacked_is_the_commit_and_not_what_lies_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, folder = tmp_path / "repository", tmp_path / "then"
    file = ours / "src" / "shoal" / "word.py"
    file.parent.mkdir(parents=True)
    folder.mkdir()
    monkeypatch.setattr(against, "REPOSITORY", ours)
    file.write_text("then")
    for command in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", "x"),
    ):
        subprocess.run(("git", *command), cwd=ours, check=True)
    file.write_text("now")
    source = against.unpack(against.named("HEAD"), folder)
    assert (source / "shoal" / "word.py").read_text() == "then"
    with pytest.raises(SystemExit, match="nowhere"):
        against.named("nowhere")
