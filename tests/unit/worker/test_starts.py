"""What a start takes: remembered where it was measured, guessed by the model's size where it was not."""

from __future__ import annotations

from pathlib import Path

from shoal.worker.models import find
from shoal.worker.starts import LOAD_BYTES_PER_S, PROCESS_MS, Starts

LLM = ("llm", "HuggingFaceTB/SmolLM2-135M-Instruct")


def test_what_was_never_started_is_guessed_by_its_size(tmp_path: Path) -> None:
    starts = Starts(tmp_path / "starts.json")
    assert starts.cold_ms(LLM) == PROCESS_MS + find(*LLM).bytes * 1_000 // LOAD_BYTES_PER_S
    assert starts.cold_ms(("echo", "echo")) == PROCESS_MS
    assert starts.cold_ms(("somebody's", "own")) == PROCESS_MS


def test_what_was_measured_is_remembered(tmp_path: Path) -> None:
    starts = Starts(tmp_path / "starts.json")
    starts.learn(LLM, 1_234)
    starts.learn(("echo", "echo"), 0)
    again = Starts(tmp_path / "starts.json")
    assert again.cold_ms(LLM) == 1_234
    assert again.cold_ms(("echo", "echo")) == 1


def test_a_damaged_memory_and_a_folder_that_is_gone_are_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "starts.json"
    path.write_bytes(b"{")
    assert Starts(path).cold_ms(("echo", "echo")) == PROCESS_MS
    gone = Starts(tmp_path / "gone" / "starts.json")
    gone.learn(LLM, 5)
    assert gone.cold_ms(LLM) == 5
