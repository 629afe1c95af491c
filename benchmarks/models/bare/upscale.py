"""ncnn: a picture made 4 times as large, in tiles that see a little of their surroundings."""

from __future__ import annotations

import io
from pathlib import Path

import ncnn
import numpy as np
from PIL import Image

from benchmarks.models.bare.script import Job, Work, run

FACTOR, TILE, MARGIN = 4, 128, 10


def load(folder: Path, threads: int) -> Work:
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = threads
    net.load_param(str(folder / "model.param"))
    net.load_model(str(folder / "model.bin"))

    def enlarge(tile: np.ndarray) -> np.ndarray:
        pixels = np.ascontiguousarray(tile)
        matrix = ncnn.Mat.from_pixels(pixels, ncnn.Mat.PixelType.PIXEL_RGB, tile.shape[1], tile.shape[0])
        matrix.substract_mean_normalize([], [1 / 255] * 3)
        extractor = net.create_extractor()
        extractor.input("data", matrix)
        _, out = extractor.extract("output")
        return (np.array(out).transpose(1, 2, 0) * 255).round().clip(0, 255).astype(np.uint8)

    def work(job: Job) -> bytes:
        rgb = np.asarray(Image.open(job.file).convert("RGB"))
        high, wide = rgb.shape[:2]
        seen = np.pad(rgb, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")
        large = np.empty((high * FACTOR, wide * FACTOR, 3), np.uint8)
        cut = MARGIN * FACTOR
        for top in range(0, high, TILE):
            for left in range(0, wide, TILE):
                tile = enlarge(seen[top : top + TILE + 2 * MARGIN, left : left + TILE + 2 * MARGIN])
                inner = tile[cut:-cut, cut:-cut]
                down, across = top * FACTOR, left * FACTOR
                large[down : down + inner.shape[0], across : across + inner.shape[1]] = inner
        return png(large)

    return work


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=3)
    return file.getvalue()


if __name__ == "__main__":
    run(load)
