"""Our own reader and tagger, called one after the other: a statement about a picture."""

from __future__ import annotations

from pathlib import Path

from benchmarks.models.bare.script import Job, Work, run
from shoal.worker.pipelines.image_to_text import statement
from shoal.worker.pipelines.picture import decode
from shoal.worker.pipelines.reading import Reader
from shoal.worker.pipelines.tagging import Tagger


def load(folder: Path, threads: int) -> Work:
    tagger, reader = Tagger(folder, threads), Reader(folder, threads)

    def work(job: Job) -> bytes:
        pixels = decode(job.file.read_bytes())
        text = reader.read(pixels, lambda done, of: None)
        return statement(tagger.describe(pixels), text).encode()

    return work


if __name__ == "__main__":
    run(load)
