"""Our own picture model: the prompt read, the square painted step by step and refined, then enlarged and judged."""

from __future__ import annotations

from pathlib import Path

from benchmarks.models.bare.script import Job, Work, run
from shoal.worker.pipelines.enlargement import Enlarger
from shoal.worker.pipelines.painting import Wish
from shoal.worker.pipelines.picture import encode
from shoal.worker.pipelines.safety import Safety
from shoal.worker.pipelines.text_to_image import Enlarged, Studio, guidance


def load(folder: Path, threads: int) -> Work:
    studio = Studio(folder, threads)
    enlarged = Enlarged(Enlarger(folder / "upscale", 1))  # one thread, as the runner has it
    safety = Safety(folder / "safety", threads)

    def work(job: Job) -> bytes:
        asked = job.params
        steps, pull = asked["num_inference_steps"], guidance(asked["guidance_scale"])
        wish = Wish(studio.told(asked["prompt"]), studio.told(""), asked["seed"], steps, pull)
        square = studio.paint(wish, lambda done, of: None)
        large = enlarged.fit(square, asked["width"], asked["height"])
        safety.nsfw(large)
        return encode(large)

    return work


if __name__ == "__main__":
    run(load)
