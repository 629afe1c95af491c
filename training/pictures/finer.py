"""The second stage: 32 px to 64 px, learned from the same pictures. `python -m pictures.finer FOLDER`.

It is shown pictures with a little noise and blur, as the painter's are, and answers with what they were made from.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pictures.catalogue import SEED
from pictures.data import on_ground, prepare, reduced

BATCH = 16
PACE = 2e-3
NOISE_MAX = 0.12
TELL_STEPS = 25


class Finer(nn.Module):
    """What is missing from a plain enlargement."""

    def __init__(self, wide: int = 48, blocks: int = 5) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, wide, 3, padding=1, padding_mode="replicate")
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, wide, 3, padding=1))
            for _ in range(blocks)
        )
        self.leave = nn.Conv2d(wide, 12, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, image: Tensor) -> Tensor:
        inner = self.enter(image)
        for block in self.blocks:
            inner = inner + block(inner)
        plain = functional.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)
        return plain + functional.pixel_shuffle(self.leave(inner), 2)


def train(folder: Path, steps: int) -> None:
    """Learn and keep the average of the last fifth."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    held = np.load(prepare(folder))
    large = held["pictures"]
    small, grounds = reduced(large, 2), held["grounds"]
    finer = Finer().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(finer.parameters(), PACE, betas=(0.9, 0.99))
    chance, losses = np.random.default_rng(SEED), []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = PACE * min(1.0, (step + 1) / 50, (steps - step) / (0.5 * steps))
        rows = chance.integers(len(grounds), size=BATCH)
        wanted = stacked([on_ground(large[grounds[row, 3]], grounds[row, :3]) for row in rows])
        given = stacked([on_ground(small[grounds[row, 3]], grounds[row, :3]) for row in rows])
        given = worn(given, chance)
        with torch.autocast("cpu", torch.bfloat16):
            refined = finer(given.contiguous(memory_format=torch.channels_last))
        loss = (refined.float() - wanted).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % TELL_STEPS == 0:
            print(f"step {step + 1} loss {np.mean(losses):.4f} cpu {time.process_time():.0f} s", flush=True)
            losses.clear()
    torch.save(finer.state_dict(), folder / "finer.pt")


def stacked(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def worn(images: Tensor, chance: np.random.Generator) -> Tensor:
    """As a painter's picture: a little noisy, and softer here than there."""
    size = (len(images), 1, 1, 1)
    soft = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = torch.from_numpy(chance.uniform(0, 0.5, size).astype(np.float32))
    noise = torch.from_numpy(chance.standard_normal(images.shape, np.float32))
    strength = torch.from_numpy((chance.uniform(0, 1, size) ** 2 * NOISE_MAX).astype(np.float32))
    return images * (1 - share) + soft * share + noise * strength


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--steps", type=int, default=600)
    given_ = arguments.parse_args()
    train(given_.folder, given_.steps)
