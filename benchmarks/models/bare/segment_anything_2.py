"""OpenCV and our own regions: what stands in a box, cut out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2

from benchmarks.models.bare.script import Job, Work, run
from shoal.worker.pipelines import cutout
from shoal.worker.pipelines.efficientnet import EfficientNet
from shoal.worker.pipelines.picture import decode
from shoal.worker.pipelines.segment_anything_2 import WEIGHTS, said


def load(folder: Path, threads: int) -> Work:
    cv2.setNumThreads(threads)
    network = EfficientNet(folder / WEIGHTS, threads, "features")

    def work(job: Job) -> bytes:
        pixels = decode(job.file.read_bytes())
        left, top, right, bottom = json.loads(job.params["box"])
        prompt = cutout.Prompt(box=(left, top, right, bottom))
        frame = cutout.frame_for(pixels, prompt.box)
        part = pixels[frame.top : frame.bottom, frame.left : frame.right]
        answer = said(cutout.cut(pixels, network.features(part), frame, prompt), logits=False)
        return "\n".join((answer["masks"], answer["scores"], answer["logits"])).encode()

    return work


if __name__ == "__main__":
    run(load)
