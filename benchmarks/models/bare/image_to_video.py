"""Our own camera, interpolator and encoder, called in a row: a film over one picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.models.bare.script import Job, Work, run
from shoal.worker.pipelines import film
from shoal.worker.pipelines.camera import camera
from shoal.worker.pipelines.image_to_video import GAP_MAX, framed, seen
from shoal.worker.pipelines.motion_network import Interpolator
from shoal.worker.pipelines.picture import Pixels, decode
from shoal.worker.pipelines.safety import Safety


def load(folder: Path, threads: int) -> Work:
    interpolator = Interpolator(folder / "flownet.pkl", threads)
    safety = Safety(folder / "safety", threads)

    def work(job: Job) -> bytes:
        asked = job.params
        form = film.Form(asked["width"], asked["height"], asked["fps"], asked["num_frames"])
        picture = framed(decode(job.file.read_bytes()), form.width, form.height)
        safety.nsfw(picture)
        return film.encode(frames(picture, form, asked["motion_bucket_id"], asked["seed"]), form, threads)

    def frames(picture: Pixels, form: film.Form, motion: int, seed: int) -> Iterator[Pixels]:
        path = camera(picture.shape[1], picture.shape[0], motion, seed)
        last = form.frames - 1
        here = seen(picture, path.view(0), form.width, form.height)
        yield here
        for number in range(0, last, GAP_MAX):
            until = min(number + GAP_MAX, last)
            there = seen(picture, path.view(until / last), form.width, form.height)
            moments = [(frame - number) / (until - number) for frame in range(number + 1, until)]
            yield from interpolator.between(here, there, moments)
            yield there
            here = there

    return work


if __name__ == "__main__":
    run(load)
