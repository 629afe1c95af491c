"""What the benchmark of models compares, and how it judges: without a model and without a clock."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest
from benchmarks.models.jobs import PipelineJob, chat_text, form, jobs, masks, text, vectors
from benchmarks.models.report import Pair, Sample, by_round, models_report

from shoal.wire.pipelines import PIPELINES
from shoal.worker.pipelines.form import read_form

JOB = jobs()["image-to-image"]
QUIET = Sample(
    run="now",
    round=0,
    pipeline=JOB.pipeline,
    side="bare",
    jobs=3,
    seconds=3.0,
    p50_ms=100.0,
    max_ms=120.0,
    cpu_s_a_job=0.2,
    model_mib=50.0,
    all_mib=50.0,
    ready_s=1.0,
    foreign_cores=0.0,
    answers=["a"],
)


def street(**changes: object) -> Sample:
    told: dict[str, object] = {"side": "street", "p50_ms": 110.0, "model_mib": 60.0, "all_mib": 160.0}
    return replace(QUIET, **(told | changes))


def report(*samples: Sample) -> str:
    return models_report(samples, jobs=[JOB], skipped={}, head="")


def row(*samples: Sample) -> list[str]:
    [line] = [line for line in report(*samples).splitlines() if line.startswith(f"| {JOB.pipeline}")][:1]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_pipeline_that_has_models_has_a_job() -> None:
    assert set(jobs()) == {name for name, pipeline in PIPELINES.items() if pipeline.has_models}


@pytest.mark.parametrize("job", jobs().values(), ids=jobs())
def test_a_job_is_what_its_pipeline_takes(job: PipelineJob) -> None:
    pipeline = PIPELINES[job.pipeline]
    assert set(job.params) <= set(pipeline.request.__struct_fields__)
    assert [job.file_field] == ([pipeline.media[0].field] if pipeline.media else [""])
    assert not job.file or job.path.is_file()
    if pipeline.seed_field:
        assert pipeline.seed_field in job.params, "its answers could not be compared"


def test_a_form_holds_the_parameters_and_the_file() -> None:
    fields = read_form(*form(JOB))
    assert fields.pop("image") == JOB.path.read_bytes()
    assert fields == {"prompt": b"a cup like starry night", "strength": b"0.8", "seed": b"7"}


def test_what_is_compared_is_read_out_of_the_networks_answer() -> None:
    assert chat_text(b'{"choices": [{"message": {"content": "blue"}}]}') == b"blue"
    assert text(b'{"text": "said", "chunks": []}') == b"said"
    numbers = [0.1, -2.5]
    data = json.dumps({"data": [{"embedding": numbers}, {"embedding": numbers}]}).encode()
    assert vectors(data) == struct.pack("4f", *numbers, *numbers)
    assert masks(b'{"masks": "[[1]]", "scores": "[0.5]", "logits": "[[2]]"}') == b"[[1]]\n[0.5]\n[[2]]"


def test_the_difference_is_taken_within_a_round() -> None:
    samples = []
    for round_, drift in enumerate((0.0, 500.0, 1000.0)):
        samples += [
            replace(QUIET, round=round_, p50_ms=100 + drift),
            street(round=round_, p50_ms=110 + drift),
        ]
    assert row(*samples)[1:6] == ["610.0", "600.0", "+10.0", "+10.0 to +10.0", "+1.7"]


def test_a_noisy_window_is_set_aside_unless_there_is_no_other() -> None:
    noisy = replace(QUIET, p50_ms=900.0, foreign_cores=1.0)
    assert by_round([QUIET, noisy], lambda sample: sample.p50_ms) == {0: 100.0}
    assert by_round([noisy], lambda sample: sample.p50_ms) == {0: 900.0}
    assert "0 of 1" in row(noisy, street())[-1]


def test_rounds_without_a_quiet_window_of_both_give_no_difference() -> None:
    cells = row(QUIET, street(round=1))
    assert cells[3].startswith("no round")


def test_unequal_answers_are_said_to_be_unequal_even_from_a_noisy_window() -> None:
    assert Pair((street(),), (QUIET,)).compared() == "equal"
    astray = street(answers=["b"], foreign_cores=1.0)
    assert Pair((street(), astray), (QUIET,)).compared() == "NOT EQUAL"
    mixed = Pair((street(answers=["a", "b"]),), (replace(QUIET, answers=["a", "b"]),))
    assert mixed.compared() == "2 kinds, the same of both"


def test_what_was_skipped_is_named_and_half_a_pair_is_no_row() -> None:
    told = models_report([QUIET], jobs=[JOB], skipped={JOB.pipeline: "no model\nmore"}, head="")
    assert f"Skipped: **{JOB.pipeline}**: no model" in told
    assert f"| {JOB.pipeline}" not in told
