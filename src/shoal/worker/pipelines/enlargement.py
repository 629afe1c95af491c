"""Enlarging pictures with Real-ESRGAN on ncnn: the network makes them 4 times as large, in tiles of bounded memory.

For the upscale runner, and for runners that draw small and are asked for large.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ncnn
import numpy as np

from shoal.errors import Failed
from shoal.worker.pipelines.picture import Pixels, resize
from shoal.worker.pipelines.server import Step

#: What the network itself enlarges by.
NATIVE = 4
#: A tile's side, and what of its surroundings the network sees besides, so that no seam shows (pixels).
TILE, MARGIN = 128, 10
#: A large network's tiles: at 128 it takes 1.4 GB.
TILE_SMALL, WEIGHTS_BYTES_LARGE = 64, 8 << 20


def unheard(done: int, of: int) -> None:
    """A step that nobody is told of."""


class Enlarger:
    """One network, for any number of threads that call it."""

    def __init__(self, model_dir: Path, threads: int) -> None:
        self._net = ncnn.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = threads
        large = (model_dir / "model.bin").stat().st_size > WEIGHTS_BYTES_LARGE
        self._tile = TILE_SMALL if large else TILE
        for load, name in ((self._net.load_param, "model.param"), (self._net.load_model, "model.bin")):
            if load(str(model_dir / name)):
                raise Failed(f"{model_dir / name} cannot be loaded")

    def enlarge(self, rgb: Pixels, factor: int, step: Step = unheard) -> Pixels:
        """The picture `factor` times as wide and as high; `step` is told of each tile."""
        height, width = rgb.shape[:2]
        passes, scale = 1, NATIVE
        while scale < factor:
            passes, scale = passes + 1, scale * NATIVE
        tiles = [self._tiles_in(height * NATIVE**n, width * NATIVE**n) for n in range(passes)]
        done = 0
        large = rgb
        for _ in range(passes):
            small, large = large, _blank(large)
            for _ in self._fill(small, large):
                done += 1
                step(done, sum(tiles))
        if scale == factor:
            return large
        return resize(large, width * factor, height * factor)

    def _fill(self, rgb: Pixels, large: Pixels) -> Iterator[None]:
        """Fill in the picture 4 times as large, tile by tile."""
        height, width = rgb.shape[:2]
        seen = np.pad(rgb, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")
        cut = MARGIN * NATIVE
        for top in range(0, height, self._tile):
            for left in range(0, width, self._tile):
                bottom, right = min(top + self._tile, height), min(left + self._tile, width)
                tile = self._run(seen[top : bottom + 2 * MARGIN, left : right + 2 * MARGIN])
                inner = tile[cut:-cut, cut:-cut]
                large[top * NATIVE : bottom * NATIVE, left * NATIVE : right * NATIVE] = inner
                yield

    def _run(self, tile: Pixels) -> Pixels:
        height, width = tile.shape[:2]
        pixels = np.ascontiguousarray(tile)  # named, so that it outlives the matrix that is made of it
        matrix = ncnn.Mat.from_pixels(pixels, ncnn.Mat.PixelType.PIXEL_RGB, width, height)
        matrix.substract_mean_normalize([], [1 / 255] * 3)
        extractor = self._net.create_extractor()
        extractor.input("data", matrix)
        fault, out = extractor.extract("output")
        if fault:
            raise Failed(f"the network failed with {fault}")
        large: Pixels = (np.array(out).transpose(1, 2, 0) * 255).round().clip(0, 255).astype(np.uint8)
        return large

    def _tiles_in(self, height: int, width: int) -> int:
        return -(-height // self._tile) * -(-width // self._tile)


def _blank(rgb: Pixels) -> Pixels:
    height, width = rgb.shape[:2]
    return np.empty((height * NATIVE, width * NATIVE, 3), np.uint8)
