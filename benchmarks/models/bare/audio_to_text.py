"""faster-whisper: a file of speech, written down."""

from __future__ import annotations

from pathlib import Path

import faster_whisper

from benchmarks.models.bare.script import Job, Work, run


def load(folder: Path, threads: int) -> Work:
    model = faster_whisper.WhisperModel(
        str(folder), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
    )

    def work(job: Job) -> bytes:
        segments, _ = model.transcribe(str(job.file), beam_size=5, vad_filter=True)
        return "".join(segment.text for segment in segments).strip().encode()

    return work


if __name__ == "__main__":
    run(load)
