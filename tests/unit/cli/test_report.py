"""What a load came to, in every form: sums that must be right, and a page that must stand alone."""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from shoal.cli import paper, report
from shoal.cli.mix import Part, Writer, echoed, read_mix
from shoal.cli.plots import Bins, Sweep
from shoal.cli.report import Run, Sender
from shoal.errors import Refused
from shoal.sim.load.arrivals import Kind
from shoal.sim.load.figures import Interval
from shoal.sim.load.stream import SHAPES, Shape, stream
from shoal.sim.load.trace import Ended, Fleet, Operator, Trace, Ware

ECHO = Kind(pipeline="echo", model="echo", deadline_ms=1_000, work_min_ms=100, work_max_ms=100)


def run(name: str = "balanced", seed: int = 0, *, refuse: int = 5) -> Run:
    """A run in which every `refuse`-th job is turned away and every seventh fails."""
    arrivals = stream([ECHO], ["a", "a", "b"], per_s=20, seconds=10, seed=seed)
    operators = tuple(
        Operator(name=f"o{n}", wares=(Ware(pipeline="echo", model="echo", slots=2),)) for n in range(2)
    )
    trace = Trace(
        name="try", fleet=Fleet(orchestrators=operators), arrivals=arrivals, seed=seed, until_ms=10_000
    )
    ended = []
    for index, one in enumerate(arrivals):
        accepted, done = index % refuse != 0, index % 7 != 0
        ended.append(
            Ended(
                index=index,
                at_ms=one.at_ms,
                tenant=one.tenant,
                pipeline="echo",
                model="echo",
                work_ms=100,
                accepted=accepted,
                done=accepted and done,
                in_time=accepted and done,
                code="busy" if not accepted else "" if done else "lost",
                retry_after_ms=0 if accepted else 1_000,
                queue_ms=index if accepted else 0,
                run_ms=100 if accepted and done else 0,
                total_ms=index + 110 if accepted else 3,
                attempts=int(accepted),
                failed=int(accepted and not done),
                wei=10**9 if accepted and done else 0,
                orchestrator=f"o{index % 2}" if accepted else "",
            )
        )
    sender = Sender(late_p99_ms=1.0, late_max_ms=4.0, unfinished=2)
    return Run(name=name, trace=trace, ended=tuple(ended), sender=sender)


def test_every_sum_is_right() -> None:
    said = report.value(run())
    counts = said["counts"]
    assert counts["offered"] == counts["accepted"] + counts["refused"] == len(run().ended)
    assert counts["accepted"] == counts["done"] + counts["failed"]
    assert said["refusals"] == {"busy": counts["refused"]}
    assert said["failures"] == {"lost": counts["failed"]}
    assert sum(one["jobs"] for one in said["tenants"]) == counts["offered"]
    assert sum(one["jobs"] for one in said["orchestrators"]) == counts["accepted"]
    assert said["paid_wei"] == counts["done"] * 10**9
    assert said["slots"] == {"o0": 2, "o1": 2}
    assert counts["unfinished"] == 2


def test_the_table_holds_every_job_once() -> None:
    rows = list(csv.DictReader(report.table(run()).splitlines()))
    assert [int(row["index"]) for row in rows] == list(range(len(run().ended)))
    assert sum(int(row["wei"]) for row in rows) == sum(job.wei for job in run().ended)


def test_people_are_told_what_was_turned_away_and_why() -> None:
    text = "\n".join(report.text(run()))
    assert "turned away: busy" in text
    assert "failed: lost" in text
    assert "100% were told when to come again" in text
    assert "2 requests had no answer yet" in text
    assert "TOO SLOW" not in text
    slow = Run(name="x", trace=run().trace, ended=run().ended, sender=Sender(late_p99_ms=200.0))
    assert "THE CLIENT WAS TOO SLOW" in "\n".join(report.text(slow))


@pytest.mark.parametrize(
    ("value_ms", "said"),
    [(0.44, "0.4 ms"), (31.2, "31 ms"), (2_345.0, "2.35 s"), (23_450.0, "23.4 s"), (1_234_567.0, "1,235 s")],
)
def test_times_have_three_digits_or_so(value_ms: float, said: str) -> None:
    assert report.milliseconds(value_ms) == said


def parsed(page: str) -> list[ET.Element]:
    """Every picture of a page, read as XML."""
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]  # noqa: S314 - our own


def test_a_page_stands_alone_and_its_pictures_are_whole() -> None:
    page = paper.page([run()])
    assert len(parsed(page)) == 5
    assert not re.search(r"<script|<link|<img|@import|https?://(?!www\.w3\.org/)", page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "what two pictures refer to has two names"
    for name in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert name in ids
    # Every colour is the page's own, so that it can change at night.
    assert not re.search(r"(fill|stroke): #(?!0102)[0-9a-f]{6}", page.partition("</style>")[2])
    assert "var(--c0)" in page
    assert "#0101" not in page


def test_a_page_of_several_compares_them_by_intervals() -> None:
    runs = [run(name, seed) for seed in range(3) for name in ("balanced", "<random>")]
    page = paper.page(runs, title="Two & two")
    assert "<h1>Two &amp; two</h1>" in page
    assert "&lt;random&gt;" in page
    assert "<random>" not in page
    assert "Means of 3 runs" in page
    # One picture that compares, one of times, and four of one run of each.
    assert len(parsed(page)) == 2 + 2 * 4


def test_a_sweep_marks_what_was_reported() -> None:
    def level(value: float) -> Interval:
        return Interval(value, value - 0.02, value + 0.02, 5)

    sweep = Sweep(
        title="The rate is swept",
        x_name="jobs a minute",
        y_name="failed",
        places=(1.0, 2.0, 4.0),
        curves={"early": tuple(map(level, (0.0, 0.4, 0.7))), "ours": tuple(map(level, (0.0, 0.0, 0.0)))},
        marks=((0.69, "reported: 69 %"),),
        places_marked=((3.9, "here"),),
    )
    page = paper.pages("Sweep", [paper.Chapter(title="Sweep", sweeps=(sweep,))])
    (picture,) = parsed(page)
    words = html.unescape("".join(picture.itertext()))
    assert "reported: 69 %" in words
    assert "early" in words


def test_bins_lose_nothing_within_the_window() -> None:
    bins = Bins(0, 10_000, 20)
    assert sum(bins.counts([0, 1, 9_999, 10_000, -1])) == 3
    jobs = [job for job in run().ended if job.run_ms]
    inside = [job for job in jobs if job.at_ms + job.queue_ms + job.run_ms < 10_000]
    spells = [(job.at_ms + job.queue_ms, job.at_ms + job.queue_ms + job.run_ms) for job in inside]
    assert sum(bins.busy(spells)) * 500 == pytest.approx(sum(job.run_ms for job in inside))


# What is asked


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_draws_the_same_stream_again(shape: Shape) -> None:
    def draw(seed: int) -> object:
        return stream([ECHO], ["a", "b"], per_s=20, seconds=30, shape=shape, seed=seed)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_a_mix_says_what_one_looks_like(tmp_path: Path) -> None:
    file = tmp_path / "mix.json"
    file.write_text(
        '[{"pipeline": "echo", "weight": 2, "work_ms": 5}, {"pipeline": "llm", "deadline_ms": 9}]'
    )
    assert [part.pipeline for part in read_mix(file)] == ["echo", "llm"]
    file.write_text('[{"pipline": "echo"}]')
    with pytest.raises(Refused, match="one is: "):
        read_mix(file)


def test_keys_are_dealt_to_tenants_in_turn() -> None:
    writer = Writer(run="r", keys=["k1", "k2"])
    assert [writer.token(tenant) for tenant in ("a", "b", "c", "a")] == ["k1", "k2", "k1", "k1"]
    assert not writer.own_tenants
    assert Writer(run="r").token("a") == "r-a"


def test_a_file_goes_as_a_form(tmp_path: Path) -> None:
    picture = tmp_path / "one.png"
    picture.write_bytes(b"PNG")
    part = Part(pipeline="upscale", file=str(picture))
    kind, body = Writer([part], run="r").body(
        Trace(
            name="t",
            fleet=Fleet(orchestrators=()),
            arrivals=stream(
                [Kind(pipeline="upscale", model=part.model, deadline_ms=1)], ["a"], per_s=9, seconds=1
            ),
        ).arrivals[0]
    )
    assert kind.startswith("multipart/form-data; boundary=")
    assert b"PNG" in body
    assert b'name="pipeline"\r\n\r\nupscale' in body
    with pytest.raises(Refused, match="takes a file"):
        Writer([Part(pipeline="upscale")], run="r")
    with pytest.raises(Refused, match="takes no file"):
        Writer([Part(pipeline="echo", file=str(picture))], run="r")


def test_an_echo_stands_for_other_work_on_both_sides() -> None:
    videos = Kind(
        pipeline="image-to-video", model="m", deadline_ms=600_000, work_min_ms=40_000, work_max_ms=40_000
    )
    ware = Ware(pipeline="image-to-video", model="m", slots=3, wei=5)
    fleet = Fleet(orchestrators=(Operator(name="o", wares=(ware,)),))
    trace = echoed(Trace(name="t", fleet=fleet, arrivals=stream([videos], ["a"], per_s=1, seconds=5)))
    needs = {arrival.need for arrival in trace.arrivals}
    assert needs == {("echo", "image-to-video:m")} == set(trace.fleet.needs())
    assert {arrival.work_ms for arrival in trace.arrivals} == {40_000}
    assert trace.fleet.slots(("echo", "image-to-video:m")) == 3
